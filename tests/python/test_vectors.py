"""The Python client held to tests/it/vectors/*.json: `python -m unittest test_vectors`."""

import json
import unittest
from pathlib import Path

import doors
import linking
import make_vectors
import restante as r
from client import prekey_transcript, proof_transcript
from hpke import AES_256_GCM, EXPORT_ONLY, Hpke, Refused, x_public
from keys import ed_public, good_point, good_x25519, sign, verifies
from restante import T, u32, u64, var

VECTORS = Path(__file__).resolve().parents[1] / "it/vectors"


def unhex(value):
    return bytes.fromhex(value)


def load(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


class Raw(dict):
    """A case whose attributes are its fields, hexadecimal ones as bytes."""

    def __getattr__(self, name):
        value = self[name]
        return unhex(value) if isinstance(value, str) else value


def cases(document, name):
    for i, case in enumerate(document[name]):
        yield case.get("name", f"{name} {i}"), Raw(case)


def signed_list(c):
    return r.SignedList(c.list_key_certificate, c.list, c.signature)


class Vectors(unittest.TestCase):
    def refused(self, call, *args):
        with self.assertRaises(Refused):
            call(*args)

    def test_the_files_are_what_make_vectors_writes(self):
        for name, text in make_vectors.texts().items():
            self.assertEqual((VECTORS / name).read_text(), text, name)
        known = {*make_vectors.texts(), "rfc8032.json", "rfc9180.json", "wycheproof.json"}
        self.assertEqual({path.name for path in VECTORS.glob("*.json")}, known)
        for name in known:
            self.assertTrue(json.loads((VECTORS / name).read_text())["about"])

    def test_transcripts(self):
        seen = []
        for name, c in cases(load("transcripts"), "transcripts"):
            match c["purpose"]:
                case "/login" | "/register" | "/recover" | "/delete-account":
                    more = [getattr(c, key) for key in ("account", "list_hash") if key in c]
                    proof = c.relay_key, c.device, c.challenge, c.expires_at
                    raw = proof_transcript(c["purpose"], c["origin"], *proof, *more)
                case "/challenge":
                    raw = T("/challenge", c.device, var(c.challenge), u64(c.expires_at))
                case "/notice":
                    raw = T("/notice", u64(c.set_at), var(c["text"].encode()))
                case "/device":
                    raw = r.device_transcript(c.account, c.device, c.sealing_key, c.suites)
                case "/list-key":
                    raw = T("/list-key", c.account, u32(c.epoch), c.list_key)
                    self.assertEqual(r.certificate(c.seed, c.epoch, c.list_key), raw + c.signature)
                case "/prekey":
                    raw = prekey_transcript(c.account, c.device, c.prekey, c.expires_at)
                case "/envelope-signature":
                    raw = r.envelope_transcript(c.account, c.device, c.id, c.enc, c.sender_account, c.sender_device)
            self.assertEqual(raw, c.bytes, name)
            self.assertEqual((ed_public(c.seed), sign(c.seed, raw)), (c.key, c.signature))
            self.assertTrue(verifies(c.key, raw, c.signature))
            self.assertFalse(any(verifies(c.key, other, c.signature) for other in seen))
            seen.append(raw)

    def test_lists(self):
        document = load("lists")
        for name, c in cases(document, "valid"):
            of = signed_list(c)
            self.assertEqual(r.SignedList.of(c["json"]), of, name)
            self.assertEqual(of.document(), c["json"])
            entries = tuple(r.Entry(d.device, d.sealing_key, d.suites, d.signature) for d in map(Raw, c["devices"]))
            self.assertEqual(of.verify(), r.DeviceList(c.account, c.epoch, c.version, c.previous, entries))
            self.assertEqual((of.verify().encode(), of.head(), r.sha256(of.list)), (c.list, c.head, c.hash))
        for name, c in cases(document, "invalid"):
            with self.subTest(name):
                self.refused(signed_list(c).verify)

    def test_hashes(self):
        document = load("hashes")
        for _, c in cases(document, "token_hash"):
            self.assertEqual(r.token_hash(c.token), c.hash)
        for _, c in cases(document, "pass_hash"):
            self.assertEqual(r.pass_hash(c["code"]), c.hash)
        for _, c in cases(document, "recovery_code_hash"):
            self.assertEqual(r.recovery_code_hash(c.account, c["code"]), c.hash)
        for _, c in cases(document, "key_id"):
            self.assertEqual(r.key_id(c.key), c.id)
        for _, c in cases(document, "fingerprint"):
            self.assertEqual(r.fingerprint(c.key), c["fingerprint"])

    def test_wraps(self):
        document = load("wraps")
        for name, c in cases(document, "wraps"):
            made = r.make_wrap(
                c.sealing_key, c.device, c.expires_at, c.ephemeral, c.nonce, c["kind"], c.token_hash, c.id, c.sealed
            )
            self.assertEqual(made, (c.wrap, c.body), name)
            opened = r.open_wrap(c.sealing_secret, c.device, c.expires_at, c.wrap, c.body)
            self.assertEqual(opened, (c["kind"], c.token_hash, c.id, c.sealed))
        for name, c in cases(document, "refused"):
            with self.subTest(name):
                self.refused(r.open_wrap, c.sealing_secret, c.device, c.expires_at, c.wrap, c.body)

    def test_seals(self):
        document = load("seals")
        for name, c in cases(document, "seals"):
            plain = r.Plain(
                c.sender_account,
                c.sender_device,
                c.head,
                c.recipient_head,
                c.counter,
                c.sent_at,
                c.reply_key,
                c.content,
            )
            made = r.seal(c.key, c.account, c.device, c.id, c.sender_seed, plain, c.ephemeral)
            self.assertEqual(made, c.body, name)
            self.assertEqual(r.unseal({c.key: c.secret}, c.account, c.device, c.id, c.body), plain)
        for name, c in cases(document, "refused"):
            with self.subTest(name):
                self.refused(r.unseal, {x_public(c.secret): c.secret}, c.account, c.device, c.id, c.body)
                self.refused(r.unseal_with, c.secret, c.account, c.device, c.id, c.body)

    def test_values(self):
        document = load("values")
        for _, c in cases(document, "base64url"):
            self.assertEqual((r.b64(c.bytes), r.unb64(c["text"])), (c["text"], c.bytes))
        for name, c in cases(document, "not_base64url"):
            with self.subTest(name):
                self.refused(r.unb64, c["text"])
        for name, c in cases(document, "not_32_bytes"):
            with self.subTest(name):
                self.refused(r.unb64, c["text"], 32)
        for _, c in cases(document, "hours"):
            self.assertEqual((r.ceil_hour(c.t), r.floor_hour(c.t)), (c.ceil, c.floor))

    def test_keys(self):
        document = load("keys")
        for kind, good in (("ed25519", good_point), ("x25519", good_x25519)):
            for key in document[f"{kind}_good"]:
                self.assertTrue(good(unhex(key)), key)
            for name, c in cases(document, f"{kind}_weak"):
                self.assertFalse(good(c.key), name)

    def test_signatures(self):
        document = load("signatures")
        for name, c in cases(document, "accepted"):
            self.assertTrue(verifies(c.key, c.message, c.signature), name)
        for name, c in cases(document, "refused"):
            self.assertFalse(verifies(c.key, c.message, c.signature), name)

    def test_links(self):
        document = load("links")
        for kind in ("good", "other_order"):
            for _, c in cases(document, kind):
                tokens = {name: unhex(c[name]) for name in ("once", "contact", "knock") if name in c}
                invite = r.Invite(c["origin"], c.relay, c.account, **tokens)
                self.assertEqual(r.Invite.parse(c["link"]), invite)
                self.assertEqual(invite.link() == c["link"], kind == "good")
        for name, c in cases(document, "bad"):
            with self.subTest(name):
                self.refused(r.Invite.parse, c["link"])

    def test_handles(self):
        document = load("handles")
        for _, c in cases(document, "handles"):
            self.assertEqual(doors.handle_salt(c.relay), c.salt)
            self.assertEqual(doors.handle_keys(c["handle"], c.relay), (c.hash, c.record_key))
            opened = doors.open_record(c.hash, c.record_key, c.record)
            self.assertEqual(opened, (c.account, c.token, c.relay, c["origin"]))
        first = Raw(document["handles"][0])
        for name, c in cases(document, "refused"):
            with self.subTest(name), self.assertRaises((Refused, UnicodeDecodeError)):
                doors.open_record(first.hash, first.record_key, c.record)
        for name, c in cases(document, "not_handles"):
            with self.subTest(name):
                self.refused(doors.handle_keys, c["text"], first.relay)

    def test_linking(self):
        document = load("linking")
        for _, c in cases(document, "derived"):
            self.assertEqual(linking.sync_key(c.seed, c.account, c["epoch"]), c.sync_key)
            self.assertEqual(linking.own_token(c.sync_key, c.account), c.own_token)
        for _, c in cases(document, "digits"):
            self.assertEqual(linking.digits(c.account), c["digits"])
        for _, c in cases(document, "lines"):
            line = linking.AccountLine(c["origin"], c.relay, c.account)
            self.assertEqual((linking.AccountLine.parse(c["line"]), line.line()), (line, c["line"]))
        for _, c in cases(document, "codes"):
            code = linking.LinkCode.parse(c["code"])
            self.assertEqual((code.line(), code.expires), (c["code"], c["expires_at"]))
            self.assertTrue(code.signed_for(c.account))
            self.assertFalse(code.signed_for(c.other))
        for name, c in cases(document, "bad_lines"):
            with self.subTest(name):
                self.refused(linking.AccountLine.parse, c["line"])
        for name, c in cases(document, "bad_codes"):
            with self.subTest(name):
                self.refused(linking.LinkCode.parse, c["code"])
        for _, c in cases(document, "grants"):
            made = linking.make_grant(
                x_public(c.sealing_secret), c.account, c.device, c.id, c.secret, c.content, c.ephemeral
            )
            self.assertEqual(made, c.body)
            opened = linking.open_grant(c.sealing_secret, c.account, c.device, c.id, c.secret, c.body)
            self.assertEqual(linking.read_grant(opened)["type"], "grant")
            self.assertEqual(opened, c.content)
        for name, c in cases(document, "refused"):
            with self.subTest(name):
                self.refused(linking.open_grant, c.sealing_secret, c.account, c.device, c.id, c.secret, c.body)

    def test_rfc8032(self):
        for name, c in cases(load("rfc8032"), "vectors"):
            self.assertEqual((ed_public(c.seed), sign(c.seed, c.message)), (c.key, c.signature), name)
            self.assertTrue(verifies(c.key, c.message, c.signature))

    def test_rfc9180(self):
        aeads = set()
        for _, c in cases(load("rfc9180"), "vectors"):
            sender = Hpke.to(c.pkRm, c.info, c.aead_id, c.skEm)
            recipient = Hpke.by(c.skRm, c.enc, c.info, c.aead_id)
            self.assertEqual(sender.enc, c.enc)
            for context in (sender, recipient):
                self.assertEqual(context.shared_secret, c.shared_secret)
                self.assertEqual(context.exporter_secret, c.exporter_secret)
                for export in map(Raw, c["exports"]):
                    self.assertEqual(context.export(export.exporter_context, export.L), export.exported_value)
            for first in map(Raw, c["encryptions"][:1]):
                self.assertEqual(sender.seal(first.aad, first.pt), first.ct)
                self.assertEqual(recipient.open(first.aad, first.ct), first.pt)
            aeads.add(c.aead_id)
        self.assertEqual(aeads, {AES_256_GCM, EXPORT_ONLY})


if __name__ == "__main__":
    unittest.main()
