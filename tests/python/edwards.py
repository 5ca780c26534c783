"""The Edwards curve of Ed25519 in affine coordinates: slow, not in constant time, for making vectors only."""

import hashlib

from keys import _Y8, D, L, P


def add(p, q):
    (x1, y1), (x2, y2) = p, q
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def times(n, point):
    result = (0, 1)
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def encode(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(raw):
    """The point of an encoding, canonical or not; None where there is none."""
    n = int.from_bytes(raw, "little")
    y, sign = n & (2**255 - 1), n >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square:
        return None
    return (P - x if x & 1 != sign else x), y % P


def secret_scalar(seed):
    h = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return (h & ((1 << 254) - 8) | (1 << 254)) % L


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
ORDER_8 = decode(_Y8.to_bytes(32, "little"))

assert times(L, BASE) == (0, 1) and times(8, ORDER_8) == (0, 1) != times(4, ORDER_8)
