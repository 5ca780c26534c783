"""Writes tests/it/vectors/*.json, the same bytes each time: `python make_vectors.py [DIRECTORY]`.

Every byte string is hexadecimal unless it stands in the protocol's own JSON. Two files are not made here: rfc8032.json
and rfc9180.json are published values.
"""

import json
import re
import sys
from pathlib import Path

import doors
import restante as r
from client import prekey_transcript, proof_transcript
from fixtures import ACCOUNT, DEVICE, ENVELOPE, LIST, NOW, RELAY, SEALING, SENDER, SENDER_ACCOUNT, TOKEN, flipped, secret
from hpke import x_public
from make_keys import keys, signatures
from make_linking import linking
from make_lists import lists
from make_sealed import seals, wraps
from keys import ed_public, sign
from restante import T, b64, u32, u64, var

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/it/vectors"


def transcripts():
    account, device, relay_key = ed_public(ACCOUNT), ed_public(DEVICE), ed_public(RELAY)
    challenge, expires_at, list_hash = secret("challenge") * 3, NOW + 60, secret("list hash")
    proof = {"relay_key": relay_key, "device": device, "challenge": challenge, "expires_at": expires_at}
    sealing_key, prekey, enc = x_public(SEALING), x_public(secret("prekey")), x_public(secret("ephemeral"))
    peer = {"sender_account": ed_public(SENDER_ACCOUNT), "sender_device": ed_public(SENDER)}
    cases = []

    def case(purpose, seed, raw, **inputs):
        cases.append({
            "purpose": purpose, **inputs, "bytes": raw,
            "seed": seed, "key": ed_public(seed), "signature": sign(seed, raw),
        })  # fmt: skip

    for origin in (
        "http://127.0.0.1:8484",
        "https://relay.example:443",
        "http://[::1]:8484",
        "unix:/run/restante.sock",
    ):
        case("/login", DEVICE, proof_transcript("/login", origin, *proof.values()), origin=origin, **proof)
    origin = "https://relay.example:443"
    for purpose, seed, more in (
        ("/register", DEVICE, {"list_hash": list_hash}),
        ("/recover", ACCOUNT, {"account": account, "list_hash": list_hash}),
        ("/delete-account", DEVICE, {"account": account}),
    ):
        raw = proof_transcript(purpose, origin, *proof.values(), *more.values())
        case(purpose, seed, raw, origin=origin, **proof, **more)
    raw = T("/challenge", device, var(challenge), u64(expires_at))
    case("/challenge", RELAY, raw, device=device, challenge=challenge, expires_at=expires_at)
    entry = {"account": account, "device": device, "sealing_key": sealing_key, "suites": 1}
    case("/device", DEVICE, r.device_transcript(*entry.values()), **entry)
    list_key = ed_public(LIST)
    raw = T("/list-key", account, u32(7), list_key)
    case("/list-key", ACCOUNT, raw, account=account, epoch=7, list_key=list_key)
    for text in ("down on Sunday", "grüße\nvom Relais"):
        raw = T("/notice", u64(NOW), var(text.encode()))
        case("/notice", RELAY, raw, set_at=NOW, text=text)
    item = {"account": account, "device": device, "prekey": prekey, "expires_at": NOW + 14 * 86400}
    case("/prekey", DEVICE, prekey_transcript(*item.values()), **item)
    raw = r.envelope_transcript(account, device, ENVELOPE, enc, *peer.values())
    case("/envelope-signature", SENDER, raw, account=account, device=device, id=ENVELOPE, enc=enc, **peer)
    return "What is signed, to the byte, and the signature of `seed` over it. /list has a file of its own.", {
        "transcripts": cases
    }


