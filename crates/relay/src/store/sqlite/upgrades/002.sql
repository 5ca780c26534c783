-- Version 2: the operator's notice.

CREATE TABLE notice (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  set_at INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
