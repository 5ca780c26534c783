-- Version 3: slots.

CREATE TABLE slots (
  id INTEGER PRIMARY KEY,
  account INTEGER NOT NULL REFERENCES accounts (id),
  slot BLOB NOT NULL CHECK (length(slot) = 32),
  version INTEGER NOT NULL,
  content BLOB NOT NULL CHECK (length(content) IN (1024, 4096, 16384, 65536))
) STRICT;

CREATE UNIQUE INDEX slots_account_slot ON slots (account, slot);
