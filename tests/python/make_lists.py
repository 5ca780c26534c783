"""The vectors of device lists, for make_vectors.py."""

from dataclasses import replace

import restante as r
from fixtures import ACCOUNT, DEVICE, DEVICES, LIST, SEALING, SENDER, SENDER_ACCOUNT, flipped, le, secret
from hpke import x_public
from keys import P, ed_public, sign
from restante import T, sha256, u8, u32


def sealing_secret(i):
    return SEALING if i == 0 else secret(f"sealing {i}")


def entry(i, account=None, suites=1, seed=None, sealing_key=None):
    """Device `i`'s entry; `seed` signs it in the device's place."""
    account, device = account or ed_public(ACCOUNT), ed_public(DEVICES[i])
    sealing_key = sealing_key or x_public(sealing_secret(i))
    signed = r.device_transcript(account, device, sealing_key, suites)
    return r.Entry(device, sealing_key, suites, sign(seed or DEVICES[i], signed))


def plain_list(*entries, epoch=1, version=1, previous=bytes(32)):
    return r.DeviceList(ed_public(ACCOUNT), epoch, version, previous, entries)


def cert(epoch=1, account_seed=ACCOUNT, list_key=None):
    return r.certificate(account_seed, epoch, list_key or ed_public(LIST))


def signed(raw, certificate=None, seed=LIST):
    return r.SignedList(certificate or cert(), raw, sign(seed, raw))


def lists():
    first = plain_list(entry(0))
    second = plain_list(entry(0), entry(1, suites=3), version=2, previous=sha256(first.encode()))
    ten = plain_list(*(entry(i) for i in range(10)), epoch=2, version=2**53 - 1, previous=sha256(second.encode()))
    valid = []
    for name, one in (("one device", first), ("two devices", second), ("ten devices, a later epoch", ten)):
        of = signed(one.encode(), cert(one.epoch))
        valid.append({
            "name": name, "account": one.account, "epoch": one.epoch, "version": one.version, "previous": one.previous,
            "list_key": ed_public(LIST), "devices": [vars(e) for e in one.entries], "list_key_certificate": of.certificate,
            "list": of.list, "signature": of.signature, "json": of.document(),
            "hash": sha256(of.list), "head": of.head(), "account_seed": ACCOUNT, "list_seed": LIST,
        })  # fmt: skip
    raw, weak_x, weak_ed = first.encode(), bytes(32), u8(1) + bytes(31)
    good, n_at = signed(raw), len(T("/list")) + 76
    weak_account = T("/list-key", weak_ed, u32(1), ed_public(LIST))
    bad = {
        "form": {
            "devices in the wrong order": signed(plain_list(entry(1), entry(0)).encode()),
            "a device twice": signed(plain_list(entry(0), entry(0)).encode()),
            "no device": signed(plain_list().encode()),
            "eleven devices": signed(plain_list(*(entry(i) for i in range(11))).encode()),
            "a byte after the end": signed(raw + b"\0"),
            "a byte less": signed(raw[:-1]),
            "more entries announced than there are": signed(raw[:n_at] + b"\x02" + raw[n_at + 1 :]),
            "empty": signed(b""),
            "version 0": signed(plain_list(entry(0), version=0).encode()),
            "version 2^53": signed(plain_list(entry(0), version=2**53).encode()),
            "the purpose of another transcript": signed(T("/lisp") + raw[len(T("/list")) :]),
            "suites 0": signed(plain_list(entry(0, suites=0)).encode()),
            "suites 2, without suite 1": signed(plain_list(entry(0, suites=2)).encode()),
            "suites 5, an unknown one": signed(plain_list(entry(0, suites=5)).encode()),
            "a certificate for another epoch": signed(raw, cert(2)),
            "a certificate of another account": signed(raw, cert(account_seed=SENDER_ACCOUNT)),
            "a certificate a byte too long": signed(raw, cert() + b"\0"),
            "a certificate a byte too short": signed(raw, cert()[:-1]),
            "a certificate with another purpose": signed(raw, flipped(cert(), 20)),
        },
        "key": {
            "a sealing key of zeros": signed(plain_list(entry(0, sealing_key=weak_x)).encode()),
            "a sealing key that is not canonical": signed(plain_list(entry(0, sealing_key=le(P + 9))).encode()),
            "a list key of small order": signed(raw, cert(list_key=weak_ed)),
            "an account key of small order": signed(
                replace(first, account=weak_ed).encode(), weak_account + weak_ed + bytes(32)
            ),
            "a device key of small order": signed(plain_list(replace(entry(0), device=weak_ed)).encode()),
        },
        "signature": {
            "an entry that another device signed": signed(plain_list(entry(0, seed=DEVICES[1])).encode()),
            "an entry signed for another account": signed(
                plain_list(entry(0, account=ed_public(SENDER_ACCOUNT))).encode()
            ),
            "an entry signed for other suites": signed(plain_list(replace(entry(0), suites=3)).encode()),
            "an entry signed for another sealing key": signed(
                plain_list(replace(entry(0), sealing_key=x_public(sealing_secret(1)))).encode()
            ),
            "the second of two entries unsigned": signed(
                plain_list(entry(0), replace(entry(1), signature=bytes(64))).encode()
            ),
            "a list that another key signed": signed(raw, seed=SENDER),
            "a list that the account key signed": signed(raw, seed=ACCOUNT),
            "the signature of another version": replace(
                good, signature=signed(replace(first, version=2).encode()).signature
            ),
            "a certificate that another key signed": signed(raw, cert()[:90] + sign(SENDER, cert()[:90])),
            "a certificate with a flipped bit in its signature": signed(raw, flipped(cert(), 100)),
        },
    }
    # Where each fails: 422 bad_list for form and signature, 422 weak_key for key.
    invalid = [
        {"name": name, "fails": fails, "list_key_certificate": s.certificate, "list": s.list, "signature": s.signature}
        for fails, group in bad.items()
        for name, s in group.items()
    ]
    about = "Signed device lists: valid ones with what they say, and invalid ones by the step at which they fail (§5)."
    return about, {"device_seed": DEVICE, "valid": valid, "invalid": invalid}
