"""The vectors of the wrap and the seal, for make_vectors.py."""

from dataclasses import replace

import restante as r
from fixtures import ACCOUNT, DEVICE, ENVELOPE, NOW, SEALING, SENDER, SENDER_ACCOUNT, TOKEN, flipped, secret
from hpke import AES_256_GCM, Hpke, x_public
from keys import ed_public, sign
from restante import u32, u64


def wraps():
    device, expires_at = ed_public(DEVICE), r.ceil_hour(NOW)
    cases = []
    for kind, size in (("contact", 1024), ("once", 4096)):
        sealed = (secret("sealed") * 512)[:size]
        ephemeral, nonce, hashed = secret(f"wrap {kind}"), secret(f"nonce {kind}")[:12], r.token_hash(TOKEN)
        wrap, body = r.make_wrap(
            x_public(SEALING), device, expires_at, ephemeral, nonce, kind, hashed, ENVELOPE, sealed
        )
        cases.append({
            "sealing_secret": SEALING, "sealing_key": x_public(SEALING), "device": device, "expires_at": expires_at,
            "ephemeral": ephemeral, "nonce": nonce, "kind": kind, "token_hash": hashed, "id": ENVELOPE, "sealed": sealed,
            "wrap": wrap, "body": body,
        })  # fmt: skip
    good, refused = cases[0], []

    def bad(name, **changed):
        kept = {k: good[k] for k in ("sealing_secret", "device", "expires_at", "wrap", "body")}
        refused.append({"name": name, **kept, **changed})

    bad("another device", device=ed_public(SENDER))
    bad("another sealing key", sealing_secret=secret("sealing 1"))
    bad("another expiry", expires_at=expires_at + 3600)
    bad("a flipped bit of enc", wrap=flipped(good["wrap"], 5))
    bad("a flipped bit of the nonce", wrap=flipped(good["wrap"], 40))
    bad("a flipped bit of the kind", body=flipped(good["body"], 0))
    bad("a flipped bit of the tag", body=flipped(good["body"], len(good["body"]) - 1))
    bad("a byte less", body=good["body"][:-1])
    bad("the body of another wrap", body=cases[1]["body"])
    bad("an enc of small order", wrap=bytes(32) + good["nonce"])
    return "The relay's wrap (§8), with fixed ephemeral key and nonce, and what must not open.", {
        "wraps": cases,
        "refused": refused,
    }


def seals():
    account, device = ed_public(ACCOUNT), ed_public(DEVICE)
    to_secret, to_key = secret("prekey"), x_public(secret("prekey"))
    head = u32(1) + u64(3) + secret("sender list")
    recipient_head = u32(2) + u64(4) + secret("recipient list")
    base = r.Plain(
        ed_public(SENDER_ACCOUNT), ed_public(SENDER), head, recipient_head, 7, NOW, x_public(secret("reply key")), b""
    )
    cases = []
    for length in (0, 703, 704, 3775, 3776):
        content = b'{"type":"text","text":"%s"}' % (b"x" * (length - 25)) if length else b""
        plain = replace(base, content=content)
        ephemeral = secret(f"seal {length}")
        body = r.seal(to_key, account, device, ENVELOPE, SENDER, plain, ephemeral)
        cases.append({
            "secret": to_secret, "key": to_key, "account": account, "device": device, "id": ENVELOPE,
            "ephemeral": ephemeral, "sender_seed": SENDER, "sender_account": plain.account, "sender_device": plain.device,
            "head": head, "recipient_head": recipient_head, "counter": 7, "sent_at": NOW, "reply_key": plain.reply_key,
            "content": plain.content, "body": body,
        })  # fmt: skip
    good, refused = cases[1], []

    def bad(name, **changed):
        kept = {k: good[k] for k in ("secret", "account", "device", "id", "body")}
        refused.append({"name": name, **kept, **changed})

    def sealed_raw(change):
        """A body whose plaintext went through `change` before it was sealed: only its recipient can tell."""
        info, aad = r.seal_parts(account, device, ENVELOPE, r.key_id(to_key))
        context = Hpke.to(to_key, info, AES_256_GCM, good["ephemeral"])
        raw = Hpke.by(to_secret, context.enc, info, AES_256_GCM).open(aad, good["body"][37:])
        return aad[:5] + context.enc + context.seal(aad, change(raw))

    body = good["body"]
    bad("another envelope id", id=secret("another envelope")[:16])
    bad("another recipient account", account=ed_public(SENDER_ACCOUNT))
    bad("another recipient device", device=ed_public(SENDER))
    bad("another key of the same recipient", secret=secret("another prekey"))
    bad("suite 2", body=b"\x02" + body[1:])
    bad("a flipped bit of the key id", body=flipped(body, 1))
    bad("a flipped bit of enc", body=flipped(body, 5))
    bad("an enc of small order", body=body[:5] + bytes(32) + body[37:])
    bad("a flipped bit of the ciphertext", body=flipped(body, 500))
    bad("a flipped bit of the tag", body=flipped(body, 1023))
    bad("a byte less", body=body[:-1])
    bad("signed by another key", body=sealed_raw(lambda p: p[:200] + sign(ACCOUNT, b"x") + p[264:]))
    bad("naming another sender account", body=sealed_raw(lambda p: ed_public(ACCOUNT) + p[32:]))
    bad("naming another sender device", body=sealed_raw(lambda p: p[:32] + ed_public(DEVICE) + p[64:]))
    bad("padding that is not zeros", body=sealed_raw(lambda p: p[:264] + u32(702) + p[268:]))
    bad("content longer than the body", body=sealed_raw(lambda p: p[:264] + u32(704) + p[268:]))
    bad("content of 2^32 - 1 bytes", body=sealed_raw(lambda p: p[:264] + u32(2**32 - 1) + p[268:]))
    about = "Sealed bodies (§12) with a fixed ephemeral key, and what a recipient refuses; the last ones open, and lie."
    return about, {"seals": cases, "refused": refused}
