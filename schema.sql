-- The whole of what a restante relay keeps, as of schema version 1. The file's user_version says which version it has,
-- its application_id (0x52455354, "REST") that it is ours. A change adds src/store/sqlite/upgrades/NNN.sql and edits this
-- file in the same commit; a test proves that both ways lead to the same schema.
--
-- What is not here: who sent an envelope, when it came, by which token; addresses, sessions, login times; anything of an
-- envelope after its acknowledgement.

-- One row: what the relay knows of itself. The relay key is not here but in a file beside.
CREATE TABLE relay (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- The latest time the relay was told of, Unix seconds: its clock never goes back past it.
    clock_mark INTEGER NOT NULL,
    -- When the last purge ended.
    purged_at INTEGER,
    -- Rows whose checksum did not fit, ever.
    damaged INTEGER NOT NULL
) STRICT;

-- An account and its current signed device list. Reveals that the account exists, and how many devices it has had.
CREATE TABLE accounts (
    -- Never given twice, so that what a deleted account left behind cannot become another's.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account BLOB NOT NULL UNIQUE CHECK (length(account) = 32),
    certificate BLOB NOT NULL,
    list BLOB NOT NULL,
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;

-- The devices of current lists, each with its mailbox.
CREATE TABLE devices (
    -- The mailbox's number; never given twice.
    mailbox INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES accounts (id),
    device BLOB NOT NULL UNIQUE CHECK (length(device) = 32),
    sealing_key BLOB NOT NULL CHECK (length(sealing_key) = 32),
    -- The week of the last login, Unix time divided by 604,800: all that is kept of a visit.
    seen_week INTEGER NOT NULL,
    -- No seq at or above this was ever given out. Reserved 64 ahead, so that a send need not write it.
    next_seq INTEGER NOT NULL,
    -- Envelopes that went unread since the last acknowledged gap, and the highest seq among them.
    gap_count INTEGER NOT NULL,
    gap_through INTEGER NOT NULL,
    -- Everything up to here is acknowledged, whether its row is gone yet or not.
    acked_through INTEGER NOT NULL,
    -- The published prekey, as its device signed it; all three or none.
    prekey BLOB CHECK (length(prekey) = 32),
    prekey_expires_at INTEGER,
    prekey_signature BLOB CHECK (length(prekey_signature) = 64)
) STRICT;

CREATE INDEX devices_account ON devices (account);

-- SHA-256 of the ids of devices that were removed: they are never accepted again.
CREATE TABLE removed_devices (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

-- Delivery tokens by their hash. Reveals how many an account has registered, not for whom, nor whether they are used;
-- of a `once` token that it was used.
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    -- No foreign key: what a deleted account leaves is removed in slices.
    account INTEGER NOT NULL,
    -- 1 contact, 2 once.
    kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
    -- A full hour.
    expires_at INTEGER,
    envelopes_max INTEGER,
    -- The repeat tag of the one envelope that a `once` token took.
    used_tag BLOB CHECK (length(used_tag) = 16)
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_account ON tokens (account, hash);
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Passes: hashes of codes with which people register. A used-up pass is gone; none is tied to an account.
CREATE TABLE passes (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    uses_left INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Envelopes that wait. The row's id tells the order in which they came, in all mailboxes together: the price of inserts
-- at the end of the table. Nothing else here tells when, from whom, or by which token.
CREATE TABLE envelopes (
    id INTEGER PRIMARY KEY,
    -- No foreign key: what a removed device leaves is removed in slices.
    mailbox INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- A full hour.
    expires_at INTEGER NOT NULL,
    -- HMAC-SHA256(token, id), 16 bytes: knows a repeat, and matches nothing that was seen on the wire.
    repeat_tag BLOB NOT NULL CHECK (length(repeat_tag) = 16),
    -- SHA-256 of device id, seq, expiry, tag, wrap and body, 16 bytes: finds rot, not tampering.
    checksum BLOB NOT NULL CHECK (length(checksum) = 16),
    -- HPKE's encapsulated key and the nonce.
    wrap BLOB NOT NULL CHECK (length(wrap) = 44),
    -- The sealed body, with token hash and id, encrypted to the device.
    body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX envelopes_mailbox ON envelopes (mailbox, seq);
-- Nearly free: an expiry is a full hour, so neighbours share a key.
CREATE INDEX envelopes_expiry ON envelopes (expires_at);

-- What is gone for everybody and only not yet overwritten: rows of a mailbox up to a seq (kind 1), tokens of an account
-- (kind 2). Removed in slices by the writer, and taken up again after a crash.
CREATE TABLE leavings (
    kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
    id INTEGER NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
