// HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, and AES-256-GCM or export-only. One message a context.

import { join, Refused, u16, u8 } from "./bytes.js";
import { agree, newX25519 } from "./keys.js";

export const AES_256_GCM = 0x0002;
export const EXPORT_ONLY = 0xffff;

const KEM = join("KEM", u16(0x0020));
const NOTHING = new Uint8Array(0);

async function hmac(key, message) {
  const hmacKey = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", hmacKey, message));
}

// WebCrypto's HKDF does both halves at once; HPKE labels each. The empty salt is a block of zeros (RFC 5869).
const extract = (salt, suite, label, ikm) => hmac(salt ?? new Uint8Array(32), join("HPKE-v1", suite, label, ikm));

/** At most 32 bytes, so that one block is enough: nothing here needs more. */
async function expand(prk, suite, label, info, length) {
  return (await hmac(prk, join(u16(length), "HPKE-v1", suite, label, info, u8(1)))).slice(0, length);
}

export class Hpke {
  /** A context that seals to somebody's public key; `enc` goes along. */
  static async to(publicKey, info, aead) {
    const ephemeral = await newX25519();
    return Hpke.#setUp(await agree(ephemeral, publicKey), ephemeral.public, publicKey, info, aead);
  }

  /** The same context at the one who holds the pair. */
  static async by(pair, enc, info, aead) {
    return Hpke.#setUp(await agree(pair, enc), enc, pair.public, info, aead);
  }

  static async #setUp(dh, enc, publicKey, info, aead) {
    const shared = await expand(await extract(null, KEM, "eae_prk", dh), KEM, "shared_secret", join(enc, publicKey), 32);
    const suite = join("HPKE", u16(0x0020), u16(0x0001), u16(aead));
    const ids = [await extract(null, suite, "psk_id_hash", NOTHING), await extract(null, suite, "info_hash", info)];
    const context = join(u8(0), ...ids);
    const secret = await extract(shared, suite, "secret", NOTHING);
    const hpke = Object.assign(new Hpke(), { suite, enc, exporter: await expand(secret, suite, "exp", context, 32) });
    if (aead === AES_256_GCM) {
      hpke.key = await expand(secret, suite, "key", context, 32);
      hpke.nonce = await expand(secret, suite, "base_nonce", context, 12);
    }
    return hpke;
  }

  async seal(aad, plain) {
    const key = await crypto.subtle.importKey("raw", this.key, "AES-GCM", false, ["encrypt"]);
    const algorithm = { name: "AES-GCM", iv: this.nonce, additionalData: aad };
    return new Uint8Array(await crypto.subtle.encrypt(algorithm, key, plain));
  }

  open(aad, ciphertext) {
    return openAesGcm(this.key, this.nonce, aad, ciphertext);
  }

  export(label, length) {
    return expand(this.exporter, this.suite, "sec", label, length);
  }
}

export async function openAesGcm(rawKey, nonce, aad, ciphertext) {
  const key = await crypto.subtle.importKey("raw", rawKey, "AES-GCM", false, ["decrypt"]);
  try {
    const algorithm = { name: "AES-GCM", iv: nonce, additionalData: aad };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, ciphertext));
  } catch {
    throw new Refused("it does not open");
  }
}
