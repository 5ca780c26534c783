"""Handles and knocks (sections 10.2, 10.3 and 12.1), for client.py, the vectors and live.py."""

import json
import os
import re
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from hpke import aes_open, need
from restante import SignedList, T, b64, good_origin, sha256, unb64, var

RECORD, PLAIN = 1024, 996


def handle_salt(relay_key):
    return sha256(T("/handle-salt", relay_key))[:16]


def handle_keys(name, relay_key):
    """(lookup hash, record key)"""
    need(re.fullmatch(r"[a-z0-9_.]{3,32}", name, re.ASCII), "not a handle")
    kdf = Argon2id(salt=handle_salt(relay_key), length=64, iterations=3, lanes=1, memory_cost=65536)
    raw = kdf.derive(name.encode())
    return raw[:32], raw[32:]


def seal_record(hashed, key, account, token, relay_key, origin, nonce=None):
    nonce = nonce or os.urandom(12)
    plain = account + token + relay_key + var(origin.encode())
    need(len(plain) <= PLAIN, "an origin too long for a record")
    return nonce + AESGCM(key).encrypt(nonce, plain.ljust(PLAIN, b"\0"), T("/handle-record", hashed))


def open_record(hashed, key, record):
    """(account, knock token, relay key, origin)"""
    need(len(record) == RECORD, "a record of the wrong length")
    plain = aes_open(key, record[:12], T("/handle-record", hashed), record[12:])
    account, token, relay_key, n = struct.unpack_from(">32s32s32sI", plain)
    need(n <= PLAIN - 100 and not any(plain[100 + n :]), "padding that is not zeros")
    origin = plain[100 : 100 + n].decode()
    need(good_origin(origin), "not an origin")
    return account, token, relay_key, origin


def set_handle(client, name):
    hashed, key = handle_keys(name, client.relay.relay_key)
    record = seal_record(hashed, key, client.account, client.mint("knock"), client.relay.relay_key, client.relay.origin)
    reply = client.call("PUT", "/handle", {"hash": b64(hashed), "record": b64(record)})
    need(unb64(reply["hash"], 32) == hashed, "another handle")


def find(client, name):
    """(account, knock token) of who has a handle at the client's relay."""
    hashed, key = handle_keys(name, client.relay.relay_key)
    record = unb64(client.relay.call("POST", "/handles/lookup", {"hash": b64(hashed)})["record"])
    account, token, relay_key, origin = open_record(hashed, key, record)
    need((origin, relay_key) == (client.relay.origin, client.relay.relay_key), "a handle that leads to another relay")
    return account, token


def knock(client, account, token, text, make_contact, **more):
    """Knock at an account's door; a contact that is welcomed once they have accepted."""
    signed_list, _ = client.look_up(token, account)
    contact = make_contact(account, token, signed_list)
    client.contacts[account] = contact
    content = {
        "type": "knock", "text": text, "token": b64(client.mint(contact=account)), "device_list": client.list.document(),
        "prekeys": [client.published], "origin": client.relay.origin, "relay_key": b64(client.relay.relay_key), **more,
    }  # fmt: skip
    need(704 <= len(json.dumps(content)) <= 3775, "a knock that is not of its one size")
    client.send(contact, content, token)
    return contact


def checked(client, plain, content):
    """The signed list of who knocks, if they are who they say."""
    need(content["type"] == "knock", "no knock by a knock token")
    signed_list = SignedList.of(content["device_list"])
    decoded = signed_list.verify()
    need(decoded.account == plain.account, "a knock with another account's list")
    need(plain.device in [e.device for e in decoded.entries], "a knock from a device that is not listed")
    need(unb64(content["relay_key"], 32) == client.relay.relay_key, "a knock from another relay")
    return signed_list
