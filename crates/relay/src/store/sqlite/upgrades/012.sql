-- Version 12: hours of expiry are counted for 64 neighbours together, in the place of an index with a row for each; and totals are the
-- sum of that, in the place of two counters that each commit wrote.

CREATE TABLE expiring (
  expires_at INTEGER NOT NULL,
  block INTEGER NOT NULL,
  envelopes INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (expires_at, block)
) STRICT, WITHOUT ROWID;

-- One by one, since to group millions of rows SQLite would hold them in memory.
INSERT INTO expiring (expires_at, block, envelopes, bytes)
SELECT expires_at, id / 64, 1, coalesce(length(body), 0)
FROM envelopes
WHERE NOT EXISTS (SELECT 1 FROM fresh WHERE fresh.envelope = envelopes.id)
ORDER BY id
ON CONFLICT DO UPDATE SET envelopes = envelopes + 1, bytes = bytes + excluded.bytes;

DROP INDEX envelopes_expires_at;

ALTER TABLE fresh RENAME TO fresh_to_11;

CREATE TABLE fresh (
  envelope INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  knock INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT;

INSERT INTO fresh (envelope, mailbox, seq, repeat_tag, bytes, knock, expires_at)
SELECT envelope, fresh.mailbox, fresh.seq, repeat_tag, bytes, knock, coalesce(expires_at, 0)
FROM fresh_to_11 AS fresh
LEFT JOIN envelopes ON envelopes.id = fresh.envelope
ORDER BY envelope;

DROP TABLE fresh_to_11;

ALTER TABLE relay DROP COLUMN envelopes;
ALTER TABLE relay DROP COLUMN envelope_bytes;
