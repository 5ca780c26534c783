// Bytes and values as docs/protocol.md §3 writes them. Numbers in comments, here and in the other files, are its sections.

/** What came is not what the protocol says; nothing was done with it. */
export class Refused extends Error {}

export function need(condition, why) {
  if (!condition) throw new Refused(why);
}

export const utf8 = (text) => new TextEncoder().encode(text);
export const text = (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
export const random = (length) => crypto.getRandomValues(new Uint8Array(length));
export const now = () => Math.floor(Date.now() / 1000);

/** All parts after each other; a string stands as UTF-8. */
export function join(...parts) {
  const pieces = parts.map((part) => (typeof part === "string" ? utf8(part) : part));
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Below zero, zero or above, as `a` stands before, at or after `b`. */
export function compare(a, b) {
  const i = a.findIndex((byte, i) => byte !== b[i]);
  return i < 0 ? a.length - b.length : a[i] - (b[i] ?? -1);
}

// Integers, big endian.

function integer(size, set) {
  return (n) => {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer), n);
    return bytes;
  };
}
export const u8 = integer(1, (view, n) => view.setUint8(0, n));
export const u16 = integer(2, (view, n) => view.setUint16(0, n));
export const u32 = integer(4, (view, n) => view.setUint32(0, n));
export const u64 = integer(8, (view, n) => view.setBigUint64(0, BigInt(n)));
export const variable = (bytes) => join(u32(bytes.length), bytes);

/** Reads fields one after the other. */
export class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  take(length) {
    need(this.at + length <= this.bytes.length, "it is too short");
    this.at += length;
    return this.bytes.slice(this.at - length, this.at);
  }

  /** An unsigned integer of so many bytes, below 2⁵³. */
  integer(size) {
    const n = this.take(size).reduce((n, byte) => n * 256 + byte, 0);
    need(Number.isSafeInteger(n), "an integer is out of range");
    return n;
  }

  rest() {
    return this.take(this.bytes.length - this.at);
  }
}

// Base64url without padding, in the one canonical form.

export const b64 = (bytes) => bytes.toBase64({ alphabet: "base64url", omitPadding: true });

export function unb64(text, size) {
  need(typeof text === "string", "not base64url");
  let bytes;
  try {
    bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
  } catch {
    throw new Refused("not base64url");
  }
  need(b64(bytes) === text, "base64url in another form than the canonical one");
  need(size === undefined || bytes.length === size, "a byte string of the wrong size");
  return bytes;
}

// What is signed and hashed.

/** `T(purpose, fields…)`. */
export function T(purpose, ...fields) {
  const name = utf8("restante/v1" + purpose);
  return join(u16(name.length), name, ...fields);
}

export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

export async function fingerprint(relayKey) {
  const digits = (await sha256(T("/fingerprint", relayKey))).slice(0, 16).toHex();
  return digits.match(/.{4}/g).join("-");
}

export const tokenHash = (token) => sha256(T("/token", token));
