"""The vectors of weak keys and of strict signatures, for make_vectors.py."""

import hashlib

import edwards
from fixtures import ACCOUNT, DEVICE, DEVICES, LIST, SEALING, SENDER, flipped, le, secret
from hpke import x_public
from keys import _Y8, SMALL_U, L, P, ed_public, sign
from restante import u8


def keys():
    sign_bit = 1 << 255
    weak_ed = {}
    small = {"order 1": 1, "order 2": P - 1, "order 4": 0, "order 8, one": _Y8, "order 8, the other": P - _Y8}
    for order, y in small.items():
        weak_ed[order] = le(y)
        weak_ed[f"{order}, sign 1"] = le(y | sign_bit)
    for y in range(P, 2**255):
        weak_ed[f"not canonical: y = p + {y - P}"] = le(y)
        weak_ed[f"not canonical: y = p + {y - P}, sign 1"] = le(y | sign_bit)
    off_curve = next(y for y in range(2, 100) if not edwards.decode(le(y)))
    weak_ed["not on the curve"] = le(off_curve)
    weak_x = {f"small order, number {i}": le(u) for i, u in enumerate(sorted(SMALL_U))}
    for u in range(P, 2**255):
        weak_x[f"not canonical: u = p + {u - P}"] = le(u)
    top = {f"top bit set, {name}": flip_top(raw) for name, raw in weak_x.items()}
    weak_x |= top | {"top bit set on a good key": flip_top(x_public(SEALING))}
    return "Public keys that every receiver refuses (§3), beside good ones.", {
        "ed25519_good": [ed_public(s) for s in (ACCOUNT, LIST, *DEVICES)],
        "ed25519_weak": named(weak_ed),
        "x25519_good": [x_public(s) for s in (SEALING, secret("prekey"), secret("reply key"))] + [le(9)],
        "x25519_weak": named(weak_x),
    }


def named(keys):
    return [{"name": name, "key": key} for name, key in keys.items()]


def flip_top(raw):
    return raw[:31] + u8(raw[31] ^ 0x80)


def signatures():
    message = b"a message"
    key, good = ed_public(DEVICE), sign(DEVICE, message)
    scalar = edwards.secret_scalar(DEVICE)
    identity, noncanonical = le(1), le(P + 1)
    refused = []

    def bad(name, key=key, message=message, signature=good):
        refused.append({"name": name, "key": key, "message": message, "signature": signature})

    def challenge(r_bytes, key):
        return int.from_bytes(hashlib.sha512(r_bytes + key + message).digest(), "little") % L

    bad("another message", message=b"b message")
    bad("another key", key=ed_public(SENDER))
    bad("a flipped bit of R", signature=flipped(good, 0))
    bad("a flipped bit of S", signature=flipped(good, 40))
    bad("all zeros", signature=bytes(64))
    s = int.from_bytes(good[32:], "little")
    for times in (1, 2, 8):
        bad(f"S + {times} L", signature=good[:32] + le(s + times * L))
    for name, encoding in (
        ("identity", identity),
        ("identity, not canonical", noncanonical),
        ("identity, sign 1", flip_top(identity)),
    ):
        # With r = 0 and S = k a the cofactorless equation holds; only the rule against small R refuses.
        bad(f"R is the {name}", signature=encoding + le(challenge(encoding, key) * scalar % L))
        # With A the identity any S = r passes for every message.
        bad(f"A is the {name}", key=encoding, signature=edwards.encode(edwards.times(5, edwards.BASE)) + le(5))
        bad(f"A and R are the {name}", key=encoding, signature=encoding + bytes(32))
    # A key with a part of order 8: good for the cofactorless equation only where k is a multiple of 8.
    mixed = edwards.encode(edwards.add(edwards.times(scalar, edwards.BASE), edwards.ORDER_8))
    accepted = None
    for nonce in range(1, 200):
        r_bytes = edwards.encode(edwards.times(nonce, edwards.BASE))
        k = challenge(r_bytes, mixed)
        signature = r_bytes + le((nonce + k * scalar) % L)
        if k % 8 == 0 and accepted is None:
            accepted = {"name": "a key with a part of order 8, k = 0 mod 8", "key": mixed, "message": message}
            accepted["signature"] = signature
        elif nonce == 1:
            bad("good for the cofactored equation only", key=mixed, signature=signature)
    plain = {"name": "a plain one", "key": key, "message": message, "signature": good}
    return "Strict Ed25519 (§3): what must verify, and what must not although laxer rules let some of it pass.", {
        "accepted": [plain, accepted],
        "refused": refused,
    }
