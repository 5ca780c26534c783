"""The Python client's HTTP and its one device: what docs/protocol.md asks of a client, for live.py.

State is in memory only and tokens are minted when needed, so it is no client for people.
"""

import http.client
import json
import os
import time
from dataclasses import dataclass

import doors
from hpke import Refused, need, x_public
from keys import ed_public, good_point, good_x25519, sign, verifies
from restante import (
    T, DeviceList, Entry, Invite, Plain, SignedList, b64, certificate, fingerprint, good_origin, open_wrap,
    seal, sha256, token_hash, u64, unb64, unseal, var,
)  # fmt: skip

DAY = 86400


class Problem(Exception):
    """The relay refused: `status`, `code` and the whole problem document."""

    def __init__(self, status, document):
        super().__init__(f"{status} {document.get('code')}: {document.get('detail')}")
        self.status, self.code, self.document = status, document.get("code"), document


# 3, 4. The relay over HTTP


class Relay:
    """A relay at `origin`, over plain http. Every request has its own connection: none joins a session to a send."""

    def __init__(self, origin, relay_key=None):
        need(good_origin(origin) and origin.startswith("http:"), "this client speaks plain http only")
        self.origin, self.relay_key = origin, relay_key

    def exchange(self, method, path, body=None, session=None, **more):
        """(status, headers, body bytes); `more` are headers, with _ for -."""
        connection = http.client.HTTPConnection(self.origin.removeprefix("http://"), timeout=90)
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        if session:
            headers["Authorization"] = f"Bearer {session}"
        if body is not None:
            body = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, "/v1" + path, body, headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def call(self, method, path, body=None, session=None):
        status, _, raw = self.exchange(method, path, body, session)
        if status >= 400:
            raise Problem(status, json.loads(raw or b"{}"))
        return json.loads(raw)

    def pin(self):
        """Take the relay's key from its info, as a first registration does."""
        info = self.call("GET", "/info")
        need(info["version"] == 1, "another protocol version")
        key = unb64(info["relay_key"], 32)
        need(good_point(key) and info["fingerprint"] == fingerprint(key), "a relay key that is not well formed")
        need(self.relay_key in (None, key), "the relay key has changed")
        self.relay_key = key
        return info

    def challenge(self, device):
        """(challenge, expires_at), verified with the pinned relay key."""
        reply = self.call("POST", "/auth/challenge", {"device": b64(device)})
        challenge, expires_at = unb64(reply["challenge"]), reply["expires_at"]
        signed = T("/challenge", device, var(challenge), u64(expires_at))
        need(len(challenge) <= 256 and unb64(reply["relay_key"], 32) == self.relay_key, "another relay key")
        need(verifies(self.relay_key, signed, unb64(reply["signature"], 64)), "a challenge the relay did not sign")
        return challenge, expires_at

    def proof(self, purpose, device, challenge, expires_at, *more, origin=None):
        """The transcript of /login, /register, /recover and /delete-account; `more` is what each adds."""
        return proof_transcript(purpose, origin or self.origin, self.relay_key, device, challenge, expires_at, *more)


def proof_transcript(purpose, origin, relay_key, device, challenge, expires_at, *more):
    return T(purpose, var(origin.encode()), relay_key, device, var(challenge), u64(expires_at), *more)


def prekey_transcript(account, device, prekey, expires_at):
    return T("/prekey", account, device, prekey, u64(expires_at))


# 12. A client with one device


@dataclass
class Contact:
    """What a client knows of a contact: its list, the token to send by, and per device the keys and counters."""

    account: bytes
    token: bytes
    list: SignedList
    invite: bytes | None = None  # the hash of the invite's contact token, until the contact uses its own
    welcomed: bool = False

    def __post_init__(self):
        self.reply_keys, self.sent, self.seen = {}, {}, {}


