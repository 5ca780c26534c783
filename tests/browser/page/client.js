// A client in a web page, written from docs/protocol.md: one account with one device. An example, and what the test runs.
//
// It lives as long as its page. One for people keeps its state in IndexedDB before it acknowledges, shows the account key as
// 24 words before it is forgotten, logs in again in time (§9), renews prekeys and deletes old keys (§12), keeps a pool of
// tokens and retries (§12.3).

import { b64, equal, need, now, random, Refused, sha256, T, text, tokenHash, u64, unb64, utf8 } from "./bytes.js";
import { keyId, openWrap, seal, unseal } from "./envelopes.js";
import { goodX25519, newEd25519, newX25519, sign, verifies } from "./keys.js";
import { firstList, newer, readList } from "./lists.js";

const DAY = 86_400;
const WINDOW = 1024;
const LIVE_SECS = 60;
const NO_KEY = new Uint8Array(32);

const prekeyTranscript = (account, device, key, expiresAt) => T("/prekey", account, device, key, u64(expiresAt));

export class Client {
  /** A new account at a relay: registered, logged in, with a prekey. */
  static async create(relay) {
    const [accountKey, listKey, device, sealing] = await Promise.all([newEd25519(), newEd25519(), newEd25519(), newX25519()]);
    const signedList = await firstList(accountKey, listKey, device, sealing);
    const client = Object.assign(new Client(), {
      relay, device, sealing, signedList,
      account: accountKey.public,
      list: await readList(signedList),
      pairs: [], // prekeys and reply keys whose private halves are here
      minted: new Map(), // token hash: the account that it was minted for
      invites: new Map(), // hash of a once token: hash of the contact token beside it
      contacts: new Map(), // account: contact
    });
    const proof = await relay.proof("/register", device, await sha256(unb64(signedList.list)));
    await relay.call("POST", "/accounts", { ...proof, device_list: signedList });
    await client.login();
    await client.publishPrekey();
    return client;
  }

  async login() {
    this.session = (await this.relay.call("POST", "/auth/login", await this.relay.proof("/login", this.device))).session;
  }

  call(method, path, body) {
    return this.relay.call(method, path, body, this.session);
  }

  async newPair() {
    const pair = await newX25519();
    this.pairs.push({ ...pair, id: await keyId(pair.public) });
    return pair.public;
  }

  async publishPrekey() {
    const [key, expiresAt] = [await this.newPair(), (Math.floor(now() / DAY) + 14) * DAY];
    const signature = await sign(this.device, prekeyTranscript(this.account, this.device.public, key, expiresAt));
    await this.call("PUT", "/keys", { prekey: b64(key), expires_at: expiresAt, signature: b64(signature) });
  }

  // Tokens and contacts (§6, §12.2)

  /** A new token, for a contact or for whoever comes first; the relay gets its hash. */
  async mint(kind, account, expires = {}) {
    const token = random(32);
    const hash = b64(await tokenHash(token));
    if (account) this.minted.set(hash, b64(account));
    await this.call("POST", "/tokens", { hash, kind, ...expires });
    return { token, hash };
  }

  /** A link by which one person can become a contact within a week. */
  async invite() {
    const expires = { expires_at: now() + 7 * DAY };
    const [once, contact] = [await this.mint("once", null, expires), await this.mint("contact", null, expires)];
    this.invites.set(once.hash, contact.hash);
    const keys = { relay: this.relay.key, account: this.account, once: once.token, contact: contact.token };
    const fields = Object.entries(keys).map(([name, bytes]) => `&${name}=${b64(bytes)}`);
    return `restante:1?origin=${encodeURIComponent(this.relay.origin)}${fields.join("")}`;
  }

  /** Remembers a contact, by the token that reaches it and its list. */
  know(account, token, list) {
    const contact = { account, token, list, replyKeys: new Map(), sent: new Map(), seen: new Map() };
    this.contacts.set(b64(account), contact);
    return contact;
  }

  /** The prekeys of the account that minted a token, by device; and its list. All of it verified (§10). */
  async lookUp(token, account) {
    const reply = await this.relay.call("POST", "/keys", { token: b64(token) });
    const list = await readList(reply.device_list);
    need(equal(list.account, account), "another account's list");
    const prekeys = new Map();
    for (const row of reply.prekeys) {
      const [device, key] = [unb64(row.device, 32), unb64(row.prekey, 32)];
      const transcript = prekeyTranscript(account, device, key, row.expires_at);
      need(lists(list, device) && goodX25519(key), "not a prekey of a listed device");
      need(await verifies(device, transcript, unb64(row.signature, 64)), "a prekey that its device did not sign");
      if (row.expires_at > now()) prekeys.set(row.device, key);
    }
    return { list, prekeys };
  }

  // Sending (§7, §12)

  /** Sends to every device of a contact; to none but those that listen now when it is live. */
  async send(contact, content, { live = false } = {}) {
    const id = random(16);
    for (let first = true; ; first = false) {
      try {
        return await this.relay.call("POST", "/envelopes", await this.#request(contact, content, id, live));
      } catch (error) {
        if (!first || error.code !== "device_list_changed") throw error;
        contact.list = newer(contact.list, await readList(error.document.device_list));
      }
    }
  }

  async #request(contact, content, id, live) {
    const { account, token, list } = contact;
    const [sealed, raw] = [[], utf8(JSON.stringify(content))];
    let prekeys;
    for (const device of list.devices) {
      const name = b64(device);
      const reply = contact.replyKeys.get(name);
      const key = reply?.goodUntil > now() ? reply.key : (prekeys ??= (await this.lookUp(token, account)).prekeys).get(name);
      need(key, "a device of the contact has no prekey");
      if (!live) contact.sent.set(name, (contact.sent.get(name) ?? 0) + 1);
      const plain = {
        account: this.account, device: this.device.public, head: this.list.head, recipientHead: list.head,
        counter: live ? 0 : contact.sent.get(name), sentAt: now(),
        replyKey: live ? NO_KEY : await this.newPair(), content: raw,
      };
      sealed.push({ device: name, body: b64(await seal({ account, device, key }, id, this.device, plain)) });
    }
    const { epoch, version } = list;
    return { token: b64(token), id: b64(id), list: { epoch, version }, sealed, ...(live && { live }) };
  }

