"""Several devices of one account (§12.4): what is derived, the two lines, and the grant."""

import json
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

import restante as r
from hpke import AES_256_GCM, Hpke, hkdf, need, x_public
from keys import good_x25519, verifies
from restante import T, b64, u32, unb64, var

GRANT = 4096


def sync_key(account_seed, account, epoch):
    return hkdf(account_seed, T("/sync-key", account, u32(epoch)))


def own_token(sync, account):
    return hkdf(sync, T("/own-token", account))


def digits(account):
    raw = r.sha256(T("/digits", account))[:30]
    return " ".join(f"{int.from_bytes(raw[i : i + 5], 'big') % 100_000:05}" for i in range(0, 30, 5))


def fields(text, prefix, names):
    head, _, query = text.partition("?")
    need(head == prefix, "not such a line")
    pairs = [part.partition("=") for part in query.split("&")]
    need(all(equals for _, equals, _ in pairs), "a field without a value")
    need(sorted(name for name, _, _ in pairs) == sorted(names), "fields missing, repeated or unknown")
    return {name: value for name, _, value in pairs}


def decimal(text, limit):
    need(re.fullmatch("0|[1-9][0-9]{0,19}", text, re.ASCII) and int(text) < limit, "not a number")
    return int(text)


@dataclass(frozen=True)
class AccountLine:
    origin: str
    relay: bytes
    account: bytes

    def line(self):
        origin = quote(self.origin, safe="-._~")
        return f"restante:account1?origin={origin}&relay={b64(self.relay)}&account={b64(self.account)}"

    @classmethod
    def parse(cls, text):
        found = fields(text, "restante:account1", ("origin", "relay", "account"))
        origin = unquote(found["origin"], errors="strict")
        need(r.good_origin(origin), "not an origin")
        return cls(origin, unb64(found["relay"], 32), unb64(found["account"], 32))


@dataclass(frozen=True)
class LinkCode:
    relay: bytes
    entry: r.Entry
    secret: bytes
    expires: int

    def line(self):
        e = self.entry
        return (
            f"restante:link1?relay={b64(self.relay)}&device={b64(e.device)}&sealing={b64(e.sealing_key)}"
            f"&suites={e.suites}&signature={b64(e.signature)}&secret={b64(self.secret)}&expires={self.expires}"
        )

    @classmethod
    def parse(cls, text):
        names = ("relay", "device", "sealing", "suites", "signature", "secret", "expires")
        found = fields(text, "restante:link1", names)
        suites = decimal(found["suites"], 256)
        need(suites in (1, 3), "no such suites")
        key = {name: unb64(found[name], 32) for name in ("relay", "device", "sealing", "secret")}
        entry = r.Entry(key["device"], key["sealing"], suites, unb64(found["signature"], 64))
        return cls(key["relay"], entry, key["secret"], decimal(found["expires"], 1 << 64))

    def signed_for(self, account):
        e = self.entry
        transcript = r.device_transcript(account, e.device, e.sealing_key, e.suites)
        return good_x25519(e.sealing_key) and verifies(e.device, transcript, e.signature)


def grant_parts(account, device, sealing_key, envelope, secret):
    info = T("/link", account, device)
    return info, b"\x01" + r.key_id(sealing_key) + envelope, (secret, info)


def make_grant(sealing_key, account, device, envelope, secret, content, ephemeral):
    info, aad, psk = grant_parts(account, device, sealing_key, envelope, secret)
    plain = var(content)
    need(len(plain) <= GRANT - 53, "content too long")
    context = Hpke.to(sealing_key, info, AES_256_GCM, ephemeral, psk)
    return aad[:5] + context.enc + context.seal(aad, plain.ljust(GRANT - 53, b"\0"))


def open_grant(sealing_secret, account, device, envelope, secret, body):
    sealing_key = x_public(sealing_secret)
    info, aad, psk = grant_parts(account, device, sealing_key, envelope, secret)
    need(len(body) == GRANT and body[:5] == aad[:5], "no grant for this device")
    plain = Hpke.by(sealing_secret, body[5:37], info, AES_256_GCM, psk).open(aad, body[37:])
    length = int.from_bytes(plain[:4], "big")
    need(length <= len(plain) - 4 and not any(plain[4 + length :]), "padding that is not zeros")
    return plain[4 : 4 + length]


def read_grant(content):
    """The fields of a grant: the list is not yet verified."""
    said = json.loads(content)
    need(said["type"] == "grant", "no grant")
    return said
