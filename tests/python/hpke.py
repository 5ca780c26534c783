"""HPKE by hand: RFC 9180 base and PSK mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM or export-only."""

import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

AES_256_GCM, EXPORT_ONLY = 0x0002, 0xFFFF


class Refused(Exception):
    """What came is not what the document says; nothing was done with it."""


def need(condition, why):
    if not condition:
        raise Refused(why)


def x_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _extract(salt, suite, label, ikm):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(prk, suite, label, info, length):
    info = struct.pack(">H", length) + b"HPKE-v1" + suite + label + info
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out, i = out + block, i + 1
    return out[:length]


def _exchange(secret, public):
    need(len(public) == 32, "not an X25519 key")
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Refused("an all-zero X25519 result") from None


class Hpke:
    """One HPKE context, on either side; only its first message is ever used."""

    def __init__(self, dh, enc, recipient, info, aead, psk=(b"", b"")):
        kem = b"KEM\x00\x20"
        shared = _expand(_extract(b"", kem, b"eae_prk", dh), kem, b"shared_secret", enc + recipient, 32)
        suite = b"HPKE" + struct.pack(">HHH", 0x0020, 0x0001, aead)
        mode = b"\x01" if psk[0] else b"\x00"
        context = mode + _extract(b"", suite, b"psk_id_hash", psk[1]) + _extract(b"", suite, b"info_hash", info)
        secret = _extract(shared, suite, b"secret", psk[0])
        self.suite, self.enc, self.shared_secret = suite, enc, shared
        if aead != EXPORT_ONLY:
            self.key = _expand(secret, suite, b"key", context, 32)
            self.base_nonce = _expand(secret, suite, b"base_nonce", context, 12)
        self.exporter_secret = _expand(secret, suite, b"exp", context, 32)

    @classmethod
    def to(cls, recipient, info, aead, ephemeral, psk=(b"", b"")):
        return cls(_exchange(ephemeral, recipient), x_public(ephemeral), recipient, info, aead, psk)

    @classmethod
    def by(cls, secret, enc, info, aead, psk=(b"", b"")):
        """`psk` is the secret and its name; with one it is PSK mode."""
        return cls(_exchange(secret, enc), enc, x_public(secret), info, aead, psk)

    def seal(self, aad, plain):
        return AESGCM(self.key).encrypt(self.base_nonce, plain, aad)

    def open(self, aad, ciphertext):
        return aes_open(self.key, self.base_nonce, aad, ciphertext)

    def export(self, context, length):
        return _expand(self.exporter_secret, self.suite, b"sec", context, length)


def hkdf(key, info):
    """HKDF-SHA256 with an empty salt, 32 bytes."""
    return hmac.digest(hmac.digest(bytes(32), key, "sha256"), info + b"\x01", "sha256")


def aes_open(key, nonce, aad, ciphertext):
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise Refused("does not open") from None
