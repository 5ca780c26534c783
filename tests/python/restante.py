"""A restante client in Python, written from docs/protocol.md alone: the proof that the document suffices.

The bytes are here, keys in keys.py, HPKE in hpke.py, HTTP and the client in client.py; make_vectors.py, test_vectors.py
and live.py use them. Numbers in comments are sections of the document. Secrets are raw 32 bytes throughout.
"""

import base64
import hashlib
import os
import re
import struct
from dataclasses import dataclass
from urllib.parse import quote, unquote

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hpke import AES_256_GCM, EXPORT_ONLY, Hpke, Refused, aes_open, need
from keys import ed_public, good_point, good_x25519, sign, verifies

SIZES = (1024, 4096, 16384)
HOUR = 3600
DEVICES_MAX = 10


# 3. Values, times, transcripts


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text, size=None):
    need(isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]*", text, re.ASCII), "not base64url")
    need(len(text) % 4 != 1, "not a base64url length")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(b64(raw) == text, "base64url with unused bits set")
    need(size is None or len(raw) == size, "a byte string of the wrong size")
    return raw


def u8(n):
    return struct.pack(">B", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def var(raw):
    return u32(len(raw)) + raw


def T(purpose, *fields):
    name = b"restante/v1" + purpose.encode()
    return struct.pack(">H", len(name)) + name + b"".join(fields)


def sha256(raw):
    return hashlib.sha256(raw).digest()


def ceil_hour(t):
    return -(-t // HOUR) * HOUR


def floor_hour(t):
    return t // HOUR * HOUR


def fingerprint(relay_key):
    digits = sha256(T("/fingerprint", relay_key))[:16].hex()
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


# 5. Device lists


@dataclass(frozen=True)
class Entry:
    device: bytes
    sealing_key: bytes
    suites: int
    signature: bytes

    @staticmethod
    def signed(account, device_seed, sealing_key, suites=1):
        device = ed_public(device_seed)
        return Entry(
            device, sealing_key, suites, sign(device_seed, device_transcript(account, device, sealing_key, suites))
        )

    def encode(self):
        return self.device + self.sealing_key + u8(self.suites) + self.signature


def device_transcript(account, device, sealing_key, suites):
    return T("/device", account, device, sealing_key, u8(suites))


def certificate(account_seed, epoch, list_key):
    c = T("/list-key", ed_public(account_seed), u32(epoch), list_key)
    return c + sign(account_seed, c)


@dataclass(frozen=True)
class DeviceList:
    account: bytes
    epoch: int
    version: int
    previous: bytes
    entries: tuple

    def encode(self):
        return T(
            "/list", self.account, u32(self.epoch), u64(self.version), self.previous,
            u8(len(self.entries)), *(e.encode() for e in self.entries),
        )  # fmt: skip

    @staticmethod
    def decode(raw):
        head = T("/list")
        need(raw.startswith(head) and len(raw) >= len(head) + 77, "not a device list")
        at = len(head)
        account, epoch, version, previous, n = struct.unpack_from(">32sIQ32sB", raw, at)
        need(1 <= version < 2**53, "a version out of range")
        need(1 <= n <= DEVICES_MAX and len(raw) == at + 77 + n * 129, "a device list of the wrong length")
        entries = tuple(Entry(*struct.unpack_from(">32s32sB64s", raw, at + 77 + i * 129)) for i in range(n))
        devices = [e.device for e in entries]
        need(devices == sorted(set(devices)), "devices out of order")
        return DeviceList(account, epoch, version, previous, entries)


@dataclass(frozen=True)
class SignedList:
    certificate: bytes
    list: bytes
    signature: bytes

    @staticmethod
    def signed(certificate, list_seed, device_list):
        raw = device_list.encode()
        return SignedList(certificate, raw, sign(list_seed, raw))

    @staticmethod
    def of(document):
        return SignedList(
            unb64(document["list_key_certificate"], 154), unb64(document["list"]), unb64(document["signature"], 64)
        )

    def document(self):
        return {"list_key_certificate": b64(self.certificate), "list": b64(self.list), "signature": b64(self.signature)}

    def verify(self):
        """The device list, if everything in it is as §5 wants it."""
        head = T("/list-key")
        need(len(self.certificate) == 154 and self.certificate.startswith(head), "not a list key certificate")
        c, signature = self.certificate[:90], self.certificate[90:]
        account, epoch, list_key = struct.unpack_from(">32sI32s", c, len(head))
        need(verifies(account, c, signature), "a certificate that the account did not sign")
        need(verifies(list_key, self.list, self.signature), "a list that the list key did not sign")
        decoded = DeviceList.decode(self.list)
        need((decoded.account, decoded.epoch) == (account, epoch), "a certificate for another list")
        for e in decoded.entries:
            need(e.suites in (1, 3), "a device without suite 1, or with an unknown one")
            need(good_x25519(e.sealing_key), "a weak sealing key")
            signed = device_transcript(account, e.device, e.sealing_key, e.suites)
            need(verifies(e.device, signed, e.signature), "an entry that its device did not sign")
        return decoded

    def head(self):
        decoded = DeviceList.decode(self.list)
        return u32(decoded.epoch) + u64(decoded.version) + sha256(self.list)


# 5, 6, 12. Hashes


def pass_hash(code):
    return sha256(T("/pass", var(code.encode())))


def recovery_code_hash(account, code):
    """What the relay keeps of a recovery code, as it was shown or typed."""
    return sha256(T("/recovery-code", account, var(code.upper().replace("-", "").encode())))


def token_hash(token):
    return sha256(T("/token", token))


def key_id(public):
    return sha256(T("/key-id", public))[:4]


# 8. The wrap

KINDS = {1: "contact", 2: "once", 3: "knock"}


def wrap_aad(device, expires_at):
    return device + u64(expires_at)


def open_wrap(sealing_secret, device, expires_at, wrap, body):
    """(kind, token hash, envelope id, sealed body)"""
    need(len(wrap) == 44, "not a wrap")
    key = Hpke.by(sealing_secret, wrap[:32], T("/wrap", device), EXPORT_ONLY).export(T("/wrap-key"), 32)
    p = aes_open(key, wrap[32:], wrap_aad(device, expires_at), body)
    need(p[0] in KINDS and len(p) - 49 in SIZES, "not a wrapped envelope")
    return KINDS[p[0]], p[1:33], p[33:49], p[49:]


def make_wrap(sealing_key, device, expires_at, ephemeral, nonce, kind, hashed_token, envelope, sealed):
    """The relay's half, for the vectors."""
    context = Hpke.to(sealing_key, T("/wrap", device), EXPORT_ONLY, ephemeral)
    p = u8({v: k for k, v in KINDS.items()}[kind]) + hashed_token + envelope + sealed
    key = context.export(T("/wrap-key"), 32)
    return context.enc + nonce, AESGCM(key).encrypt(nonce, p, wrap_aad(device, expires_at))


# 12. Sealing


@dataclass(frozen=True)
class Plain:
    """What is sealed, but for the signature and the padding."""

    account: bytes
    device: bytes
    head: bytes
    recipient_head: bytes
    counter: int
    sent_at: int
    reply_key: bytes
    content: bytes


def envelope_transcript(account, device, envelope, enc, sender_account, sender_device):
    return T("/envelope-signature", account, device, envelope, enc, sender_account, sender_device)


def seal_parts(account, device, envelope, body_key_id):
    return T("/envelope", account, device), b"\x01" + body_key_id + envelope


def body_size(content):
    for size in SIZES:
        if len(content) <= size - 53 - 268:
            return size
    raise Refused("content too long")


def seal(to_key, account, device, envelope, sender_seed, plain, ephemeral=None):
    """A sealed body for `device` of `account`, to its prekey or reply key `to_key`."""
    info, aad = seal_parts(account, device, envelope, key_id(to_key))
    context = Hpke.to(to_key, info, AES_256_GCM, ephemeral or os.urandom(32))
    signature = sign(
        sender_seed, envelope_transcript(account, device, envelope, context.enc, plain.account, plain.device)
    )
    raw = (
        plain.account + plain.device + plain.head + plain.recipient_head + u64(plain.counter) + u64(plain.sent_at)
        + plain.reply_key + signature + var(plain.content)
    )  # fmt: skip
    room = body_size(plain.content) - 53
    return aad[:5] + context.enc + context.seal(aad, raw.ljust(room, b"\0"))


def unseal(secrets, account, device, envelope, body):
    """The `Plain` of a body sealed to the public half of one of `secrets` ({public: secret})."""
    need(len(body) in SIZES and body[0] == 1, "not a sealed body of suite 1")
    refused = Refused("sealed to a key that is not ours")
    for secret in [secret for public, secret in secrets.items() if key_id(public) == body[1:5]]:
        try:
            return unseal_with(secret, account, device, envelope, body)
        except Refused as why:
            refused = why
    raise refused


def unseal_with(secret, account, device, envelope, body):
    info, _ = seal_parts(account, device, envelope, body[1:5])
    enc = body[5:37]
    raw = Hpke.by(secret, enc, info, AES_256_GCM).open(body[:5] + envelope, body[37:])
    a, d, h, rh, counter, sent_at, reply_key, signature, n = struct.unpack_from(">32s32s44s44sQQ32s64sI", raw)
    need(n <= len(raw) - 268 and not any(raw[268 + n :]), "padding that is not zeros")
    need(verifies(d, envelope_transcript(account, device, envelope, enc, a, d), signature), "not signed by its sender")
    return Plain(a, d, h, rh, counter, sent_at, reply_key, raw[268 : 268 + n])


# 12.2 Invite link


@dataclass(frozen=True)
class Invite:
    origin: str
    relay: bytes
    account: bytes
    once: bytes | None = None
    contact: bytes | None = None
    knock: bytes | None = None

    def link(self):
        tokens = ("knock",) if self.knock else ("once", "contact")
        keys = "&".join(f"{name}={b64(getattr(self, name))}" for name in ("relay", "account", *tokens))
        return f"restante:1?origin={quote(self.origin, safe='')}&{keys}"

    @staticmethod
    def parse(link):
        need(link.startswith("restante:1?"), "not an invite link")
        fields = {}
        for field in link[len("restante:1?") :].split("&"):
            name, equals, value = field.partition("=")
            need(equals and name not in fields, "a field repeated or without a value")
            fields[name] = value
        tokens = set(fields) - {"origin", "relay", "account"}
        need(len(fields) == 3 + len(tokens) and tokens in ({"once", "contact"}, {"knock"}), "a field missing or unknown")
        origin = unquote(fields.pop("origin"))
        need(good_origin(origin), "not an origin")
        invite = Invite(origin, **{name: unb64(value, 32) for name, value in fields.items()})
        need(good_point(invite.relay) and good_point(invite.account), "a weak key")
        return invite


def good_origin(origin):
    web = re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+):([1-9][0-9]{0,4})", origin, re.ASCII)
    return bool(web and int(web[2]) < 65536) or (origin.startswith("unix:/") and origin.isascii())
