-- The whole schema of a relay's database, as of the newest upgrade. A new database is made of this file; an older one
-- becomes the same by crates/relay/src/store/sqlite/upgrades/NNN.sql, and a test holds both ways to one result.
--
-- What is not here matters as much: no arrival time, no sender, no token beside an envelope, no address, no session, no
-- login time, no row for anything acknowledged. Deleted content is overwritten (secure_delete), so a row that is gone is
-- gone from the file once the log is truncated.
--
-- Times are Unix seconds. Integers named by an id (accounts.id, mailboxes.id) are local to this file and never leave it.

-- One row of what the relay remembers of itself.
CREATE TABLE relay (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  -- The latest time the relay was told of; its clock never goes back past it. Reveals when it last ran.
  clock_mark INTEGER NOT NULL DEFAULT 0,
  -- When the last purge ended, for stats.
  purged_at INTEGER,
  -- Rows ever found damaged.
  damaged INTEGER NOT NULL DEFAULT 0,
  -- What expires up to here is just being removed: what has lost its place already is no damage. NULL but for moments.
  purge_cutoff INTEGER,
  -- The first page of those still to be gone over for what SQLite left of moved rows. NULL but after a kill in a certain moment.
  uncleared_from INTEGER,
  -- Of the places in `fresh` those of envelopes up to this one are being filed. NULL when none are.
  filing_through INTEGER
) STRICT;

INSERT INTO relay (id) VALUES (1);

-- An account and its current device list, signed, as it travels. Reveals who has an account, with which devices.
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  -- The account id; NULL once the account is deleted and only the removal of its tokens and slots is left to do.
  account BLOB UNIQUE CHECK (length(account) = 32),
  -- Epoch and version stand in the list too; here, so that a send compares two numbers and parses nothing.
  epoch INTEGER NOT NULL,
  version INTEGER NOT NULL,
  list_key_certificate BLOB NOT NULL,
  list BLOB NOT NULL,
  list_signature BLOB NOT NULL,
  -- 1 while the operator keeps its devices out and its mailboxes shut; nothing of it is deleted by that.
  suspended INTEGER NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1))
) STRICT;

-- Deleted accounts whose tokens or slots are still being removed; empty but for moments.
CREATE INDEX accounts_deleted ON accounts (id) WHERE account IS NULL;

-- One device's queue. It outlives its device for as long as the removal of its envelopes takes.
CREATE TABLE mailboxes (
  id INTEGER PRIMARY KEY,
  -- Above every seq that was given and is gone; the next one is this, or one more than the highest that waits. Goes up by 64
  -- at a time and more, and only when something is removed: sends leave this row alone. Why seqs may skip after a restart.
  next_seq INTEGER NOT NULL DEFAULT 1,
  -- What expired unread or was damaged since the last acknowledged gap: how many, and the highest of them.
  gap_count INTEGER NOT NULL DEFAULT 0,
  gap_through INTEGER NOT NULL DEFAULT 0,
  -- Envelopes up to this seq are acknowledged (or their device removed) and no longer there for anybody; set only while
  -- the rows are being removed in slices.
  gone_through INTEGER
) STRICT;

-- Mailboxes with rows still to remove; empty but for moments.
CREATE INDEX mailboxes_gone ON mailboxes (id) WHERE gone_through IS NOT NULL;

-- A device of an account's current list. Reveals the week of its last login and nothing finer.
CREATE TABLE devices (
  mailbox INTEGER PRIMARY KEY REFERENCES mailboxes (id),
  account INTEGER NOT NULL REFERENCES accounts (id),
  device BLOB NOT NULL UNIQUE CHECK (length(device) = 32),
  -- What its envelopes are wrapped to; stands in the list too.
  sealing_key BLOB NOT NULL CHECK (length(sealing_key) = 32),
  -- floor(time / 604800): absent devices are answered "full", absent accounts deleted.
  seen_week INTEGER NOT NULL,
  -- The published prekey, public and signed by the device; all three or none.
  prekey BLOB CHECK (length(prekey) = 32),
  prekey_expires_at INTEGER,
  prekey_signature BLOB CHECK (length(prekey_signature) = 64)
) STRICT;

CREATE INDEX devices_account ON devices (account);
-- For the yearly removal of accounts that nobody visits.
CREATE INDEX devices_seen_week ON devices (seen_week);

