// What the test's page does, told to the runner step by step (`tell`), which answers when it has done its part. The runner
// judges; this only says what happened. The fragment says where the relay is, and whether this page is a stranger to it.

import { need } from "./bytes.js";
import { Client } from "./client.js";
import { Relay } from "./relay.js";
import { vectors } from "./vectors.js";

const { origin, fingerprint, stranger } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

async function tell(step, told = {}) {
  document.querySelector("pre").append(`${step} ${JSON.stringify(told)}\n`);
  const reply = await fetch("/result", { method: "POST", body: JSON.stringify({ step, ...told }) });
  return reply.json();
}

/** What becomes of a promise, in words. */
const outcome = (promise) => promise.then(() => "done", (error) => `${error.name}: ${error.message}`);

/** Reads events until one that `last` accepts, and returns what a runner wants to know of each. */
async function read(events, last) {
  const read = [];
  for (;;) {
    const { value, done } = await events.next();
    need(!done, `the stream ended after ${JSON.stringify(read)}`);
    read.push(shown(value));
    if (last(value, read)) return read;
  }
}

const shown = ({ contact, ...event }) => event;
const isText = ({ content }) => content?.type === "text";

async function visit() {
  await tell("counted", await vectors());
  const anotherKey = await outcome(Relay.at(origin, [...fingerprint].reverse().join("")));
  const relay = await Relay.at(origin, fingerprint);
  const client = await Client.create(relay);
  const exported = await outcome(crypto.subtle.exportKey("pkcs8", client.device.key));
  const plainGet = await outcome(relay.call("GET", "/stream"));
  await tell("registered", { anotherKey, exported, plainGet });

  // What the Rust client has sent before waits; the stream brings it.
  await tell("invited", { link: await client.invite() });
  const stream = await client.stream();
  const events = client.events(stream);
  const waited = await read(events, (_, read) => read.filter((event) => event.type === "acked").length === 2);
  const [friend] = client.contacts.values();
  const lookedUp = await outcome(client.lookUp(friend.token, friend.account));
  await client.send(friend, { type: "text", text: "hello from the browser" });
  await tell("heard", { waited, lookedUp });

  // What the Rust client sends now comes at once.
  const told = tell("listening");
  const pushed = await read(events, ({ type }, read) => type === "acked" && read.some(isText));
  await told;

  // A live envelope: to itself, sealed to the prekey that the relay hands out.
  const me = client.know(client.account, (await client.mint("contact", client.account)).token, client.list);
  await client.send(me, { type: "typing", active: true }, { live: true });
  const live = await read(events, ({ live }) => live);

  // A newer session takes the stream on.
  await client.login();
  stream.say({ type: "auth", session: client.session });
  const prolonged = await read(events, ({ type }) => type === "ready");
  await tell("served", { pushed, welcomed: !friend.invite, live, prolonged });

  // What comes when no stream is open is polled.
  stream.close();
  await tell("left");
  const polled = [];
  for await (const event of client.poll()) polled.push(shown(event));
  await tell("done", { polled });
}

/** A page that the relay's operator has not named: the browser keeps it from everything. */
async function strange() {
  const relay = new Relay(origin);
  const asked = await outcome(relay.call("GET", "/info"));
  const posted = await outcome(relay.call("POST", "/auth/challenge", { device: "" }));
  const streamed = await outcome(relay.stream());
  const there = await outcome(fetch(`${origin}/v1/info`, { mode: "no-cors" }));
  await tell("refused", { asked, posted, streamed, there });
}

try {
  await (stranger ? strange() : visit());
} catch (error) {
  await tell("failed", { why: error.stack });
}
