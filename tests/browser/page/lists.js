// Device lists (§5).

import { b64, compare, equal, join, need, Reader, sha256, T, u32, u64, u8, unb64 } from "./bytes.js";
import { goodEd25519, goodX25519, sign, verifies } from "./keys.js";

const DEVICES_MAX = 10;
const CERTIFICATE_HEAD = T("/list-key");
const LIST_HEAD = T("/list");

const deviceTranscript = (account, device, sealingKey, suites) => T("/device", account, device, sealingKey, u8(suites));

/** The first signed list of an account with one device: epoch 1, version 1. */
export async function firstList(accountKey, listKey, deviceKey, sealingKey) {
  const [account, device, sealing] = [accountKey, deviceKey, sealingKey].map((pair) => pair.public);
  const certified = T("/list-key", account, u32(1), listKey.public);
  const signature = await sign(deviceKey, deviceTranscript(account, device, sealing, 1));
  const entry = join(device, sealing, u8(1), signature);
  const list = T("/list", account, u32(1), u64(1), new Uint8Array(32), u8(1), entry);
  return {
    list_key_certificate: b64(join(certified, await sign(accountKey, certified))),
    list: b64(list),
    signature: b64(await sign(listKey, list)),
  };
}

/** What a signed list says, once everything in it has been looked at: form, keys, signatures. */
export async function readList(signed) {
  const certificate = unb64(signed?.list_key_certificate, 154);
  const [list, listSignature] = [unb64(signed.list), unb64(signed.signature, 64)];

  const c = new Reader(certificate);
  need(equal(c.take(CERTIFICATE_HEAD.length), CERTIFICATE_HEAD), "not a list key certificate");
  const [account, epoch, listKey] = [c.take(32), c.integer(4), c.take(32)];

  const l = new Reader(list);
  need(equal(l.take(LIST_HEAD.length), LIST_HEAD), "not a device list");
  need(equal(l.take(32), account) && l.integer(4) === epoch, "a certificate for another list");
  const version = l.integer(8);
  l.take(32); // the list before it
  const count = l.integer(1);
  need(version >= 1 && count >= 1 && count <= DEVICES_MAX, "a number out of range");
  const entries = Array.from({ length: count }, () => {
    return { device: l.take(32), sealingKey: l.take(32), suites: l.integer(1), signature: l.take(64) };
  });
  need(l.rest().length === 0, "a device list of the wrong length");
  need(entries.every((e, i) => i === 0 || compare(entries[i - 1].device, e.device) < 0), "devices out of order");
  need(entries.every((e) => e.suites === 1 || e.suites === 3), "a device without suite 1, or with an unknown one");

  need([account, listKey, ...entries.map((e) => e.device)].every(goodEd25519), "a weak key");
  need(entries.every((e) => goodX25519(e.sealingKey)), "a weak sealing key");

  need(await verifies(account, certificate.slice(0, 90), certificate.slice(90)), "the account did not sign the list key");
  need(await verifies(listKey, list, listSignature), "the list key did not sign the list");
  for (const e of entries) {
    const transcript = deviceTranscript(account, e.device, e.sealingKey, e.suites);
    need(await verifies(e.device, transcript, e.signature), "a device did not sign its entry");
  }
  const hash = await sha256(list);
  return { account, epoch, version, hash, devices: entries.map((e) => e.device), head: join(u32(epoch), u64(version), hash) };
}

/** The newer of a list known and one that came; never an older one, nor a fork. */
export function newer(known, came) {
  need(equal(known.account, came.account), "another account's list");
  const ahead = came.epoch - known.epoch || came.version - known.version;
  need(ahead >= 0, "a list older than the one known");
  need(ahead > 0 || equal(known.hash, came.hash), "a forked list");
  return came;
}