def hashes():
    codes = ["", "maple-otter-22", "schlüssel"]
    account, recovery = ed_public(ACCOUNT), ["GAYT-EMZU-GU3D-OOBZ", "7777-7777-7777-7777"]
    keys = [x_public(SEALING), x_public(secret("prekey"))]
    return "Hashes of a field or two: token hash, pass hash, recovery code hash, key id and fingerprint.", {
        "token_hash": [{"token": t, "hash": r.token_hash(t)} for t in (TOKEN, bytes(32))],
        "pass_hash": [{"code": code, "hash": r.pass_hash(code)} for code in codes],
        "recovery_code_hash": [
            {"account": account, "code": code, "hash": r.recovery_code_hash(account, code)} for code in recovery
        ],
        "key_id": [{"key": key, "id": r.key_id(key)} for key in keys],
        "fingerprint": [{"key": ed_public(s), "fingerprint": r.fingerprint(ed_public(s))} for s in (RELAY, DEVICE)],
    }


def values():
    raws = [b"", b"\0", b"\xff", b"\xfb\xef\xbe", b"\xff\xff\xff", bytes(range(32)), secret("value")]
    invalid = {
        "padding": "AA==", "one character": "A", "five characters": "AAAAA", "unused bits set, two characters": "AB",
        "unused bits set, three characters": "AAB", "the standard alphabet, plus": "++++",
        "the standard alphabet, slash": "//__",
        "white space before": " AAAA", "white space after": "AAAA\n", "white space inside": "AA AA", "a dot": "AA.A",
        "a letter of another alphabet": "AAÄA", "a percent sign": "AA%3D",
    }  # fmt: skip
    text = b64(bytes(range(32)))
    not32 = {"31 bytes": b64(bytes(31)), "33 bytes": b64(bytes(33)), "empty": "", "a bit beyond": text[:-1] + "9"}
    now = [0, 1, 3599, 3600, 3601, NOW]
    week = 604800
    expiry = [(NOW, week), (NOW, 3600), (NOW, week - 1), (NOW, week - 3600), (3600, week), (3600, 3600), (3601, 7199)]
    return "Values of §3: base64url in its one form, and hours.", {
        "base64url": [{"bytes": raw, "text": b64(raw)} for raw in raws],
        "not_base64url": [{"name": k, "text": v} for k, v in invalid.items()],
        "not_32_bytes": [{"name": k, "text": v} for k, v in not32.items()],
        "hours": [{"t": t, "ceil": r.ceil_hour(t), "floor": r.floor_hour(t)} for t in now],
        "expiry": [
            {
                "now": t, "expires_in": secs, "retention": kept,
                "expires_at": min(r.ceil_hour(t + secs), r.floor_hour(t + kept)),
            }
            for kept in (week, 86400) for t, secs in expiry if secs <= kept
        ],
    }  # fmt: skip


def errors():
    text = (ROOT / "docs/protocol.md").read_text()
    table = text[text.index("## 14.") :]
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \|", table, re.M)
    return "Every error code and its HTTP status: the table of §14.", {
        "codes": {code: int(status) for code, status in rows}
    }


def links():
    fields = {"relay": ed_public(RELAY), "account": ed_public(ACCOUNT), "once": secret("once"), "contact": TOKEN}
    good = []
    for origin in (
        "http://127.0.0.1:8484", "https://relay.example:443", "http://[::1]:8484", "unix:/run/restante.sock",
        "unix:/run/a b/%&=.sock",
    ):  # fmt: skip
        good.append({"origin": origin, **fields, "link": r.Invite(origin, **fields).link()})
    link = good[1]["link"]
    head, _, query = link.partition("?")
    parts = query.split("&")
    other_order = {**good[1], "link": head + "?" + "&".join(reversed(parts))}
    bad = {f"without {part.split('=')[0]}": head + "?" + "&".join(p for p in parts if p != part) for part in parts}
    bad |= {f"{part.split('=')[0]} twice": f"{link}&{part}" for part in parts}
    bad |= {
        "an unknown field": link + "&name=bob",
        "an empty field": link + "&",
        "a field without a value": link + "&relay",
        "another version": link.replace(":1?", ":2?"),
        "another scheme": link.replace("restante:", "http:"),
        "cut off": link[:-1],
        "nothing": "",
        "no fields": "restante:1?",
        "padding": link + "=",
        "an origin without its port": link.replace("%3A443", ""),
        "an origin with a path": link.replace("%3A443", "%3A443%2Fx"),
        "an origin in upper case": link.replace("relay.example", "Relay.example"),
        "an origin of another scheme": link.replace("https", "ftp"),
        "an origin that ends in half an escape": link.replace("%3A443", "%3A443%3"),
        "an origin that is not UTF-8": link.replace("%3A443", "%FF%3A443"),
        "a relative socket": good[3]["link"].replace("unix%3A%2F", "unix%3A"),
    }  # fmt: skip
    door = {"relay": fields["relay"], "account": fields["account"], "knock": secret("knock")}
    open_link = r.Invite("https://relay.example:443", **door).link()
    good.append({"origin": "https://relay.example:443", **door, "link": open_link})
    bad |= {
        "tokens of both kinds": f"{link}&knock={b64(door['knock'])}",
        "a knock token beside half of the others": f"{open_link}&once={b64(fields['once'])}",
        "without any token": open_link.partition("&knock=")[0],
    }
    return "Invite links (§12.2), good and bad.", {
        "good": good, "other_order": [other_order], "bad": [{"name": k, "link": v} for k, v in bad.items()],
    }  # fmt: skip


