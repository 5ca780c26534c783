// The known answers that all implementations share (tests/it/vectors), as far as this client goes.

import { b64, equal, fingerprint, Refused, tokenHash, unb64 } from "./bytes.js";
import { keyId, openWrap, unseal } from "./envelopes.js";
import { AES_256_GCM, Hpke } from "./hpke.js";
import { goodEd25519, goodX25519, verifies } from "./keys.js";
import { readList } from "./lists.js";

const hex = (text) => Uint8Array.fromHex(text);
const load = async (name) => (await fetch(`/it/vectors/${name}.json`)).json();
const PKCS8 = hex("302e020100300506032b656e04220420");

/** A pair from the secret of a vector. */
async function pair(secret) {
  const key = await crypto.subtle.importKey("pkcs8", new Uint8Array([...PKCS8, ...hex(secret)]), "X25519", true, ["deriveBits"]);
  const publicKey = unb64((await crypto.subtle.exportKey("jwk", key)).x, 32);
  return { key, public: publicKey, id: await keyId(publicKey) };
}

const open = async (c) => {
  const row = { expires_at: c.expires_at, wrap: hex(c.wrap), body: hex(c.body) };
  return openWrap(await pair(c.sealing_secret), hex(c.device), row);
};
const unsealed = async (c) => {
  const me = { account: hex(c.account), device: hex(c.device) };
  return unseal([await pair(c.secret)], me, { id: hex(c.id), sealed: hex(c.body) });
};
const listed = (c) => {
  const [list_key_certificate, list, signature] = [c.list_key_certificate, c.list, c.signature].map((bytes) => b64(hex(bytes)));
  return readList({ list_key_certificate, list, signature });
};
const signed = (c) => verifies(hex(c.key), hex(c.message), hex(c.signature));
const recipient = async (c) => Hpke.by(await pair(c.skRm), hex(c.enc), hex(c.info), c.aead_id);
const refuses = (call) => async (c) => {
  try {
    return (await call(c)) === false;
  } catch (error) {
    return error instanceof Refused || error;
  }
};

/** For each file and list in it, what must hold of each case. */
const TABLE = [
  ["values", "base64url", (c) => b64(hex(c.bytes)) === c.text && equal(unb64(c.text), hex(c.bytes))],
  ["values", "not_base64url", refuses((c) => unb64(c.text))],
  ["values", "not_32_bytes", refuses((c) => unb64(c.text, 32))],
  ["hashes", "token_hash", async (c) => equal(await tokenHash(hex(c.token)), hex(c.hash))],
  ["hashes", "key_id", async (c) => equal(await keyId(hex(c.key)), hex(c.id))],
  ["hashes", "fingerprint", async (c) => (await fingerprint(hex(c.key))) === c.fingerprint],
  ["keys", "ed25519_good", (key) => goodEd25519(hex(key))],
  ["keys", "ed25519_weak", (c) => !goodEd25519(hex(c.key))],
  ["keys", "x25519_good", (key) => goodX25519(hex(key))],
  ["keys", "x25519_weak", (c) => !goodX25519(hex(c.key))],
  ["rfc8032", "vectors", signed],
  ["signatures", "accepted", signed],
  ["signatures", "refused", async (c) => !(await signed(c))],
  ["lists", "valid", async (c) => equal((await listed(c)).head, hex(c.head))],
  ["lists", "invalid", refuses(listed)],
  ["wraps", "wraps", async (c) => equal((await open(c)).sealed, hex(c.sealed))],
  ["wraps", "refused", refuses(open)],
  ["seals", "seals", async (c) => equal((await unsealed(c)).content, hex(c.content))],
  ["seals", "refused", refuses(unsealed)],
  ["rfc9180", "vectors", async (c) => {
    const hpke = await recipient(c);
    const exports = c.exports.map(async (e) => equal(await hpke.export(hex(e.exporter_context), e.L), hex(e.exported_value)));
    const [first] = c.aead_id === AES_256_GCM ? c.encryptions : [];
    const opened = !first || equal(await hpke.open(hex(first.aad), hex(first.ct)), hex(first.pt));
    return opened && (await Promise.all(exports)).every(Boolean);
  }],
];

/** How many cases there are, and those that do not hold. */
export async function vectors() {
  const told = { cases: 0, wrong: [] };
  for (const [file, list, holds] of TABLE) {
    for (const [i, c] of (await load(file))[list].entries()) {
      told.cases += 1;
      const outcome = await Promise.resolve(c).then(holds).catch(String);
      if (outcome !== true) told.wrong.push(`${file}.${list}[${i}] ${c.name ?? ""}: ${outcome}`);
    }
  }
  return told;
}
