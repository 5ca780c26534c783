// The relay as a page reaches it: requests by fetch (§3, §4), the stream by WebSocket (§9).

import { b64, fingerprint, need, T, u64, unb64, utf8, variable } from "./bytes.js";
import { goodEd25519, sign, verifies } from "./keys.js";

/** The relay refused: `code` is one of §14, `document` all that it said. */
export class Problem extends Error {
  constructor(status, document) {
    super(`${status} ${document.code}: ${document.detail}`);
    Object.assign(this, { status, code: document.code, document });
  }
}

export class Relay {
  constructor(origin, key) {
    Object.assign(this, { origin, key });
  }

  /** The relay at an origin, its key pinned: it must be the one of a fingerprint that came by a way that is trusted. */
  static async at(origin, expected) {
    const info = await new Relay(origin).call("GET", "/info");
    need(info.version === 1, "another version of the protocol");
    const key = unb64(info.relay_key, 32);
    need(goodEd25519(key) && (await fingerprint(key)) === expected, "the relay key is not the fingerprint's");
    return new Relay(origin, key);
  }

  /**
   * One request. §12.3 wants anonymous ones over other connections than a session's. A page cannot choose: browsers keep few
   * connections to a host and put both over one. The relay is not told who sends, but from a page it could tell.
   */
  async call(method, path, body, session) {
    const headers = {};
    if (body) headers["Content-Type"] = "application/json";
    if (session) headers.Authorization = `Bearer ${session}`;
    const reply = await fetch(`${this.origin}/v1${path}`, {
      method, headers, body: body && JSON.stringify(body),
      credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer",
    });
    const document = await reply.json();
    if (!reply.ok) throw new Problem(reply.status, document);
    return document;
  }

  /** A fresh challenge, answered by the device for one purpose: the fields that a request carries as proof. */
  async proof(purpose, device, ...more) {
    const reply = await this.call("POST", "/auth/challenge", { device: b64(device.public) });
    const challenge = unb64(reply.challenge);
    const signed = T("/challenge", device.public, variable(challenge), u64(reply.expires_at));
    const ours = challenge.length <= 256 && reply.relay_key === b64(this.key);
    need(ours && (await verifies(this.key, signed, unb64(reply.signature, 64))), "a challenge that the relay did not sign");
    const answered = T(
      purpose, variable(utf8(this.origin)), this.key, device.public, variable(challenge), u64(reply.expires_at), ...more,
    );
    return { device: b64(device.public), challenge: reply.challenge, signature: b64(await sign(device, answered)) };
  }

  /** A stream that is open, and not yet anybody's. */
  async stream() {
    const stream = new Stream(`${this.origin.replace("http", "ws")}/v1/stream`);
    await stream.opened;
    return stream;
  }
}

/** Frames out by `say`, in by `next`. */
export class Stream {
  #frames = [];
  #wake = () => {};
  #socket;

  constructor(url) {
    const socket = (this.#socket = new WebSocket(url));
    this.opened = new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onclose = ({ code }) => {
        reject(new Error(`closed with ${code} before it was open`));
        this.closed = code;
        this.#wake();
      };
    });
    socket.onmessage = ({ data }) => {
      this.#frames.push(JSON.parse(data));
      this.#wake();
    };
  }

  say(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  /** The next frame; undefined when the stream has ended, and `closed` is its close code. */
  async next() {
    while (!this.#frames.length && !this.closed) await new Promise((wake) => (this.#wake = wake));
    return this.#frames.shift();
  }

  close() {
    this.#socket.close();
  }
}
