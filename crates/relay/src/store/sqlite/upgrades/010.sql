-- Version 10: going over the pages after a kill (crates/relay/src/store/sqlite/residue.rs) goes on where a second stop left
-- it. What that cost version 9 the program clears before this step, as it did before version 9.

ALTER TABLE relay ADD COLUMN uncleared_from INTEGER;