  // Receiving (§8, §9, §12)

  /** The device's stream: open, and logged in. */
  async stream() {
    const stream = await this.relay.stream();
    stream.say({ type: "auth", session: this.session });
    need((await stream.next())?.type === "ready", "the stream did not get ready");
    return stream;
  }

  /**
   * What comes by a stream: messages opened, all other frames as they are. A message is acknowledged when the next event is
   * asked for: whoever asks has put it where it is safe.
   */
  async *events(stream) {
    for (let frame; (frame = await stream.next()); ) {
      if (frame.type === "envelope" || frame.type === "live") yield* this.#opened(frame, frame.type === "live");
      else yield frame;
      if (frame.type === "envelope") stream.say({ type: "ack", through: frame.seq });
    }
  }

  /** The same by one poll, for where streams do not pass. */
  async *poll() {
    for (const row of (await this.call("GET", "/envelopes")).envelopes) {
      yield* this.#opened(row, false);
      await this.call("POST", "/envelopes/ack", { through: row.seq });
    }
  }

  /** One message, or word of what was refused, or nothing where it came before. */
  async *#opened(row, live) {
    try {
      const wrapped = { expires_at: row.expires_at, wrap: unb64(row.wrap, 44), body: unb64(row.body) };
      const envelope = await openWrap(this.sealing, this.device.public, wrapped);
      const plain = await unseal(this.pairs, { account: this.account, device: this.device.public }, envelope);
      const content = contentOf(plain);
      const isLive = envelope.kind === "contact" && plain.counter === 0 && Math.abs(now() - plain.sentAt) <= LIVE_SECS;
      need(!live || isLive, "it is not live");
      const contact = await (envelope.kind === "once" ? this.#greeted : this.#known).call(this, envelope, plain, content);
      if (!live && !counted(contact, plain)) return;
      if (!live) await this.#heed(contact, envelope, content);
      yield { type: "message", live, contact, content };
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      yield { type: "refused", why: error.message };
    }
  }

  /** The contact that a message is from, by the token that was minted for it. */
  async #known({ tokenHash }, plain, content) {
    need(this.minted.get(b64(tokenHash)) === b64(plain.account), "it did not come by its sender's token");
    const contact = this.contacts.get(b64(plain.account));
    if (content.type === "list") contact.list = newer(contact.list, await readList(content.device_list));
    need(lists(contact.list, plain.device), "it is from a device that is not listed");
    return contact;
  }

  /** The contact that somebody becomes who says hello by an invite's once token (§12.1). */
  async #greeted({ tokenHash }, plain, content) {
    need(this.invites.has(b64(tokenHash)) && content.type === "hello", "not a hello by an invite");
    const list = await readList(content.device_list);
    need(equal(list.account, plain.account) && lists(list, plain.device), "a hello with a list that is not its sender's");
    need(content.relay_key === b64(this.relay.key), "a hello from another relay");
    return this.know(plain.account, unb64(content.token, 32), list);
  }

  /** What a message asks of the client itself. */
  async #heed(contact, { kind, tokenHash }, content) {
    const hash = b64(tokenHash);
    if (kind === "once") return this.#welcome(contact, hash);
    if (content.type === "welcome") contact.token = unb64(content.token, 32);
    if (contact.invite && contact.invite !== hash) await this.#retireInvite(contact);
  }

  async #welcome(contact, hash) {
    contact.invite = this.invites.get(hash);
    this.minted.set(contact.invite, b64(contact.account));
    const { token } = await this.mint("contact", contact.account);
    await this.send(contact, { type: "welcome", token: b64(token) });
    this.invites.delete(hash);
  }

  /** The contact writes by a token of its own: the invite's is of no use any more. */
  async #retireInvite(contact) {
    await this.call("POST", "/tokens/revoke", { hashes: [contact.invite] });
    contact.invite = undefined;
  }
}

const lists = (list, device) => list.devices.some((listed) => equal(listed, device));

function contentOf(plain) {
  let content;
  try {
    content = JSON.parse(text(plain.content));
  } catch {
    throw new Refused("its content is not JSON");
  }
  need(typeof content?.type === "string", "its content has no type");
  return content;
}

/** Whether a message is new. The newest one's reply key is the one to seal to, for a week. */
function counted(contact, plain) {
  const name = b64(plain.device);
  const seen = contact.seen.get(name) ?? new Set();
  const highest = Math.max(0, ...seen);
  if (plain.counter === 0 || seen.has(plain.counter) || plain.counter <= highest - WINDOW) return false;
  if (plain.counter > highest && goodX25519(plain.replyKey)) {
    contact.replyKeys.set(name, { key: plain.replyKey, goodUntil: plain.sentAt + 7 * DAY });
  }
  contact.seen.set(name, new Set([...seen, plain.counter].filter((n) => n > highest - WINDOW)));
  return true;
}
