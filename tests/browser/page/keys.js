// Keys (§3): Ed25519 verified strictly, X25519. Private halves are made by the browser and cannot be exported from it; a
// page that lasts keeps them in IndexedDB, which takes a `CryptoKey` as it is.

import { need } from "./bytes.js";

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;

// Points of small order by the one coordinate that is written: y of 1, 2, 4 and 8, whatever the sign of x; u likewise.
const Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_Y = [1n, P - 1n, 0n, Y8, P - Y8];
const SMALL_U = [
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
];

const little = (bytes) => BigInt("0x" + bytes.toReversed().toHex());

/** Whether `n` is a square modulo P, by Euler. */
function isSquare(n) {
  let [power, square] = [1n, n % P];
  for (let e = (P - 1n) / 2n; e > 0n; e >>= 1n) {
    if (e & 1n) power = (power * square) % P;
    square = (square * square) % P;
  }
  return power === 1n;
}

/** Whether these bytes are the canonical encoding of a point of the curve, and it is not of small order. */
export function goodEd25519(bytes) {
  const y = BigInt.asUintN(255, little(bytes));
  // x² is (y² − 1) / (D y² + 1); a quotient is a square where the product is.
  return bytes.length === 32 && y < P && !SMALL_Y.includes(y) && isSquare((P + y * y - 1n) * (D * y * y + 1n));
}

export function goodX25519(bytes) {
  const u = little(bytes);
  return bytes.length === 32 && u < P && !SMALL_U.includes(u);
}

/** A new pair: `key` is the private half, `public` the bytes of the other. */
async function pair(name, uses) {
  const { privateKey, publicKey } = await crypto.subtle.generateKey({ name }, false, uses);
  return { key: privateKey, public: new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)) };
}

export const newEd25519 = () => pair("Ed25519", ["sign", "verify"]);
export const newX25519 = () => pair("X25519", ["deriveBits"]);

export async function sign({ key }, message) {
  return new Uint8Array(await crypto.subtle.sign("Ed25519", key, message));
}

/** Strict verification. Browsers use the cofactorless equation; the rest is looked at here, because not all of them do. */
export async function verifies(publicKey, message, signature) {
  const good = signature.length === 64 && goodEd25519(publicKey) && goodEd25519(signature.slice(0, 32));
  if (!good || little(signature.slice(32)) >= L) return false;
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  return crypto.subtle.verify("Ed25519", key, signature, message);
}

/** The shared bytes of a pair and somebody's public key. */
export async function agree({ key }, publicKey) {
  need(goodX25519(publicKey), "a weak X25519 key");
  const theirs = await crypto.subtle.importKey("raw", publicKey, "X25519", false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "X25519", public: theirs }, key, 256));
}
