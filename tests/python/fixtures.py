"""The fixed secrets that every vector is made of, for the make_*.py: each is SHA-256 of a name."""

from keys import ed_public
from restante import sha256, u8

NOW = 1_800_000_123


def secret(name):
    return sha256(b"restante vectors: " + name.encode())


ACCOUNT, LIST, RELAY = secret("account"), secret("list key"), secret("relay")
# Sorted, so that the devices stand in the order of their ids.
DEVICES = sorted((secret(f"device {i}") for i in range(11)), key=ed_public)
DEVICE = DEVICES[0]
SEALING = secret("sealing")
SENDER_ACCOUNT, SENDER = secret("sender account"), secret("sender device")
TOKEN, ENVELOPE = secret("token"), secret("envelope")[:16]


def flipped(raw, at):
    return raw[:at] + u8(raw[at] ^ 1) + raw[at + 1 :]


def le(n):
    return n.to_bytes(32, "little")
