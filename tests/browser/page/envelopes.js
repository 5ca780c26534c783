// What is in an envelope: the relay's wrap (§8) and the sender's seal (§12).

import { equal, join, need, Reader, Refused, sha256, T, u64, u8, variable } from "./bytes.js";
import { AES_256_GCM, EXPORT_ONLY, Hpke, openAesGcm } from "./hpke.js";
import { sign, verifies } from "./keys.js";

const SUITE = 1;
const SIZES = [1024, 4096, 16384];
const KINDS = { 1: "contact", 2: "once" };
/** suite ‖ key id ‖ enc, and the tag at the end. */
const OUTSIDE = 1 + 4 + 32 + 16;

/** Opens the wrap that the relay put around a body: by what kind of token it came, which, its id, and what is sealed. */
export async function openWrap(sealingPair, device, { expires_at, wrap, body }) {
  const [enc, nonce] = [wrap.slice(0, 32), wrap.slice(32)];
  need(nonce.length === 12, "not a wrap");
  const hpke = await Hpke.by(sealingPair, enc, T("/wrap", device), EXPORT_ONLY);
  const key = await hpke.export(T("/wrap-key"), 32);
  const opened = new Reader(await openAesGcm(key, nonce, join(device, u64(expires_at)), body));
  const kind = KINDS[opened.integer(1)];
  const envelope = { kind, tokenHash: opened.take(32), id: opened.take(16), sealed: opened.rest() };
  need(kind && SIZES.includes(envelope.sealed.length), "not a wrapped envelope");
  return envelope;
}

export const keyId = async (publicKey) => (await sha256(T("/key-id", publicKey))).slice(0, 4);

const signedBytes = (to, id, enc, from) => {
  return T("/envelope-signature", to.account, to.device, id, enc, from.account, from.device);
};

/** The body that carries `plain` to the device `to`, which has published `to.key` or sent it as a reply key. */
export async function seal(to, id, devicePair, plain) {
  const hpke = await Hpke.to(to.key, T("/envelope", to.account, to.device), AES_256_GCM);
  const fields = join(
    plain.account, plain.device, plain.head, plain.recipientHead, u64(plain.counter), u64(plain.sentAt), plain.replyKey,
    await sign(devicePair, signedBytes(to, id, hpke.enc, plain)), variable(plain.content),
  );
  const size = SIZES.find((size) => fields.length + OUTSIDE <= size);
  need(size, "the content is too long");
  const padded = join(fields, new Uint8Array(size - OUTSIDE - fields.length));
  const head = join(u8(SUITE), await keyId(to.key));
  return join(head, hpke.enc, await hpke.seal(join(head, id), padded));
}

/** Opens a sealed body with whichever of `pairs` it was sealed to, and returns its plain. */
export async function unseal(pairs, me, { id, sealed }) {
  need(sealed[0] === SUITE, "a body of an unknown suite");
  let why = new Refused("it is sealed to a key that is not here");
  for (const pair of pairs.filter((pair) => equal(pair.id, sealed.slice(1, 5)))) {
    try {
      return await unsealWith(pair, me, id, sealed);
    } catch (error) {
      why = error;
    }
  }
  throw why;
}

async function unsealWith(pair, me, id, sealed) {
  const [head, enc, ciphertext] = [sealed.slice(0, 5), sealed.slice(5, 37), sealed.slice(37)];
  const hpke = await Hpke.by(pair, enc, T("/envelope", me.account, me.device), AES_256_GCM);
  const opened = new Reader(await hpke.open(join(head, id), ciphertext));
  const plain = {
    account: opened.take(32), device: opened.take(32), head: opened.take(44), recipientHead: opened.take(44),
    counter: opened.integer(8), sentAt: opened.integer(8), replyKey: opened.take(32),
  };
  const signature = opened.take(64);
  plain.content = opened.take(opened.integer(4));
  need(opened.rest().every((byte) => byte === 0), "padding that is not zeros");
  need(await verifies(plain.device, signedBytes(me, id, enc, plain), signature), "its sender did not sign it");
  return plain;
}
