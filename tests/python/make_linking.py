"""The vectors of several devices (§12.4), for make_vectors.py."""

import json

import linking as l
import restante as r
from fixtures import ACCOUNT, DEVICE, ENVELOPE, LIST, NOW, RELAY, SEALING, SENDER_ACCOUNT, flipped, secret
from hpke import AES_256_GCM, Hpke, x_public
from keys import ed_public, sign
from restante import b64


def linking():
    account, device, sealing_key = ed_public(ACCOUNT), ed_public(DEVICE), x_public(SEALING)
    derived = []
    for epoch in (0, 1, 2, 0xFFFFFFFF):
        sync = l.sync_key(ACCOUNT, account, epoch)
        derived.append({
            "seed": ACCOUNT, "account": account, "epoch": epoch, "sync_key": sync, "own_token": l.own_token(sync, account),
        })  # fmt: skip
    accounts = [account, ed_public(SENDER_ACCOUNT), bytes(32), b"\xff" * 32]
    shown = [{"account": a, "digits": l.digits(a)} for a in accounts]
    origins = ("http://127.0.0.1:8484", "https://relay.example:443", "unix:/run/a b/%&=.sock")
    lines = [
        {"origin": o, "relay": ed_public(RELAY), "account": account, "line": l.AccountLine(o, ed_public(RELAY), account).line()}
        for o in origins
    ]
    link_secret = secret("link secret")
    signature = sign(DEVICE, r.device_transcript(account, device, sealing_key, 1))
    code = l.LinkCode(ed_public(RELAY), r.Entry(device, sealing_key, 1, signature), link_secret, NOW + 600)
    codes = [{
        "relay": code.relay, "account": account, "other": ed_public(SENDER_ACCOUNT), "device": device,
        "expires_at": code.expires, "code": code.line(),
    }]  # fmt: skip
    good_line, good_code = lines[1]["line"], code.line()
    bad_lines = {
        "a code": good_code,
        "another version": good_line.replace("account1", "account2"),
        "cut off": good_line[:-1],
        "a field twice": good_line + "&account=" + b64(account),
        "an unknown field": good_line + "&name=bob",
        "an origin without its port": good_line.replace("%3A443", ""),
    }
    bad_codes = {
        "a line": good_line,
        "another version": good_code.replace("link1", "link2"),
        "cut off": good_code.partition("&expires")[0],
        "a field twice": good_code + "&suites=1",
        "an unknown field": good_code + "&name=bob",
        "suites without the first": good_code.replace("suites=1", "suites=2"),
        "suites with a zero before": good_code.replace("suites=1", "suites=01"),
        "a signed time": good_code.replace("expires=", "expires=-"),
        "a short secret": good_code.replace(b64(link_secret), b64(link_secret[:31])),
    }
    content = json.dumps({
        "type": "grant", "account": b64(account), "list_key": b64(LIST), "sync_key": b64(derived[1]["sync_key"]),
    }).encode()  # fmt: skip
    ephemeral = secret("grant")
    body = l.make_grant(sealing_key, account, device, ENVELOPE, link_secret, content, ephemeral)
    grant = {
        "sealing_secret": SEALING, "account": account, "device": device, "id": ENVELOPE, "secret": link_secret, "body": body,
    }  # fmt: skip

    def raw(change, psk=True):
        """A body whose plaintext went through `change`, or that was sealed in base mode."""
        info, aad, pair = l.grant_parts(account, device, sealing_key, ENVELOPE, link_secret)
        plain = Hpke.by(SEALING, body[5:37], info, AES_256_GCM, pair).open(aad, body[37:])
        context = Hpke.to(sealing_key, info, AES_256_GCM, ephemeral, pair if psk else (b"", b""))
        return aad[:5] + context.enc + context.seal(aad, change(plain))

    refused = {
        "another secret": {"secret": secret("another link secret")},
        "another account": {"account": ed_public(SENDER_ACCOUNT)},
        "another device": {"device": ed_public(SENDER_ACCOUNT)},
        "another id": {"id": flipped(ENVELOPE, 0)},
        "another sealing key": {"sealing_secret": secret("sealing 1")},
        "a flipped bit": {"body": flipped(body, 4000)},
        "base mode": {"body": raw(lambda plain: plain, psk=False)},
        "padding that is not zeros": {"body": raw(lambda plain: plain[:-1] + b"\x01")},
        "a length beyond the end": {"body": raw(lambda plain: b"\x00\x00\xff\xff" + plain[4:])},
        "1 KiB": {"body": raw(lambda plain: plain[: 1024 - 53])},
    }
    return "Several devices (§12.4): what is derived, the two lines, and the grant.", {
        "derived": derived, "digits": shown, "lines": lines, "codes": codes,
        "bad_lines": [{"name": k, "line": v} for k, v in bad_lines.items()],
        "bad_codes": [{"name": k, "code": v} for k, v in bad_codes.items()],
        "grants": [{**grant, "ephemeral": ephemeral, "content": content}],
        "refused": [{"name": k, **grant, **v} for k, v in refused.items()],
    }  # fmt: skip
