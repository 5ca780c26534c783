-- Version 10: going over the pages after a kill (src/store/sqlite/residue.rs) goes on where a second stop left it.

ALTER TABLE relay ADD COLUMN uncleared_from INTEGER;
