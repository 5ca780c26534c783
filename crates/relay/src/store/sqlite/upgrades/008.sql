-- Version 8: what the writer has to know of an envelope stands with its place, and no longer in its row; half of a checksum is
-- enough; a purge says how far it goes.

ALTER TABLE relay ADD COLUMN purge_cutoff INTEGER;

ALTER TABLE filed RENAME TO filed_7;
ALTER TABLE fresh RENAME TO fresh_7;
ALTER TABLE envelopes RENAME TO envelopes_7;

CREATE TABLE envelopes (
  id INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  checksum BLOB NOT NULL,
  wrap BLOB NOT NULL,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE filed (
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  envelope INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  knock INTEGER NOT NULL,
  PRIMARY KEY (mailbox, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE fresh (
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  envelope INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  knock INTEGER NOT NULL,
  PRIMARY KEY (mailbox, seq)
) STRICT, WITHOUT ROWID;

-- A place whose envelope is missing stays one: who reads it is told of the loss.
INSERT INTO filed (mailbox, seq, envelope, repeat_tag, bytes, knock)
SELECT places.mailbox, places.seq, envelope, coalesce(repeat_tag, zeroblob(16)), coalesce(length(body), 0), coalesce(knock, 0)
FROM (SELECT * FROM filed_7 UNION ALL SELECT * FROM fresh_7) AS places
LEFT JOIN envelopes_7 ON envelopes_7.id = envelope AND envelopes_7.mailbox = places.mailbox
ORDER BY places.mailbox, places.seq;

INSERT INTO envelopes (id, mailbox, seq, expires_at, checksum, wrap, body)
SELECT id, mailbox, seq, expires_at, substr(checksum, 1, 8), wrap, body
FROM envelopes_7;

DROP TABLE fresh_7;
DROP TABLE filed_7;
DROP TABLE envelopes_7;

CREATE INDEX envelopes_expires_at ON envelopes (expires_at);
