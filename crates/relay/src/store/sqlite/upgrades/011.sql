-- Version 11: `fresh` in the order of arrival; by mailbox and seq it is in the writer's memory.

ALTER TABLE relay ADD COLUMN filing_through INTEGER;

INSERT OR REPLACE INTO filed (mailbox, seq, envelope, repeat_tag, bytes, knock)
SELECT mailbox, seq, envelope, repeat_tag, bytes, knock
FROM fresh
ORDER BY mailbox, seq;

DROP TABLE fresh;

CREATE TABLE fresh (
  envelope INTEGER PRIMARY KEY,
  mailbox INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  repeat_tag BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  knock INTEGER NOT NULL
) STRICT;