class Client:
    """An account with one device at one relay."""

    def __init__(self, relay, account_seed=None):
        self.relay = relay
        self.account_seed, self.list_seed, self.device_seed = (
            account_seed or os.urandom(32),
            os.urandom(32),
            os.urandom(32),
        )
        self.account, self.device = ed_public(self.account_seed), ed_public(self.device_seed)
        self.sealing_secret = os.urandom(32)
        self.secrets, self.contacts, self.session = {}, {}, None
        self.minted, self.invites = {}, {}  # token hash: account; hash of a once token: hash of its contact token
        self.published, self.knocks = None, {}  # the newest prekey; account: (list, content, plain) of who waits
        self.list = self.make_list()

    def make_list(self, epoch=1, version=1, previous=bytes(32), more=()):
        entry = Entry.signed(self.account, self.device_seed, x_public(self.sealing_secret))
        entries = tuple(sorted((entry, *more), key=lambda e: e.device))
        cert = certificate(self.account_seed, epoch, ed_public(self.list_seed))
        return SignedList.signed(cert, self.list_seed, DeviceList(self.account, epoch, version, previous, entries))

    def proof(self, purpose, *more, origin=None):
        """The fields that answer a fresh challenge: device, challenge, signature."""
        challenge, expires_at = self.relay.challenge(self.device)
        signed = self.relay.proof(purpose, self.device, challenge, expires_at, *more, origin=origin)
        return {
            "device": b64(self.device),
            "challenge": b64(challenge),
            "signature": b64(sign(self.device_seed, signed)),
        }

    def register(self, pass_code=None):
        body = self.proof("/register", sha256(self.list.list)) | {"device_list": self.list.document()}
        if pass_code:
            body["pass"] = pass_code
        need(unb64(self.relay.call("POST", "/accounts", body)["account"]) == self.account, "another account")

    def login(self, origin=None):
        self.session = self.relay.call("POST", "/auth/login", self.proof("/login", origin=origin))["session"]
        need(len(unb64(self.session)) == 32, "not a session")

    def call(self, method, path, body=None):
        return self.relay.call(method, path, body, self.session)

    def delete(self):
        body = self.proof("/delete-account", self.account)
        del body["device"]
        return self.call("POST", "/account/delete", body)

    def generate_totp(self):
        """A fresh TOTP secret, 20 bytes; nothing is on before a code of it is confirmed."""
        return unb64(self.call("POST", "/totp/generate", {})["secret"], 20)

    def confirm_totp(self, code):
        """Turn the second factor on: ten recovery codes."""
        return self.call("POST", "/totp/confirm", {"code": code})["recovery_codes"]

    def elevate(self, code):
        """Elevate the session, by an authenticator's code or a recovery code; until when."""
        return self.call("POST", "/session/elevate", {"code": code})["until"]

    def fresh_key(self):
        secret = os.urandom(32)
        self.secrets[x_public(secret)] = secret
        return x_public(secret)

    def prekey(self, days=14):
        key, expires_at = self.fresh_key(), (int(time.time()) // DAY + days) * DAY
        signed = prekey_transcript(self.account, self.device, key, expires_at)
        body = {"prekey": b64(key), "expires_at": expires_at, "signature": b64(sign(self.device_seed, signed))}
        self.published = {"device": b64(self.device), **body}
        return self.call("PUT", "/keys", body)

    def mint(self, kind="contact", days=None, contact=None):
        token = os.urandom(32)
        self.minted[token_hash(token)] = contact
        body = {"hash": b64(token_hash(token)), "kind": kind}
        if days:
            body["expires_at"] = int(time.time()) + days * DAY
        self.call("POST", "/tokens", body)
        return token

    def look_up(self, token, account):
        """(signed list, {device: prekey}) of the account that minted `token`, all verified."""
        reply = self.relay.call("POST", "/keys", {"token": b64(token)})
        signed_list = SignedList.of(reply["device_list"])
        decoded, prekeys = signed_list.verify(), {}
        need(decoded.account == account, "another account's list")
        for row in reply["prekeys"]:
            device, key = unb64(row["device"], 32), unb64(row["prekey"], 32)
            signed = prekey_transcript(account, device, key, row["expires_at"])
            need(device in [e.device for e in decoded.entries] and good_x25519(key), "not a prekey of the list")
            need(verifies(device, signed, unb64(row["signature"], 64)), "an unsigned prekey")
            if row["expires_at"] > time.time():
                prekeys[device] = key
        return signed_list, prekeys

    def envelope(self, contact, content, token=None, envelope=None):
        """The request that sends `content` (a JSON object), sealed to every device of the contact's list."""
        token, raw, prekeys = token or contact.token, json.dumps(content).encode(), None
        envelope, sealed, decoded = envelope or os.urandom(16), [], contact.list.verify()
        for e in decoded.entries:
            to_key = contact.reply_keys.get(e.device)
            if to_key is None:
                prekeys = self.look_up(token, contact.account)[1] if prekeys is None else prekeys
                to_key = prekeys[e.device]
            contact.sent[e.device] = contact.sent.get(e.device, 0) + 1
            plain = Plain(
                self.account, self.device, self.list.head(), contact.list.head(),
                contact.sent[e.device], int(time.time()), self.fresh_key(), raw,
            )  # fmt: skip
            body = seal(to_key, contact.account, e.device, envelope, self.device_seed, plain)
            sealed.append({"device": b64(e.device), "body": b64(body)})
        list_name = {"epoch": decoded.epoch, "version": decoded.version}
        return {"token": b64(token), "id": b64(envelope), "list": list_name, "sealed": sealed}

    def send(self, contact, content, token=None):
        """Send one content; where the contact's list has changed, verify the new one and seal again, once."""
        request = self.envelope(contact, content, token)
        try:
            return self.relay.call("POST", "/envelopes", request)
        except Problem as problem:
            if problem.code != "device_list_changed":
                raise
            self.take_list(contact, SignedList.of(problem.document["device_list"]))
            request = self.envelope(contact, content, token, unb64(request["id"]))
            return self.relay.call("POST", "/envelopes", request)

    @staticmethod
    def take_list(contact, signed_list):
        known, new = contact.list.verify(), signed_list.verify()
        need(new.account == contact.account, "another account's list")
        need((new.epoch, new.version) >= (known.epoch, known.version), "a list older than the one known")
        same = (new.epoch, new.version) == (known.epoch, known.version)
        need(not same or signed_list.list == contact.list.list, "a forked list")
        contact.list = signed_list

    def receive(self, wait=0):
        """Fetch one page, act on it, acknowledge it: [(account, content)]; account is None for what was refused."""
        page, events = self.call("GET", f"/envelopes?wait={wait}"), []
        for row in page["envelopes"]:
            try:
                events.append(self.opened(row))
            except Refused as refused:
                events.append((None, {"type": "refused", "why": str(refused)}))
        if page["envelopes"]:
            self.call("POST", "/envelopes/ack", {"through": page["envelopes"][-1]["seq"]})
        return [e for e in events if e]

    def opened(self, row):
        wrap, body = unb64(row["wrap"]), unb64(row["body"])
        kind, hashed, envelope, sealed = open_wrap(self.sealing_secret, self.device, row["expires_at"], wrap, body)
        plain = unseal(self.secrets, self.account, self.device, envelope, sealed)
        content = json.loads(plain.content)
        if kind == "once":
            return self.greeted(self.invites.pop(hashed, None), plain, content)
        if kind == "knock":
            self.knocks[plain.account] = (doors.checked(self, plain, content), content, plain)
            return plain.account, content
        need(self.minted.get(hashed) == plain.account, "not by the contact that the token was minted for")
        contact = self.contacts[plain.account]
        if content["type"] == "list":
            self.take_list(contact, SignedList.of(content["device_list"]))
        if not self.counted(contact, plain):
            return None
        if contact.invite not in (None, hashed):
            self.call("POST", "/tokens/revoke", {"hashes": [b64(contact.invite)]})
            contact.invite = None
        if content["type"] == "welcome":
            contact.token, contact.welcomed = unb64(content["token"], 32), True
        return plain.account, content

    def counted(self, contact, plain):
        """Whether this is new; its reply key becomes the one to seal to."""
        need(plain.device in [e.device for e in contact.list.verify().entries], "from a device that is not listed")
        seen = contact.seen.setdefault(plain.device, set())
        if not 1 <= plain.counter < 2**53 or plain.counter in seen or plain.counter <= max(seen, default=0) - 1024:
            return False
        if plain.counter > max(seen, default=0):
            need(good_x25519(plain.reply_key), "a weak reply key")
            contact.reply_keys[plain.device] = plain.reply_key
        seen.add(plain.counter)
        return True

    def greeted(self, invited, plain, content):
        """Somebody came by an invite's `once` token: answer with a contact token of their own."""
        need(invited is not None, "by a token that is no invite's")
        need(content["type"] == "hello", "the first message of an invite is no hello")
        signed_list = SignedList.of(content["device_list"])
        need(signed_list.verify().account == plain.account, "a hello with another account's list")
        need(unb64(content["relay_key"], 32) == self.relay.relay_key, "a hello from another relay")
        contact = Contact(plain.account, unb64(content["token"], 32), signed_list, invite=invited)
        need(self.counted(contact, plain), "a hello seen before")
        self.contacts[plain.account] = contact
        self.minted[invited] = plain.account
        self.send(contact, {"type": "welcome", "token": b64(self.mint(contact=plain.account))})
        return plain.account, content

    def knock(self, door, text, **more):
        account, token = doors.find(self, door)
        return doors.knock(self, account, token, text, Contact, **more)

    def accept(self, account):
        """Let somebody in who knocked: a contact, and a contact token of their own for the answer."""
        signed_list, content, plain = self.knocks.pop(account)
        contact = Contact(account, unb64(content["token"], 32), signed_list)
        need(self.counted(contact, plain), "a knock seen before")
        self.contacts[account] = contact
        self.send(contact, {"type": "welcome", "token": b64(self.mint(contact=account))})
        return contact

    def invite(self):
        once, contact = self.mint("once", days=7), self.mint(days=7)
        self.invites[token_hash(once)] = token_hash(contact)
        return Invite(self.relay.origin, self.relay.relay_key, self.account, once, contact).link()

    def add(self, link, name=None):
        """Say hello to whoever made `link`; the contact's token is replaced when the welcome comes."""
        invite = Invite.parse(link)
        need((invite.origin, invite.relay) == (self.relay.origin, self.relay.relay_key), "an invite of another relay")
        signed_list, _ = self.look_up(invite.once, invite.account)
        contact = Contact(invite.account, invite.contact, signed_list)
        self.contacts[invite.account] = contact
        hello = {
            "type": "hello", "token": b64(self.mint(contact=invite.account)), "device_list": self.list.document(),
            "origin": self.relay.origin, "relay_key": b64(self.relay.relay_key),
        }  # fmt: skip
        self.send(contact, hello | ({"name": name} if name else {}), invite.once)
        return contact
