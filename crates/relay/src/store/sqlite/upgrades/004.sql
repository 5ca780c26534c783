-- Version 4: knock tokens with uses, knocks among the envelopes, handles.

-- A constraint can't be changed: the table is made again. The old one steps aside, since a table that is renamed into its
-- place would be written down with its name in quotes.
ALTER TABLE tokens RENAME TO tokens_3;

CREATE TABLE tokens (
  hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
  account INTEGER NOT NULL REFERENCES accounts (id),
  kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
  expires_at INTEGER,
  envelopes_max INTEGER,
  used_tag BLOB CHECK (length(used_tag) = 16),
  uses INTEGER,
  uses_left INTEGER CHECK (uses_left BETWEEN 0 AND uses)
) STRICT, WITHOUT ROWID;

INSERT INTO tokens (hash, account, kind, expires_at, envelopes_max, used_tag)
SELECT hash, account, kind, expires_at, envelopes_max, used_tag
FROM tokens_3;

DROP TABLE tokens_3;

CREATE INDEX tokens_account ON tokens (account, hash, expires_at);
CREATE INDEX tokens_expires_at ON tokens (expires_at) WHERE expires_at IS NOT NULL;

ALTER TABLE envelopes ADD COLUMN knock INTEGER NOT NULL DEFAULT 0;

CREATE TABLE handles (
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  account INTEGER NOT NULL REFERENCES accounts (id),
  record BLOB CHECK (length(record) = 1024),
  held_until INTEGER,
  CHECK ((record IS NULL) = (held_until IS NOT NULL))
) STRICT;

CREATE INDEX handles_account ON handles (account);
CREATE INDEX handles_held_until ON handles (held_until) WHERE held_until IS NOT NULL;
