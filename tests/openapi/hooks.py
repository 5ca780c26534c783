"""What schemathesis calls: an account of its own behind the session, and what is true of it in the place of random bytes, so
that requests get further than their first look-up."""

import os
import random
import sys
from pathlib import Path

import schemathesis
from requests.adapters import HTTPAdapter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from client import Client, Relay  # noqa: E402
from restante import b64, token_hash  # noqa: E402

class Account:
    """A device that is registered and logged in, and a token of each kind."""

    def __init__(self, origin):
        self.relay = Relay(origin)
        self.relay.pin()
        self.client = Client(self.relay)
        self.client.register()
        self.client.login()
        self.client.prekey()
        self.tokens = [self.client.mint(), self.client.mint("once", days=7), self.client.mint("knock")]
        self.handle, self.slot = b64(os.urandom(32)), b64(os.urandom(32))
        self.client.call("PUT", "/handle", {"hash": self.handle, "record": b64(os.urandom(1024))})
        body = {"content": b64(os.urandom(1024))}
        self.relay.exchange("PUT", "/slot", body, self.client.session, Slot_Id=self.slot, If_None_Match="*")
        self.random = random.Random(7)

    def truth(self, path, body):
        """The same body with this account's device, list, tokens and handle here and there."""
        device, token = b64(self.client.device), self.random.choice(self.tokens)
        hashed = self.handle if "handle" in path else b64(token_hash(token))
        known = {"token": b64(token), "hash": hashed, "list": {"epoch": 1, "version": 1}}
        for name in known.keys() & body.keys():
            if self.random.random() < 0.75:
                body[name] = known[name]
        if "sealed" in body and self.random.random() < 0.75:
            body["sealed"] = [{"device": device, "body": body["sealed"][0]["body"]}]
        if "challenge" in body and self.random.random() < 0.75:
            body["challenge"] = b64(self.relay.challenge(self.client.device)[0])
            body.update({"device": device} if "device" in body else {})
        return body


account = None


def own():
    global account
    if account is None:
        account = Account(os.environ["RESTANTE_ORIGIN"])
    return account


def is_positive(case):
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.auth(refresh_interval=None)
class Session:
    def get(self, case, context):
        return own().client.session

    def set(self, case, session, context):
        if context.operation.definition.raw.get("security"):
            case.headers["Authorization"] = f"Bearer {session}"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """A reply with a field that the description does not have is a deviation, although clients have to bear it."""
    for name, schema in raw_schema["components"]["schemas"].items():
        if name != "RelayFrame":
            close(schema)


def close(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)


def whole(value):
    """With `13` for `13.0`, which is the same to a schema and refused by the relay."""
    if isinstance(value, dict):
        return {name: whole(field) for name, field in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    if not is_positive(case):
        return
    if isinstance(case.body, dict):
        case.body = own().truth(case.operation.path, whole(case.body))
    if "Slot-Id" in case.headers and own().random.random() < 0.75:
        case.headers["Slot-Id"] = own().slot
    if case.query and case.query.get("wait"):
        # Nothing would come of waiting.
        case.query["wait"] = 0



class Adapter:
    """A connection that has become a stream carries no further requests, which requests does not know."""

    send_one = HTTPAdapter.send

    def send(self, request, **more):
        reply = Adapter.send_one(self, request, **more)
        if reply.status_code == 101:
            self.poolmanager.clear()
        return reply


HTTPAdapter.send = Adapter.send
