//! The leak ledger: what each column reveals to somebody who takes the disk, and for how long. `restante explain-db` prints
//! it. A column without a line here, or a line without a column, fails the test below.

use crate::store::ColumnEntry;

/// A table and what its being there reveals.
struct Table {
    name: &'static str,
    reveals: &'static str,
    /// Name, what it reveals, for how long.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

/// What a table's rows reveal.
pub(super) fn of_table(table: &str) -> String {
    found(table).map_or(UNKNOWN, |table| table.reveals).to_string()
}

/// What one of its columns reveals.
pub(super) fn of_column(table: &str, column: &str) -> ColumnEntry {
    let entry = found(table).and_then(|table| table.columns.iter().find(|(name, ..)| *name == column));
    let (_, reveals, kept) = entry.unwrap_or(&("", UNKNOWN, UNKNOWN));
    ColumnEntry { column: column.to_string(), reveals: (*reveals).to_string(), kept: (*kept).to_string() }
}

fn found(table: &str) -> Option<&'static Table> {
    LEDGER.iter().find(|entry| entry.name == table)
}

/// Never printed: the test keeps it so, and a newer database is refused.
const UNKNOWN: &str = "not in the ledger";

const NOTHING: &str = "nothing";
const ACCOUNT: &str = "until the account is deleted, by itself or after a year unseen";
const DEVICE: &str = "until its device is removed";
const ENVELOPE: &str = "until acknowledged or expired (7 days at most), and 60 s";
const TOKEN: &str = "until the token expires or is revoked";
const SLOT: &str = "until the slot is deleted";
const FACTOR: &str = "until the second factor is turned off or replaced";
const PASS: &str = "until the pass expires or is revoked";
const PREKEY: &str = "until the next prekey (a week), or its device is removed";
const HANDLE: &str = "until given up, and 7 days";
const NOTICE: &str = "until the notice is cleared or replaced";
const GOOD: &str = "for good";

