"""Every operation of the description once as it should be: each answers with its success, and the reply is as described."""

import base64
import os
import time

import pyotp
import schemathesis
from schemathesis.checks import not_a_server_error

import hooks
from client import prekey_transcript
from hpke import x_public
from keys import sign
from restante import b64, sha256, token_hash, unb64

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


class Walk:
    def __init__(self, origin):
        self.schema = schemathesis.openapi.from_path("openapi.yaml")
        self.schema.config.update(base_url=origin)
        self.operations = {
            operation.ok().definition.raw["operationId"]: operation.ok() for operation in self.schema.get_all_operations()
        }
        self.account = hooks.Account(origin)
        self.client, self.relay = self.account.client, self.account.relay
        self.walked = set()

    def step(self, name, body=None, query=None, **headers):
        """One request; the reply, which is a success as described."""
        operation = self.operations[name]
        more = {"body": body, "media_type": "application/json"} if body is not None else {}
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if operation.definition.raw.get("security"):
            sent["Authorization"] = f"Bearer {self.client.session}"
        case = operation.Case(headers=sent, query=query or {}, **more)
        reply = case.call()
        documented = [int(status) for status in operation.definition.raw["responses"] if int(status) < 300]
        assert reply.status_code in documented, f"{name}: {reply.status_code} {reply.text}"
        # To whom an answer is no server's fault only from 200 to 499, an upgrade is one.
        case.validate_response(reply, excluded_checks=[not_a_server_error] if reply.status_code == 101 else [])
        self.walked.add(name)
        return reply.json() if "json" in (reply.headers.get("content-type") or [""])[0] else None

    def signed(self, purpose, *more):
        """A fresh challenge and its transcript."""
        challenge, expires_at = self.relay.challenge(self.client.device)
        return b64(challenge), self.relay.proof(purpose, self.client.device, challenge, expires_at, *more)

    def run(self):
        client = self.client
        for name in ("healthz", "readyz", "info", "openapi"):
            self.step(name)
        self.step("challenge", {"device": b64(client.device)})
        self.step("register", client.proof("/register", sha256(client.list.list)) | {"device_list": client.list.document()})
        self.step("login", client.proof("/login"))
        self.step("sessions")
        self.step("revokeSessions", {"all_others": True, "device": None})
        self.tokens()
        self.envelopes()
        self.slots()
        self.lists()
        self.factor()
        self.step("stream", **WEBSOCKET)
        challenge, transcript = self.signed("/delete-account", client.account)
        self.step("deleteAccount", {"challenge": challenge, "signature": b64(sign(client.device_seed, transcript))})
        missing = self.operations.keys() - self.walked
        assert not missing, f"no step walks {sorted(missing)}"

    def tokens(self):
        hashed, now = b64(os.urandom(32)), int(time.time())
        self.step("addToken", {"hash": hashed, "kind": "once", "expires_at": now + 86400, "envelopes_max": 3})
        self.step("addToken", {"hash": b64(os.urandom(32)), "kind": "knock", "uses": 5})
        self.step("addToken", {"hash": b64(os.urandom(32)), "kind": "contact", "expires_at": None, "uses": None})
        assert len(self.step("listTokens", {"limit": 100, "after": None})["tokens"]) == 6
        self.step("revokeTokens", {"hashes": [hashed]})
        prekey, expires_at = x_public(os.urandom(32)), now + 86400
        signature = sign(
            self.client.device_seed, prekey_transcript(self.client.account, self.client.device, prekey, expires_at)
        )
        self.step("putPrekey", {"prekey": b64(prekey), "expires_at": expires_at, "signature": b64(signature)})
        assert self.step("keys", {"token": b64(self.account.tokens[0])})["prekeys"]
        handle = b64(os.urandom(32))
        self.step("putHandle", {"hash": handle, "record": b64(os.urandom(1024))})
        self.step("lookupHandle", {"hash": handle})
        self.step("account")
        self.step("releaseHandle", {})

    def envelopes(self):
        # By each kind of token; what a once token took stays used.
        for token, size in zip(self.account.tokens, (1024, 16384, 4096), strict=True):
            sealed = [{"device": b64(self.client.device), "body": b64(os.urandom(size))}]
            request = {"token": b64(token), "id": b64(os.urandom(16)), "list": {"epoch": 1, "version": 1}, "sealed": sealed}
            self.step("send", request | {"expires_in": 3600})
            self.step("send", request | {"expires_in": 3600, "live": None})
        page = self.step("receive", query={"wait": 0, "limit": 2, "after": 0})
        assert len(page["envelopes"]) == 2 and not page["drained"]
        assert self.step("acknowledge", {"seqs": [page["envelopes"][0]["seq"]]})["removed"] == 1
        last = self.step("receive", query={"after": page["envelopes"][1]["seq"]})["envelopes"][0]["seq"]
        assert self.step("acknowledge", {"through": last, "seqs": None})["removed"] == 2

    def slots(self):
        slot = {"Slot_Id": b64(os.urandom(32))}
        for size in (1024, 65536):
            self.step("putSlot", {"content": b64(os.urandom(size))}, **slot, If_None_Match="*")
            self.step("slot", **slot)
            self.step("putSlot", {"content": b64(os.urandom(size))}, **slot, If_Match='"1"')
            assert self.step("account")["slots"]
            assert self.step("deleteSlot", {}, **slot) == {"deleted": True}
        assert self.step("deleteSlot", {}, **slot) == {"deleted": False}

    def lists(self):
        client = self.client
        second = client.make_list(version=2, previous=sha256(client.list.list))
        self.step("putDeviceList", {"device_list": second.document()})
        third = client.make_list(epoch=2)
        challenge, transcript = self.signed("/recover", client.account, sha256(third.list))
        request = {"device": b64(client.device), "challenge": challenge, "device_list": third.document()}
        self.step("recover", request | {"account_signature": b64(sign(client.account_seed, transcript))})

    def factor(self):
        secret = unb64(self.step("generateTotp", {})["secret"], 20)
        totp = pyotp.TOTP(base64.b32encode(secret).decode())
        # Each step counts once: the one before this, and then this or the next.
        codes = self.step("confirmTotp", {"code": totp.at(int(time.time()) - 30)})["recovery_codes"]
        self.step("elevate", {"code": totp.now()})
        self.step("elevate", {"code": codes[0]})
        self.step("removeTotp", {})


if __name__ == "__main__":
    walk = Walk(os.environ["RESTANTE_ORIGIN"])
    walk.run()
    print(f"walked {len(walk.walked)} of {len(walk.operations)} operations")