def handles():
    relay_key, account, cases = ed_public(RELAY), ed_public(ACCOUNT), []
    for name, origin in (("alice", "https://relay.example:443"), ("a_b.c0", "http://127.0.0.1:8484")):
        hashed, key = doors.handle_keys(name, relay_key)
        record = doors.seal_record(hashed, key, account, TOKEN, relay_key, origin, secret(name)[:12])
        cases.append({
            "handle": name, "relay": relay_key, "salt": doors.handle_salt(relay_key), "hash": hashed, "record_key": key,
            "account": account, "token": TOKEN, "origin": origin, "nonce": secret(name)[:12], "record": record,
        })  # fmt: skip
    hashed, key = cases[0]["hash"], cases[0]["record_key"]
    nonce, plain = secret("alice")[:12], account + TOKEN + relay_key

    def sealed(raw, aad=hashed):
        return nonce + r.AESGCM(key).encrypt(nonce, raw, T("/handle-record", aad))

    origin = var(b"https://relay.example:443")
    refused = {
        "a bit changed": flipped(cases[0]["record"], 500),
        "cut off": cases[0]["record"][:-1],
        "another handle's": cases[1]["record"],
        "bound to another hash": sealed((plain + origin).ljust(996, b"\0"), cases[1]["hash"]),
        "padding that is not zeros": sealed((plain + origin).ljust(995, b"\0") + b"\1"),
        "an origin longer than the record": sealed((plain + u32(897)).ljust(996, b"a")),
        "an origin without its port": sealed((plain + var(b"https://relay.example")).ljust(996, b"\0")),
        "an origin that is not UTF-8": sealed((plain + var(b"https://\xff:443")).ljust(996, b"\0")),
        "a record too short": sealed((plain + origin).ljust(995, b"\0")),
    }
    names = ["", "ab", "Alice", "a b", "@alice", "a-b", "ünal", "z" * 33]
    return "Handles (§10.3): hash, record and what opens no record of the first.", {
        "handles": cases, "refused": [{"name": k, "record": v} for k, v in refused.items()],
        "not_handles": [{"name": f"{len(name)} characters: {name}", "text": name} for name in names],
    }  # fmt: skip


FILES = {
    "transcripts": transcripts, "lists": lists, "hashes": hashes, "wraps": wraps, "seals": seals, "values": values,
    "keys": keys, "signatures": signatures, "errors": errors, "links": links, "linking": linking,
    "handles": handles,
}  # fmt: skip


def hexed(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: hexed(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [hexed(v) for v in value]
    return value


def texts():
    """{file name: text} of every file made here."""
    made = {}
    for name, make in FILES.items():
        about, content = make()
        document = {"about": f"{about} Made by tests/python/make_vectors.py.", **hexed(content)}
        made[f"{name}.json"] = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    return made


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (directory / name).write_text(text)
