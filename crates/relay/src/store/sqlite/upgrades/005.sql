-- Version 5: the second factor.

CREATE TABLE factors (
  account INTEGER PRIMARY KEY REFERENCES accounts (id),
  secret BLOB NOT NULL CHECK (length(secret) = 48),
  step INTEGER NOT NULL
) STRICT;

CREATE TABLE recovery_codes (
  account INTEGER NOT NULL REFERENCES factors (account),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;
