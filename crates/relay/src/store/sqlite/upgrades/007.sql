-- Version 7: two tables in the place of the index over mailbox and seq.

CREATE TABLE filed (
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  envelope INTEGER NOT NULL,
  PRIMARY KEY (mailbox, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE fresh (
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  envelope INTEGER NOT NULL,
  PRIMARY KEY (mailbox, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO filed (mailbox, seq, envelope)
SELECT mailbox, seq, id
FROM envelopes
ORDER BY mailbox, seq;

-- A mailbox cannot be looked for in envelopes any more, so the reference to it has to go; see 004 for the way.
ALTER TABLE envelopes RENAME TO envelopes_6;

CREATE TABLE envelopes (
  id INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  checksum BLOB NOT NULL,
  wrap BLOB NOT NULL,
  body BLOB NOT NULL,
  knock INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO envelopes (id, mailbox, seq, expires_at, repeat_tag, checksum, wrap, body, knock)
SELECT id, mailbox, seq, expires_at, repeat_tag, checksum, wrap, body, knock
FROM envelopes_6;

DROP TABLE envelopes_6;

CREATE INDEX envelopes_expires_at ON envelopes (expires_at);
