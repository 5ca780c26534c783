//! The leak test's database, row by row and by its schema: does anything in it tie one person to another, or an envelope to
//! whoever sent it? All tables are read, so that one that is added later is looked at, too.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::needles::Needles;

/// An envelope, and where it lies.
const ENVELOPES: [&str; 4] = ["envelopes", "filed", "fresh", "expiring"];

/// A row of some table: its blobs and texts, by column.
pub(super) struct Row {
    table: String,
    cells: Vec<(String, Vec<u8>)>,
}

pub(super) fn rows(database: &Connection) -> Vec<Row> {
    let mut select =
        database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").expect("a query");
    let tables: Vec<String> =
        select.query_map([], |row| row.get(0)).expect("a query").map(|name| name.expect("a row")).collect();
    let mut all = Vec::new();
    for table in tables {
        let mut select = database.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a query");
        let columns: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
        let mut found = select.query([]).expect("a query");
        let before = all.len();
        while let Some(row) = found.next().expect("a row") {
            let mut cells = Vec::new();
            for (at, column) in columns.iter().enumerate() {
                if let ValueRef::Blob(bytes) | ValueRef::Text(bytes) = row.get_ref(at).expect("a cell") {
                    cells.push((column.clone(), bytes.to_vec()));
                }
            }
            all.push(Row { table: table.clone(), cells });
        }
        // Tens of thousands of envelopes have to wait before one place is filed; `fresh` has what these have.
        let seldom = ["filed", "expiring"].contains(&table.as_str());
        assert!(seldom || all.len() > before, "nothing that people did left a row in {table}: it is not searched");
    }
    all
}

/// No row holds what stands in a row of another kind, but for what the ledger says belongs together: a token's hash, an account
/// or a device beside an envelope would say by whom and from whom it is.
pub(super) fn what_leads_from_an_envelope_to_something(rows: &[Row]) -> Vec<String> {
    let (envelopes, beside): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| ENVELOPES.contains(&row.table.as_str()));
    assert!(envelopes.len() >= 16, "only {} rows of envelopes and their places", envelopes.len());
    let mut others = Needles::default();
    for row in beside {
        for (column, cell) in row.cells.iter().filter(|(_, cell)| cell.len() >= 16) {
            others.add(&format!("{}.{column}", row.table), cell);
        }
    }
    assert!(others.kinds().len() > 12, "{:?}", others.kinds());
    let cells = envelopes.iter().flat_map(|row| row.cells.iter().map(move |(column, cell)| (&row.table, column, cell)));
    let both = cells.flat_map(|(table, column, cell)| {
        others.found_in(cell).into_iter().map(move |found| format!("{table}.{column} holds what stands in {found}"))
    });
    both.collect()
}

/// Nobody stands in a row of somebody else's.
pub(super) fn rows_that_speak_of_two_accounts(rows: &[Row], database: &Connection) -> Vec<String> {
    let mut accounts = database.prepare("SELECT id, account FROM accounts").expect("a query");
    let accounts = accounts.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).expect("a query");
    let mut people: Vec<Needles> = Vec::new();
    for (id, account) in accounts.map(|account| account.expect("a row")) {
        let mut person = Needles::default();
        person.add("an account", &account);
        for query in [
            "SELECT device, sealing_key, prekey FROM devices WHERE account = ?1",
            "SELECT hash, used_tag, NULL FROM tokens WHERE account = ?1",
            "SELECT hash, record, NULL FROM handles WHERE account = ?1",
            "SELECT slot, content, NULL FROM slots WHERE account = ?1",
        ] {
            let mut select = database.prepare(query).expect("a query");
            let mut found = select.query([id]).expect("a query");
            while let Some(row) = found.next().expect("a row") {
                for at in 0..3 {
                    if let Some(bytes) = row.get::<_, Option<Vec<u8>>>(at).expect("a cell") {
                        person.add("something of an account", &bytes);
                    }
                }
            }
        }
        people.push(person);
    }
    assert_eq!(people.len(), 4);
    let named = |row: &Row| {
        let all: Vec<u8> = row.cells.iter().flat_map(|(_, cell)| [cell.as_slice(), &[0; 4]].concat()).collect();
        people.iter().filter(|person| !person.found_in(&all).is_empty()).count()
    };
    let several = rows.iter().filter(|row| named(row) > 1);
    several.map(|row| format!("a row of {} speaks of several accounts", row.table)).collect()
}

/// By the schema: an envelope leads to a mailbox and to nothing else, and to it and to tokens leads nothing.
pub(super) fn no_table_joins_tokens_and_envelopes(database: &Connection) {
    let mut select = database
        .prepare(
            "SELECT tables.name, keys.\"table\"
             FROM sqlite_schema AS tables, pragma_foreign_key_list(tables.name) AS keys
             WHERE tables.type = 'table'",
        )
        .expect("a query");
    let keys = select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).expect("a query");
    let keys: BTreeSet<(String, String)> = keys.map(|key| key.expect("a row")).collect();
    let of = |table: &str| keys.iter().filter(|(from, _)| from == table).map(|(_, to)| to.clone()).collect::<Vec<_>>();
    for table in ENVELOPES {
        assert_eq!(of(table), [""; 0]);
    }
    assert_eq!(of("tokens"), ["accounts"]);
    assert!(!keys.iter().any(|(_, to)| to == "envelopes" || to == "tokens"), "{keys:?}");
    let columns = |table: &str| {
        let mut select = database.prepare(&format!("SELECT name FROM pragma_table_xinfo('{table}')")).expect("a query");
        let names = select.query_map([], |row| row.get::<_, String>(0)).expect("a query");
        names.map(|name| name.expect("a row")).collect::<BTreeSet<_>>()
    };
    let shared: BTreeSet<_> = ENVELOPES
        .iter()
        .flat_map(|table| columns("tokens").intersection(&columns(table)).cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(shared, BTreeSet::from(["expires_at".into()]), "and these are different things");
}