const LEDGER: &[Table] = &[
    Table {
        name: "relay",
        reveals: "what the relay remembers of itself, one row",
        columns: &[
            ("id", NOTHING, GOOD),
            ("clock_mark", "when the relay last ran", "until it runs again"),
            ("purged_at", "when the last purge ended", "until the next"),
            ("damaged", "how many rows the disk ever spoiled", GOOD),
            ("purge_cutoff", "that a purge is under way, and how far it goes", "moments"),
            ("filing_through", "how many envelopes had come at some time lately", "until some thousand more have come"),
            ("uncleared_from", "that the relay was killed, and how far it has looked for traces since", "minutes"),
        ],
    },
    Table {
        name: "accounts",
        reveals: "how many accounts there are, and their public keys; no name, no address",
        columns: &[
            ("id", "in which order accounts registered", ACCOUNT),
            ("account", "a random public key, which whoever knows the account knows", ACCOUNT),
            ("epoch", "how often the list key was replaced (a device lost, a recovery)", ACCOUNT),
            ("version", "how often devices were added or removed", ACCOUNT),
            ("list_key_certificate", "the list key, signed by the account key", "until the next epoch"),
            ("list", "the account's devices and their public keys", "until the next list"),
            ("list_signature", NOTHING, "until the next list"),
            ("suspended", "that the operator keeps it out", "until it is let in again"),
        ],
    },
    Table {
        name: "mailboxes",
        reveals: "a device's queue",
        columns: &[
            ("id", "in which order devices came", DEVICE),
            ("next_seq", "how many envelopes the device ever got, to some 64", DEVICE),
            ("gap_count", "how many expired unread since the device last came", "until the device acknowledges"),
            ("gap_through", "the seq of the last of those", DEVICE),
            ("gone_through", "that rows up to a seq are just being removed", "moments"),
        ],
    },
    Table {
        name: "devices",
        reveals: "which devices an account has, and the week in which each last logged in",
        columns: &[
            ("mailbox", NOTHING, DEVICE),
            ("account", "whose the device is", DEVICE),
            ("device", "a random public key", DEVICE),
            ("sealing_key", "a public key", DEVICE),
            ("seen_week", "the week of the last login", DEVICE),
            ("prekey", "a public key", PREKEY),
            ("prekey_expires_at", "when the prekey was published, to the hour by the shipped client", PREKEY),
            ("prekey_signature", NOTHING, PREKEY),
        ],
    },
    Table {
        name: "removed_devices",
        reveals: "how many devices were ever removed",
        columns: &[("hash", "to who knows a device's id: that it was here once", GOOD)],
    },
    Table {
        name: "factors",
        reveals: "which accounts have a second factor",
        columns: &[
            ("account", "whose it is", FACTOR),
            ("secret", "nothing without totp.key; with it, the TOTP secret", FACTOR),
            ("step", "when a code was last used, to 30 s", "until the next code"),
        ],
    },
    Table {
        name: "recovery_codes",
        reveals: "how many recovery codes are left",
        columns: &[
            ("account", "whose they are", FACTOR),
            ("hash", "nothing: a hash over 80 random bits", "until the code is used, or the factor turned off"),
        ],
    },
    Table {
        name: "tokens",
        reveals: "how many contacts, open invites and spare tokens an account has; not whose they are",
        columns: &[
            ("hash", "to who holds the token: that it is good", TOKEN),
            ("account", "who gave the token out", TOKEN),
            ("kind", "whether it is for a contact, one message, or strangers", TOKEN),
            ("expires_at", "an hour; of an invite by the shipped client: when it was made", TOKEN),
            ("envelopes_max", "that its owner bounds this token", TOKEN),
            ("used_tag", "that a once token was used", TOKEN),
            ("uses", "for how many strangers an invite was made", TOKEN),
            ("uses_left", "how many of them have knocked", TOKEN),
        ],
    },
    Table {
        name: "envelopes",
        reveals: "how much waits for which device, and in which order it all came",
        columns: &[
            ("id", "the order of arrival across mailboxes", ENVELOPE),
            ("mailbox", "for which device", ENVELOPE),
            ("seq", "the order of arrival in this mailbox", ENVELOPE),
            ("expires_at", "the hour in which it expires; sent with the default, so also the hour of arrival", ENVELOPE),
            ("checksum", "nothing beyond the row", ENVELOPE),
            ("wrap", "which envelopes came in one clock hour", ENVELOPE),
            ("body", "one of three sizes; its text to nobody but the device", ENVELOPE),
        ],
    },
    Table {
        name: "filed",
        reveals: "where those lie that wait longer, and what is known of each",
        columns: &[
            ("mailbox", "as in envelopes", ENVELOPE),
            ("seq", "as in envelopes", ENVELOPE),
            ("envelope", "as envelopes.id", ENVELOPE),
            ("repeat_tag", "which are copies of one send for one account's devices; no token, no id", ENVELOPE),
            ("bytes", "the length of the body", ENVELOPE),
            ("knock", "that it is a stranger's first word; not whose", ENVELOPE),
        ],
    },
    Table {
        name: "fresh",
        reveals: "where those lie that came lately, and what is known of each",
        columns: &[
            ("envelope", "as envelopes.id", ENVELOPE),
            ("mailbox", "as in envelopes", ENVELOPE),
            ("seq", "as in envelopes", ENVELOPE),
            ("repeat_tag", "which are copies of one send for one account's devices; no token, no id", ENVELOPE),
            ("bytes", "the length of the body", ENVELOPE),
            ("knock", "that it is a stranger's first word; not whose", ENVELOPE),
            ("expires_at", "as in envelopes", ENVELOPE),
        ],
    },
    Table {
        name: "expiring",
        reveals: "how much of what waits longer expires when, and so how much was sent when",
        columns: &[
            ("expires_at", "as in envelopes", "until the last that it counts is acknowledged or expires"),
            ("block", "among which 64 by order of arrival", "until the last that it counts is acknowledged or expires"),
            ("envelopes", "how many of those wait", "until the next is acknowledged or expires"),
            ("bytes", "the lengths of their bodies, together", "until the next is acknowledged or expires"),
        ],
    },
    Table {
        name: "handles",
        reveals: "which accounts can be found by a name",
        columns: &[
            ("id", "in which order handles were set", HANDLE),
            ("hash", "to who guesses the name (64 MiB, some 0.1 s a guess): that it is somebody's", HANDLE),
            ("account", "whose it is", HANDLE),
            ("record", "to who guesses the name: the account, and a token to knock by", "until given up or replaced"),
            ("held_until", "the hour in which it was given up", "7 days"),
        ],
    },
    Table {
        name: "passes",
        reveals: "how many passes are open; not who got or used one",
        columns: &[
            ("hash", "nothing: a hash over random bytes", PASS),
            ("uses_left", "how many may still register by it", PASS),
            ("expires_at", "when it was made, to who knows for how long", PASS),
        ],
    },
    Table {
        name: "notice",
        reveals: "what the operator says to everybody; public",
        columns: &[
            ("id", NOTHING, NOTICE),
            ("set_at", "when the operator said it; public", NOTICE),
            ("text", "what the operator said; public", NOTICE),
        ],
    },
    Table {
        name: "slots",
        reveals: "how many records of its own an account keeps (the shipped client one: its book)",
        columns: &[
            ("id", "in which order slots were made", SLOT),
            ("account", "whose it is", SLOT),
            ("slot", "nothing: derived from a key of the account's devices", SLOT),
            ("version", "how often it was changed", SLOT),
            ("content", "one of four sizes, and so roughly how many contacts", "until its next change"),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rusqlite::Connection;

    use super::*;

    fn columns(connection: &Connection) -> BTreeSet<String> {
        let mut select = connection
            .prepare(
                "SELECT tables.name || '.' || columns.name
                 FROM sqlite_schema AS tables, pragma_table_xinfo(tables.name) AS columns
                 WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'",
            )
            .expect("a query");
        let columns = select.query_map([], |row| row.get(0)).expect("a query");
        columns.map(|column| column.expect("a row")).collect()
    }

    fn entries() -> Vec<String> {
        let all = LEDGER.iter().flat_map(|table| table.columns.iter().map(|(column, ..)| format!("{}.{column}", table.name)));
        all.collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a database in memory, of the schema alone")]
    fn made(schema: &str) -> Connection {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(schema).expect("the schema runs");
        connection
    }

    const SCHEMA: &str = include_str!("../../../schema.sql");

    #[test]
    fn every_column_has_a_line_in_the_ledger_and_every_line_a_column() {
        let (there, said) = (columns(&made(SCHEMA)), entries());
        let silent: Vec<&String> = there.iter().filter(|column| !said.contains(column)).collect();
        assert!(silent.is_empty(), "nobody says what these reveal: {silent:?}");
        let gone: Vec<&String> = said.iter().filter(|column| !there.contains(*column)).collect();
        assert!(gone.is_empty(), "these are no columns: {gone:?}");
        assert_eq!(said.len(), there.len(), "and each says it once");
    }

    #[test]
    fn a_column_that_nobody_speaks_of_is_seen() {
        let more = format!("{SCHEMA} ALTER TABLE envelopes ADD COLUMN sender BLOB; CREATE TABLE visits (address TEXT);");
        let (there, said) = (columns(&made(&more)), entries());
        let silent: Vec<&String> = there.iter().filter(|column| !said.contains(column)).collect();
        assert_eq!(silent, ["envelopes.sender", "visits.address"]);
    }

    #[test]
    fn a_line_says_something_and_fits_a_terminal() {
        for table in LEDGER {
            assert!(!table.reveals.is_empty(), "{}", table.name);
            for (column, reveals, kept) in table.columns {
                assert!(!reveals.is_empty() && !kept.is_empty(), "{}.{column}", table.name);
                assert!(reveals.len() <= 90 && kept.len() <= 64, "{}.{column}", table.name);
                assert_eq!(of_column(table.name, column).reveals, *reveals);
            }
            assert_eq!(of_table(table.name), table.reveals);
        }
    }
}
