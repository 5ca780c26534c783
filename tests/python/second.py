"""A device that is linked to an account which has others (§12.4): the grant, the book in the slot (§11), copies."""

import json
import os
import time

from client import Client, Contact
from hpke import Refused, aes_open, hkdf, need, x_public
from linking import AccountLine, LinkCode, open_grant, own_token, read_grant
from restante import Entry, SignedList, T, b64, open_wrap, sha256, token_hash, u64, unb64


class SecondDevice(Client):
    """A device that waits to be let in, and afterwards is one like all others of the account."""

    def __init__(self, relay, line):
        super().__init__(relay)
        line = AccountLine.parse(line)
        need(line.relay == relay.relay_key, "a line that leads to another relay")
        self.account_seed, self.account, self.secret = None, line.account, os.urandom(32)

    def code(self):
        entry = Entry.signed(self.account, self.device_seed, x_public(self.sealing_secret))
        return LinkCode(self.relay.relay_key, entry, self.secret, int(time.time()) + 600).line()

    def join(self):
        """Take the grant that was sent when the code was approved."""
        self.login()
        rows = self.call("GET", "/envelopes")["envelopes"]
        hashed, said = next(filter(None, (self.granted(row) for row in rows)))
        signed_list = SignedList.of(said["device_list"])
        decoded = signed_list.verify()
        need(unb64(said["account"], 32) == self.account == decoded.account, "a grant of another account")
        need(self.device in [e.device for e in decoded.entries], "a list without this device")
        self.list, self.list_seed, self.sync = signed_list, unb64(said["list_key"], 32), unb64(said["sync_key"], 32)
        token = own_token(self.sync, self.account)
        need(hashed == token_hash(token), "a grant that did not come by the own token")
        self.minted[hashed] = self.account
        self.contacts[self.account] = Contact(self.account, token, signed_list)
        self.call("POST", "/envelopes/ack", {"through": rows[-1]["seq"]})
        self.prekey()

    def granted(self, row):
        wrap, body = unb64(row["wrap"]), unb64(row["body"])
        _, hashed, envelope, sealed = open_wrap(self.sealing_secret, self.device, row["expires_at"], wrap, body)
        try:
            content = open_grant(self.sealing_secret, self.account, self.device, envelope, self.secret, sealed)
        except Refused:
            return None
        return hashed, read_grant(content)

    def read_slot(self, part):
        """The book's part that stands in one slot; None where there is none."""
        which = bytes([part]) if part else b""
        slot = hkdf(self.sync, T("/slot-id", self.account, which))
        status, headers, raw = self.relay.exchange("GET", "/slot", session=self.session, Slot_Id=b64(slot))
        if status == 404:
            return None
        need(status == 200, "no slot")
        reply = json.loads(raw)
        tag = {name.lower(): value for name, value in headers.items()}["etag"]
        need(tag == f'"{reply["version"]}"', "a version that is not the ETag")
        content, key = unb64(reply["content"]), hkdf(self.sync, T("/slot-key", self.account, which))
        need(len(content) in (1024, 4096, 16384, 65536), "a content of no size that there is")
        plain = aes_open(key, content[:12], T("/slot", slot, u64(reply["version"])), content[12:])
        length = int.from_bytes(plain[:4], "big")
        need(not any(plain[4 + length :]), "padding that is not zeros")
        return json.loads(plain[4 : 4 + length])

    def read_book(self):
        """Take over the contacts that the account's devices keep in their slots: {name: contact}."""
        first = self.read_slot(0)
        need(first is not None and first["version"] == 2, "no book")
        parts = [first, *filter(None, (self.read_slot(at) for at in range(1, first.get("more", 0) + 1)))]
        named = {}
        for account, entry in (item for part in parts for item in part.get("contacts", {}).items()):
            if "here" not in entry["is"]:
                continue
            here, account = entry["is"]["here"], unb64(account, 32)
            token = unb64(here["way"]["value"]["token"], 32)
            contact = self.contacts.get(account) or Contact(account, token, self.list_of(account, token, here["list"]))
            self.contacts[account] = contact
            self.minted |= {unb64(hashed, 32): account for hashed, held in here["mine"].items() if "gone" not in held}
            named[here["label"]["value"]["name"]] = contact
        return named

    def list_of(self, account, token, known):
        """The list that another device of the account knows the outline of: no older one is taken, and no other of its version."""
        signed_list = SignedList.of(self.relay.call("POST", "/keys", {"token": b64(token)})["device_list"])
        decoded = signed_list.verify()
        need(decoded.account == account, "another account's list in the place of a contact's")
        order, least = (decoded.epoch, decoded.version), (known["epoch"], known["version"])
        need(order >= least, "an older list than is known")
        need(order > least or sha256(signed_list.list) == unb64(known["hash"], 32), "another list of the same version")
        return signed_list

    def counted(self, contact, plain):
        """Not its own, which comes back with what it sends to the account's devices."""
        return plain.device != self.device and super().counted(contact, plain)

    def send_with_copy(self, contact, text):
        """A text, and what tells the other devices of it: under another id, by the own token."""
        request = self.envelope(contact, {"type": "text", "text": text})
        self.relay.call("POST", "/envelopes", request)
        sent = {"type": "sent", "to": b64(contact.account), "id": request["id"], "text": text, "sent_at": int(time.time())}
        self.send(self.contacts[self.account], sent)
