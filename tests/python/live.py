"""The Python client against a live relay and the Rust client: `RESTANTE=path/to/restante python -m unittest live`.

Starts its own relay on a free port of 127.0.0.1, with everything that it writes in a directory that is removed at the end.
"""

import base64
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest
from dataclasses import replace
from pathlib import Path

import doors
import pyotp

import fixtures
import linking
from client import Client, Contact, Problem, Relay, prekey_transcript
from hpke import x_public
from keys import ed_public, sign
from second import SecondDevice
from restante import (
    Entry, Invite, SignedList, b64, ceil_hour, floor_hour, key_id, open_wrap, sha256, token_hash, unb64,
)  # fmt: skip

BINARY = os.environ.get("RESTANTE")
LISTS = json.loads((Path(__file__).resolve().parents[1] / "it/vectors/lists.json").read_text())


def environment(home):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESTANTE", "XDG_"))}
    return kept | {"HOME": home}


class Rust:
    """The Rust client with a profile of its own."""

    def __init__(self, home, name, origin):
        self.home, self.profile = home, os.path.join(home, name)
        self.who = json.loads(self.run("init", "--relay", origin, "--name", name, "--json"))
        self.account = unb64(self.who["account"])

    def run(self, *args):
        command = [BINARY, "client", "--profile", self.profile, *args]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=self.home, env=environment(self.home)
        )
        if done.returncode:
            raise AssertionError(f"{args[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def events(self, wait=0):
        return [json.loads(line) for line in self.run("receive", "--json", "--wait", str(wait)).splitlines()]

    def texts(self, wait=0):
        return [event["text"] for event in self.events(wait) if event["event"] == "text"]


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not BINARY:
            raise unittest.SkipTest("RESTANTE does not say where the binary is")
        directory = tempfile.TemporaryDirectory(prefix="restante-live-")
        cls.addClassCleanup(directory.cleanup)
        cls.home = directory.name
        log = open(os.path.join(cls.home, "relay.log"), "w")
        cls.addClassCleanup(log.close)
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", os.path.join(cls.home, "data"), "--json"]
        relay = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=cls.home, env=environment(cls.home)
        )
        cls.addClassCleanup(relay.stdout.close)
        cls.addClassCleanup(relay.wait, 60)
        cls.addClassCleanup(relay.terminate)
        line = relay.stdout.readline()
        if not line:
            raise AssertionError(f"the relay did not start: {Path(log.name).read_text()}")
        cls.origin = json.loads(line)["listening"]

    def client(self):
        """A registered client, logged in, with a prekey."""
        relay = Relay(self.origin)
        relay.pin()
        client = Client(relay)
        client.register()
        client.login()
        client.prekey()
        return client

    def rust(self):
        return Rust(tempfile.mkdtemp(dir=self.home), "rust", self.origin)

    def two(self):
        """A client and its sender, who holds a contact token of it: (recipient, sender, the sender's contact)."""
        recipient, sender = self.client(), self.client()
        contact = sender.add(recipient.invite())
        recipient.receive()
        sender.receive()
        return recipient, sender, contact

    def refused(self, code, call, *args, **kwargs):
        with self.assertRaises(Problem) as raised:
            call(*args, **kwargs)
        problem = raised.exception
        self.assertEqual(problem.code, code, problem)
        self.assertEqual((problem.document["type"], problem.document["status"]), ("about:blank", problem.status))
        return problem

    # With the Rust client

    def test_the_rust_client_adds_a_python_one(self):
        python, rust = self.client(), self.rust()
        link = python.invite()
        rust.run("add", "python", link)
        rust.run("send", "python", "by the invite's token")
        events = python.receive()
        self.assertEqual([(account, content["type"]) for account, content in events], [
            (rust.account, "hello"), (rust.account, "text"),
        ])  # fmt: skip
        self.assertEqual((events[0][1]["name"], events[1][1]["text"]), ("rust", "by the invite's token"))
        contact = python.contacts[rust.account]
        python.send(contact, {"type": "text", "text": "grüße 👋"})
        python.send(contact, {"type": "text", "text": "long " * 3000})
        events = rust.events()
        self.assertEqual([event["text"] for event in events if event["event"] == "text"], ["grüße 👋", "long " * 3000])
        self.assertIsNotNone(contact.invite)
        rust.run("send", "python", "by a token of my own")
        self.assertEqual(python.receive(), [(rust.account, {"type": "text", "text": "by a token of my own"})])
        self.assertIsNone(contact.invite, "the invite's token is revoked")
        self.refused("no_such_token", python.look_up, Invite.parse(link).contact, python.account)

    def test_a_python_client_adds_the_rust_one(self):
        python, rust = self.client(), self.rust()
        contact = python.add(rust.run("invite", "python").strip(), "snake")
        self.assertEqual(contact.account, rust.account)
        python.send(contact, {"type": "text", "text": "by the invite's token"})
        python.send(contact, {"type": "song", "notes": 3})
        events = rust.events()
        self.assertEqual([event["event"] for event in events], ["contact_added", "text", "unknown"])
        self.assertEqual(events[1]["text"], "by the invite's token")
        self.assertEqual([content["type"] for _, content in python.receive()], ["welcome"])
        self.assertTrue(contact.welcomed)
        python.send(contact, {"type": "text", "text": "by a token of my own"})
        self.assertEqual(rust.texts(), ["by a token of my own"])
        rust.run("send", "python", "and back")
        self.assertEqual(python.receive(), [(rust.account, {"type": "text", "text": "and back"})])

    def test_the_rust_client_knocks_at_a_python_ones_door(self):
        python, rust = self.client(), self.rust()
        doors.set_handle(python, "python.1")
        rust.run("knock", "python.1", "hello, it's rust", "--name", "python")
        ((account, content),) = python.receive()
        self.assertEqual((account, content["text"], content["name"]), (rust.account, "hello, it's rust", "rust"))
        contact = python.accept(account)
        python.send(contact, {"type": "text", "text": "come in"})
        events = rust.events()
        self.assertEqual([event["event"] for event in events], ["contact_ready", "text"])
        rust.run("send", "python", "thanks")
        self.assertEqual(python.receive(), [(rust.account, {"type": "text", "text": "thanks"})])

    def test_a_python_client_knocks_at_the_rust_ones_door(self):
        python, rust = self.client(), self.rust()
        rust.run("handle", "set", "rust_2")
        contact = python.knock("rust_2", "hello, it's a snake", name="snake", handle="not checked")
        self.assertEqual(contact.account, rust.account)
        (event,) = rust.events()
        self.assertEqual((event["event"], event["name"], event["handle"]), ("knock", "snake", None))
        self.assertEqual((event["text"], unb64(event["account"])), ("hello, it's a snake", python.account))
        self.assertEqual(python.receive(), [])
        rust.run("accept", "snake")
        ((account, welcome),) = python.receive()
        self.assertEqual((account, welcome["type"], contact.welcomed), (rust.account, "welcome", True))
        python.send(contact, {"type": "text", "text": "by a token of my own"})
        self.assertEqual(rust.texts(), ["by a token of my own"])
        rust.run("send", "snake", "by yours")
        self.assertEqual(python.receive(), [(rust.account, {"type": "text", "text": "by yours"})])
        rust.run("handle", "release")
        self.refused("no_such_handle", doors.find, python, "rust_2")

    def test_a_link_for_several_people_is_knocked_at(self):
        python, rust = self.client(), self.rust()
        invite = Invite.parse(rust.run("invite", "--uses", "2").strip())
        contact = doors.knock(python, invite.account, invite.knock, "", Contact, name="snake")
        (event,) = rust.events()
        self.assertEqual((event["event"], event["from"]), ("contact_added", "snake"))
        self.assertEqual([content["type"] for _, content in python.receive()], ["welcome"])
        self.assertTrue(contact.welcomed)

    def test_a_changed_list_reaches_the_rust_client_as_it_sends(self):
        python, rust = self.client(), self.rust()
        rust.run("add", "python", python.invite())
        python.receive()
        rust.run("receive")
        python.list = python.make_list(version=2, previous=sha256(python.list.list))
        reply = python.call("PUT", "/account/device-list", {"device_list": python.list.document()})
        self.assertEqual(reply, {"epoch": 1, "version": 2})
        rust.run("send", "python", "to the new list")
        self.assertEqual(python.receive(), [(rust.account, {"type": "text", "text": "to the new list"})])

    def test_a_long_poll_ends_when_the_rust_client_sends(self):
        python, rust = self.client(), self.rust()
        rust.run("add", "python", python.invite())
        python.receive()
        events = []
        poll = threading.Thread(target=lambda: events.extend(python.receive(wait=60)))
        poll.start()
        rust.run("send", "python", "wake up")
        poll.join()
        self.assertEqual(events, [(rust.account, {"type": "text", "text": "wake up"})])

    def test_a_python_device_of_a_rust_account(self):
        phone, bob = self.rust(), self.rust()
        bob.run("add", "rusty", phone.run("invite", "bob").strip())
        phone.events()
        bob.events()
        phone.run("receipts", "off", "--delay", "0..0")
        relay = Relay(self.origin)
        relay.pin()
        device = SecondDevice(relay, phone.run("link", "invite").strip())
        self.refused("login_refused", device.login)
        approved = json.loads(phone.run("link", "approve", "--yes", "--json", device.code()))
        self.assertEqual(approved["device"], b64(device.device))
        self.assertEqual(approved["digits"], linking.digits(phone.account))
        device.join()
        listed = [unb64(item["device"]) for item in device.call("GET", "/account")["devices"]]
        self.assertEqual(sorted(listed), sorted([device.device, unb64(phone.who["device"])]))
        contact = device.read_book()["bob"]
        self.assertEqual(contact.account, bob.account)
        bob.run("send", "rusty", "to both of you")
        self.assertEqual(phone.texts(), ["to both of you"])
        self.assertIn((bob.account, {"type": "text", "text": "to both of you"}), device.receive())
        device.send_with_copy(contact, "from the other device")
        self.assertEqual(bob.texts(), ["from the other device"])
        (copy,) = [event for event in phone.events() if event["event"] == "sent_elsewhere"]
        self.assertEqual((copy["to"], copy["text"]), ("bob", "from the other device"))
        phone.run("send", "bob", "and from the phone")
        phone.events()
        copies = [content for _, content in device.receive() if content["type"] == "sent"]
        self.assertEqual([(copy["to"], copy["text"]) for copy in copies], [(b64(bob.account), "and from the phone")])
        phone.run("devices", "remove", b64(device.device))
        self.refused("login_refused", device.login)

    # The second factor, with an authenticator that is neither the relay's code nor ours

    def authenticator(self, client):
        """(authenticator, recovery codes), once it is on."""
        totp = pyotp.TOTP(base64.b32encode(client.generate_totp()).decode())
        return totp, client.confirm_totp(totp.now())

    def test_a_login_with_a_second_factor(self):
        client = self.client()
        self.refused("no_totp", client.elevate, "123456")
        self.refused("no_totp", client.confirm_totp, "123456")
        totp, codes = self.authenticator(client)
        self.assertEqual((len(codes), len(set(codes))), (10, 10))
        account = client.call("GET", "/account")
        self.assertEqual((account["totp"], account["recovery_codes"]), (True, 10))
        client.login()
        other = Client(client.relay)
        entry = Entry.signed(client.account, other.device_seed, x_public(other.sealing_secret))
        before = client.list
        client.list = client.make_list(version=2, previous=sha256(before.list), more=[entry])

        def put():
            return client.call("PUT", "/account/device-list", {"device_list": client.list.document()})

        self.refused("elevation_needed", put)
        self.refused("code_refused", client.elevate, totp.at(int(time.time()) - 300))
        code = totp.at(int(time.time()) + 30)
        self.assertGreater(client.elevate(code), time.time() + 200)
        self.refused("code_refused", client.elevate, code)
        self.assertEqual(put(), {"epoch": 1, "version": 2})
        client.login()
        self.refused("elevation_needed", client.delete)
        client.elevate(codes[0].lower())
        self.refused("code_refused", client.elevate, codes[0])
        self.assertEqual(client.call("GET", "/account")["recovery_codes"], 9)
        self.assertEqual(client.delete(), {"deleted": True})

    def test_the_rust_client_s_secret_in_another_authenticator(self):
        rust = self.rust()
        setup = json.loads(rust.run("totp", "on", "--json"))
        totp = pyotp.parse_uri(setup["uri"])
        self.assertEqual((totp.secret, totp.issuer, totp.digits, totp.interval), (setup["secret"], "restante", 6, 30))
        codes = json.loads(rust.run("totp", "on", "--code", totp.now(), "--json"))["recovery_codes"]
        self.assertEqual(rust.run("totp", "status"), "on; 10 recovery codes left\n")
        rust.run("totp", "off", "--code", totp.at(int(time.time()) + 30))
        self.assertEqual(rust.run("totp", "status"), "off\n")
        self.assertEqual(len(codes), 10)

    # What a relay refuses

    def test_an_unsigned_prekey_is_refused(self):
        client = self.client()
        key, expires_at = x_public(os.urandom(32)), ceil_hour(client.relay.pin()["now"]) + 86400

        def put(key=key, expires_at=expires_at, account=client.account, seed=client.device_seed):
            signature = sign(seed, prekey_transcript(account, client.device, key, expires_at))
            body = {"prekey": b64(key), "expires_at": expires_at, "signature": b64(signature)}
            return client.call("PUT", "/keys", body)

        self.assertEqual(put(), {"expires_at": expires_at})
        self.refused("bad_signature", put, seed=os.urandom(32))
        self.refused("bad_signature", put, account=ed_public(os.urandom(32)))
        self.refused("weak_key", put, key=bytes(32))
        self.refused("bad_expiry", put, expires_at=1)
        self.refused("bad_expiry", put, expires_at=expires_at + 30 * 86400)

    def test_every_invalid_list_of_the_vectors_is_refused(self):
        relay = Relay(self.origin)
        relay.pin()
        client = Client(relay)
        client.device_seed = bytes.fromhex(LISTS["device_seed"])
        client.device = ed_public(client.device_seed)
        for case in LISTS["invalid"]:
            raw = [bytes.fromhex(case[name]) for name in ("list_key_certificate", "list", "signature")]
            client.list = SignedList(*raw)
            with self.subTest(case["name"]):
                self.refused("weak_key" if case["fails"] == "key" else "bad_list", client.register)

    def test_a_list_naming_anothers_device_is_refused(self):
        owner, thief = self.client(), self.client()
        stolen = owner.list.verify().entries[0]
        relay, before = thief.relay, thief.list

        def put(entry):
            thief.list = thief.make_list(version=2, previous=sha256(before.list), more=[entry])
            return thief.call("PUT", "/account/device-list", {"device_list": thief.list.document()})

        self.refused("bad_list", put, stolen)
        self.refused("bad_list", put, replace(stolen, signature=before.verify().entries[0].signature))
        # Even with the owner's help: a device stands in one account.
        self.refused("device_taken", put, Entry.signed(thief.account, owner.device_seed, stolen.sealing_key))
        twin = Client(relay)
        twin.device_seed, twin.device = owner.device_seed, owner.device
        twin.list = twin.make_list()
        self.refused("device_taken", twin.register)
        owner.login()

    def test_a_challenge_answered_for_another_origin_is_refused(self):
        client, bodies = self.client(), set()
        other = Client(client.relay)
        for origin in ("https://relay.example:443", self.origin + "0", self.origin.upper(), ""):
            problem = self.refused("login_refused", client.login, origin=origin or "x")
            bodies.add(json.dumps(problem.document))
        answer = client.proof("/login")
        for changed in (
            {"device": b64(other.device)},
            {"signature": b64(bytes(64))},
            {"challenge": b64(flip(unb64(answer["challenge"])))},
        ):
            problem = self.refused("login_refused", client.relay.call, "POST", "/auth/login", answer | changed)
            bodies.add(json.dumps(problem.document))
        client.relay.call("POST", "/auth/login", answer)
        problem = self.refused("login_refused", client.relay.call, "POST", "/auth/login", answer)
        bodies.add(json.dumps(problem.document))
        bodies.add(json.dumps(self.refused("login_refused", other.login).document))
        self.assertEqual(len(bodies), 1, "one refusal, whatever was wrong")
        for purpose in ("/register", "/delete-account"):
            signed = client.proof(purpose, client.account)
            self.refused("login_refused", client.relay.call, "POST", "/auth/login", signed)

    def test_a_repeat_is_answered_byte_for_byte_like_the_first(self):
        recipient, sender, contact = self.two()
        hour = None
        while hour != floor_hour(recipient.relay.pin()["now"]):  # an hour that ends meanwhile changes the answer
            hour = floor_hour(recipient.relay.pin()["now"])
            request = sender.envelope(contact, {"type": "text", "text": "once only"})

            def send(request=request):
                status, headers, body = sender.relay.exchange("POST", "/envelopes", request)
                return status, {k.lower(): v for k, v in headers.items() if k.lower() != "date"}, body

            first, repeat = send(), send()
            events = recipient.receive()
            after, page = send(), recipient.call("GET", "/envelopes")
        self.assertEqual(first[0], 202)
        self.assertEqual((repeat, after), (first, first))
        self.assertEqual([content["text"] for _, content in events], ["once only"])
        self.assertEqual((page["envelopes"], page["drained"]), ([], True))

    def test_anonymous_routes_refuse_a_login(self):
        recipient, sender, contact = self.two()
        request = sender.envelope(contact, {"type": "text", "text": "who am I"})
        self.refused("anonymous_only", sender.call, "POST", "/envelopes", request)
        self.refused("anonymous_only", sender.call, "POST", "/keys", {"token": b64(contact.token)})
        self.refused("anonymous_only", sender.relay.call, "POST", "/keys", {"token": "?"}, "no session at all")
        self.assertEqual(recipient.receive(), [])

    # The rest of what §3 to §10 say

    def test_sending_by_the_rules(self):
        recipient, sender, contact = self.two()
        good = sender.envelope(contact, {"type": "text", "text": "hello"})

        def send(**changed):
            return sender.relay.call("POST", "/envelopes", good | changed)

        sealed = good["sealed"][0]
        self.refused("no_such_token", send, token=b64(os.urandom(32)))
        self.refused("bad_size", send, sealed=[sealed | {"body": b64(bytes(1025))}])
        self.refused("bad_expiry", send, expires_in=3599)
        self.refused("bad_expiry", send, expires_in=604801)
        self.refused("bad_request", send, colour="red")
        self.refused("bad_request", send, sealed=[])
        self.refused("too_many", send, sealed=[sealed] * 11)
        for changed in (
            {"sealed": [sealed, sealed]},
            {"sealed": [sealed, sealed | {"device": b64(bytes(32))}]},
            {"list": {"epoch": 1, "version": 2}},
            {"sealed": [sealed | {"device": b64(bytes(32))}]},
        ):
            problem = self.refused("device_list_changed", send, **changed)
            self.assertEqual(SignedList.of(problem.document["device_list"]), recipient.list)
        before = recipient.relay.pin()["now"]
        reply = send(expires_in=3600)
        self.assertEqual(reply["full"], [])
        self.assertIn(reply["expires_at"], (ceil_hour(before + 3600), ceil_hour(recipient.relay.pin()["now"] + 3600)))
        [row] = recipient.call("GET", "/envelopes")["envelopes"]
        kind, hashed, envelope, body = open_wrap(
            recipient.sealing_secret, recipient.device, row["expires_at"], unb64(row["wrap"]), unb64(row["body"])
        )
        self.assertEqual((kind, hashed), ("contact", token_hash(contact.token)))
        self.assertEqual((b64(envelope), b64(body)), (good["id"], sealed["body"]))
        self.assertIn(body[1:5], {key_id(key) for key in recipient.secrets})
        self.refused("seq_not_given", recipient.call, "POST", "/envelopes/ack", {"through": row["seq"] + 1})
        self.assertEqual(recipient.call("POST", "/envelopes/ack", {"seqs": [row["seq"]]}), {"removed": 1})
        self.assertEqual(recipient.call("POST", "/envelopes/ack", {"through": row["seq"]}), {"removed": 0})

    def test_an_account_is_recovered_and_deleted(self):
        recipient, sender, contact = self.two()
        taken = Client(recipient.relay, recipient.account_seed)
        taken.list = taken.make_list(epoch=2, previous=sha256(recipient.list.list))
        self.refused("account_exists", taken.register)
        challenge, expires_at = taken.relay.challenge(taken.device)
        hashed = sha256(taken.list.list)
        signed = taken.relay.proof("/recover", taken.device, challenge, expires_at, taken.account, hashed)
        body = {"device": b64(taken.device), "challenge": b64(challenge), "device_list": taken.list.document()}
        body["account_signature"] = b64(sign(taken.account_seed, signed))
        reply = taken.relay.call("POST", "/account/recover", body)
        self.assertEqual(reply, {"epoch": 2, "version": 1})
        self.refused("no_session", recipient.call, "GET", "/account")
        self.refused("login_refused", recipient.login)
        taken.login()
        taken.prekey()
        sender.send(contact, {"type": "text", "text": "to whoever you are now"})
        account = taken.call("GET", "/account")
        self.assertEqual(SignedList.of(account["device_list"]), taken.list)
        self.assertEqual(account["devices"][0]["envelopes"], 1)
        self.assertEqual(taken.call("GET", "/sessions")["sessions"][0]["device"], b64(taken.device))
        tokens = taken.call("POST", "/tokens/list", {})
        self.assertEqual([len(tokens["tokens"]), tokens["more"]], [account["tokens"], False])
        self.assertEqual(taken.delete(), {"deleted": True})
        self.refused("login_refused", taken.login)
        gone = taken.relay.exchange("POST", "/keys", {"token": b64(contact.token)})
        never = taken.relay.exchange("POST", "/keys", {"token": b64(os.urandom(32))})
        self.assertEqual((gone[0], gone[2]), (404, never[2]))


def flip(raw):
    return fixtures.flipped(raw, 0)


if __name__ == "__main__":
    unittest.main()
