"""Keys (§3): Ed25519 verified strictly, X25519; small-order and non-canonical encodings are refused by hand."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
# y of the points of order 1, 2, 4 and 8; either sign of x.
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_Y = {1, P - 1, 0, _Y8, P - _Y8}
SMALL_U = {
    0,
    1,
    P - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}


def good_point(raw):
    """Whether `raw` is the canonical encoding of an Edwards point that is not of small order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != 32 or y >= P or y in SMALL_Y:
        return False
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return pow(x_squared, (P - 1) // 2, P) == 1


def good_x25519(raw):
    """Whether `raw` is a canonical X25519 public key that is not of small order."""
    u = int.from_bytes(raw, "little")
    return len(raw) == 32 and u < P and u not in SMALL_U


def ed_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verifies(key, message, signature):
    """Strict verification; `cryptography` compares R byte by byte and uses the cofactorless equation."""
    if not good_point(key) or len(signature) != 64 or not good_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except InvalidSignature:
        return False
