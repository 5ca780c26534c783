-- Version 1: from an empty database. See schema.sql for what everything is for.

CREATE TABLE relay (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  clock_mark INTEGER NOT NULL DEFAULT 0,
  purged_at INTEGER,
  damaged INTEGER NOT NULL DEFAULT 0,
  envelopes INTEGER NOT NULL DEFAULT 0,
  envelope_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO relay (id) VALUES (1);

CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  account BLOB UNIQUE CHECK (length(account) = 32),
  epoch INTEGER NOT NULL,
  version INTEGER NOT NULL,
  list_key_certificate BLOB NOT NULL,
  list BLOB NOT NULL,
  list_signature BLOB NOT NULL
) STRICT;

CREATE INDEX accounts_deleted ON accounts (id) WHERE account IS NULL;

CREATE TABLE mailboxes (
  id INTEGER PRIMARY KEY,
  next_seq INTEGER NOT NULL DEFAULT 1,
  gap_count INTEGER NOT NULL DEFAULT 0,
  gap_through INTEGER NOT NULL DEFAULT 0,
  gone_through INTEGER
) STRICT;

CREATE INDEX mailboxes_gone ON mailboxes (id) WHERE gone_through IS NOT NULL;

CREATE TABLE devices (
  mailbox INTEGER PRIMARY KEY REFERENCES mailboxes (id),
  account INTEGER NOT NULL REFERENCES accounts (id),
  device BLOB NOT NULL UNIQUE CHECK (length(device) = 32),
  sealing_key BLOB NOT NULL CHECK (length(sealing_key) = 32),
  seen_week INTEGER NOT NULL,
  prekey BLOB CHECK (length(prekey) = 32),
  prekey_expires_at INTEGER,
  prekey_signature BLOB CHECK (length(prekey_signature) = 64)
) STRICT;

CREATE INDEX devices_account ON devices (account);
CREATE INDEX devices_seen_week ON devices (seen_week);

CREATE TABLE removed_devices (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  account INTEGER NOT NULL REFERENCES accounts (id),
  kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
  expires_at INTEGER,
  envelopes_max INTEGER,
  used_tag BLOB CHECK (length(used_tag) = 16)
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_account ON tokens (account, hash, expires_at);
CREATE INDEX tokens_expires_at ON tokens (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE envelopes (
  id INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL REFERENCES mailboxes (id),
  seq INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  checksum BLOB NOT NULL,
  wrap BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX envelopes_mailbox_seq ON envelopes (mailbox, seq);
CREATE INDEX envelopes_expires_at ON envelopes (expires_at);

CREATE TABLE passes (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  uses_left INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