-- Ids that no list may name again, as SHA-256: who does not have the id learns nothing, and who has it learns that it was
-- here once. Kept for ever, 32 bytes a removed device.
CREATE TABLE removed_devices (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

-- An account's second factor, where it is on. Reveals that it is, and within half a minute when it was last used.
CREATE TABLE factors (
  account INTEGER PRIMARY KEY REFERENCES accounts (id),
  -- The TOTP secret, AES-256-GCM under the key in totp.key: from this file alone no code can be made.
  secret BLOB NOT NULL CHECK (length(secret) = 48),
  -- The highest step whose code was used, so that none is good twice: Unix time divided by 30.
  step INTEGER NOT NULL
) STRICT;

-- What is left of its recovery codes, hashed with the account's id; 80 random bits each, so that a hash is nothing to guess at.
CREATE TABLE recovery_codes (
  account INTEGER NOT NULL REFERENCES factors (account),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- Delivery tokens, as the hash that their owner registered. Reveals how many contacts (and spare tokens) an account has,
-- not whose they are. No envelope points here.
CREATE TABLE tokens (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  account INTEGER NOT NULL REFERENCES accounts (id),
  -- 1 contact, 2 once, 3 knock.
  kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
  expires_at INTEGER,
  -- How many of its envelopes may wait in one mailbox, where its owner lowered that.
  envelopes_max INTEGER,
  -- By it a once token knows the one id that it was used for, so that a retry is a repeat and another id is refused until it
  -- expires. HMAC(token, id) as an envelope's repeat tag, but for another purpose: no value stands in both tables.
  used_tag BLOB CHECK (length(used_tag) = 16),
  -- How many envelopes a knock token was registered for, and how many it still takes; both or none.
  uses INTEGER,
  uses_left INTEGER CHECK (uses_left BETWEEN 0 AND uses)
) STRICT, WITHOUT ROWID;

-- Pages of an account's tokens by hash; expires_at rides along so that counting the live ones reads no row.
CREATE INDEX tokens_account ON tokens (account, hash, expires_at);
CREATE INDEX tokens_expires_at ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- What waits. Only what delivering and forgetting need; the writer keeps counts, tags and shares in memory.
-- A rowid table: keyed by (mailbox, seq) it was three times as large and slower. The rowid does show a thief of the disk
-- the order of arrival across mailboxes; keying by mailbox * 2^32 + seq would not, at half the insert rate, and is the
-- question of a later measurement. Of 1 KiB bodies seven share a page, as long as nothing else stands in a row.
CREATE TABLE envelopes (
  id INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  -- A full hour: tells no arrival time.
  expires_at INTEGER NOT NULL,
  -- SHA-256 over device id, seq, expires_at, repeat_tag, wrap and body, cut to 8: finds rot, not tampering.
  checksum BLOB NOT NULL,
  wrap BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- How many of 64 neighbours expire in which hour, and the bytes of their bodies, but for those with a place in `fresh`: in the place
-- of an index, and of totals that each commit would write (crates/relay/src/store/sqlite/expiring.rs).
CREATE TABLE expiring (
  expires_at INTEGER NOT NULL,
  -- floor(envelopes.id / 64).
  block INTEGER NOT NULL,
  envelopes INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (expires_at, block)
) STRICT, WITHOUT ROWID;

-- Where the envelopes of each mailbox lie, by seq, with all that the writer has to know of them; with the next table in the
-- place of an index (crates/relay/src/store/sqlite/places.rs).
CREATE TABLE filed (
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  envelope INTEGER NOT NULL,
  -- HMAC(token, id), 16 bytes: by it the same send is known again while this waits, across restarts too. The relay holds
  -- only the token's hash, so from disk the tag leads to no token.
  repeat_tag BLOB NOT NULL,
  -- Of its body.
  bytes INTEGER NOT NULL,
  -- 1 for what came by a knock token. Those have a room of their own, whose bound must hold across restarts, and no token
  -- stands here to tell them by. Reveals of an envelope that it is a stranger's first word, not whose.
  knock INTEGER NOT NULL,
  PRIMARY KEY (mailbox, seq)
) STRICT, WITHOUT ROWID;

-- The same of what came lately, in the order of arrival, as envelopes are. Many are filed together: until all of them are, a place
-- may stand in both tables.
CREATE TABLE fresh (
  envelope INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  knock INTEGER NOT NULL,
  -- As in the envelope's row.
  expires_at INTEGER NOT NULL
) STRICT;

-- Names under which accounts can be found: a hash that only who guesses the name can make, and a record encrypted under the
-- other half of the same derivation. Reveals which accounts can be found by a name. Short names can be guessed, at 64 MiB and
-- some 0.1 s a guess.
CREATE TABLE handles (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  account INTEGER NOT NULL REFERENCES accounts (id),
  -- Gone as soon as the handle is given up.
  record BLOB CHECK (length(record) = 1024),
  -- A handle given up is kept for who had it until this full hour.
  held_until INTEGER,
  CHECK ((record IS NULL) = (held_until IS NOT NULL))
) STRICT;

CREATE INDEX handles_account ON handles (account);
CREATE INDEX handles_held_until ON handles (held_until) WHERE held_until IS NOT NULL;

-- Codes that let somebody register, hashed; who used which is not kept.
CREATE TABLE passes (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  uses_left INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the operator has to say to everybody: one row, or none. Anybody reads it in /v1/info; signed when it is read, so
-- that no signature has to be kept.
CREATE TABLE notice (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  set_at INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;

-- An account's small records of its own (its devices keep the contact list in one), sealed under keys that no relay has.
-- A rowid table: contents of up to 64 KiB do not belong into an index.
CREATE TABLE slots (
  id INTEGER PRIMARY KEY,
  account INTEGER NOT NULL REFERENCES accounts (id),
  -- Derived from a key of the account's devices: says nothing, and no other account's is like it.
  slot BLOB NOT NULL CHECK (length(slot) = 32),
  -- Goes up with every change. Reveals how often the account's devices changed it, though not when.
  version INTEGER NOT NULL,
  -- Ciphertext of one of four sizes; the size reveals roughly how much is in it. What it replaces is overwritten.
  content BLOB NOT NULL CHECK (length(content) IN (1024, 4096, 16384, 65536))
) STRICT;

CREATE UNIQUE INDEX slots_account_slot ON slots (account, slot);
