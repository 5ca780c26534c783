//! The schema in full and the upgrades one after the other lead to the same database, and every table says what it is for.

use std::fs;
use std::path::{Path, PathBuf};

use restante::protocol::Hash;
use restante::store::sqlite::{Settings, SqliteStore, check};
use restante::store::{Notices, PassItem, Passes, Store};
use rusqlite::Connection;

use crate::support::files::raw;

#[test]
fn schema_and_upgrades_lead_to_the_same_database() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let whole = raw(&dir.path().join("whole.db"));
    whole.execute_batch(&fs::read_to_string(root().join("schema.sql")).expect("schema.sql")).expect("schema.sql runs");
    let upgraded = upgraded(&dir.path().join("upgraded.db"));
    assert_eq!(described(&whole), described(&upgraded));
    assert!(described(&whole).len() > 20, "and not for want of anything");
}

#[tokio::test]
async fn a_database_made_by_the_upgrades_is_one_of_ours() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = SqliteStore::open(Settings::new(dir.path().join("made"))).expect("a fresh database opens");
    Store::close(&made).await;
    let made = raw(&dir.path().join("made/restante.db"));
    let number = |pragma: &str| made.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).expect("a pragma");
    assert_eq!(number("user_version"), upgrades().len() as i64, "one version an upgrade");
    assert_eq!((number("page_size"), number("auto_vacuum")), (8_192, 2));

    let data = dir.path().join("data");
    fs::create_dir(&data).expect("a directory");
    let file = data.join("restante.db");
    let empty = raw(&file);
    empty.execute_batch("PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;").expect("set");
    drop(empty);
    let upgraded = upgraded(&file);
    let (id, version) = (number("application_id"), number("user_version"));
    upgraded.execute_batch(&format!("PRAGMA application_id={id}; PRAGMA user_version={version};")).expect("set");
    assert_eq!(described(&made), described(&upgraded));
    drop(upgraded);
    let opened = SqliteStore::open(Settings::new(&data)).expect("it opens");
    Store::close(&opened).await;
    assert!(check(&data).expect("it can be checked").good());
}

#[tokio::test]
async fn a_database_of_every_version_is_brought_up_to_date_with_what_is_in_it() {
    for version in 1..=upgrades().len() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = SqliteStore::open(Settings::new(dir.path().join("made"))).expect("a fresh database opens");
        Store::close(&made).await;
        let made = raw(&dir.path().join("made/restante.db"));
        let id: i64 = made.pragma_query_value(None, "application_id", |row| row.get(0)).expect("a pragma");

        let data = dir.path().join("data");
        fs::create_dir(&data).expect("a directory");
        let older = raw(&data.join("restante.db"));
        older.execute_batch("PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;").expect("set");
        for upgrade in &upgrades()[..version] {
            older.execute_batch(&fs::read_to_string(upgrade).expect("an upgrade")).expect("an upgrade runs");
        }
        let pass = PassItem { hash: Hash([7; 32]), uses_left: 3, expires_at: 9 };
        let insert = "INSERT INTO passes (hash, uses_left, expires_at) VALUES (?1, 3, 9)";
        older.execute(insert, [pass.hash.0]).expect("a row");
        older.execute_batch(&format!("PRAGMA application_id={id}; PRAGMA user_version={version};")).expect("set");
        drop(older);

        let store = SqliteStore::open(Settings::new(&data)).expect("it opens");
        assert_eq!(Passes::passes(&store, 0).await, Ok(vec![pass]), "from version {version}");
        assert_eq!(Notices::notice(&store).await, Ok(None));
        Store::close(&store).await;
        assert_eq!(described(&made), described(&raw(&data.join("restante.db"))), "from version {version}");
        assert!(check(&data).expect("it can be checked").good());
    }
}

#[test]
fn every_table_says_why_it_is_there() {
    let schema = fs::read_to_string(root().join("schema.sql")).expect("schema.sql");
    let lines: Vec<&str> = schema.lines().collect();
    let tables = lines.windows(2).filter(|pair| pair[1].starts_with("CREATE TABLE"));
    let mut count = 0;
    for pair in tables {
        assert!(pair[0].starts_with("-- "), "{} stands without a word", pair[1]);
        count += 1;
    }
    assert_eq!(count, 16);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn upgrades() -> Vec<PathBuf> {
    let dir = fs::read_dir(root().join("crates/relay/src/store/sqlite/upgrades")).expect("the upgrades");
    let mut files: Vec<PathBuf> = dir.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    for (number, file) in files.iter().enumerate() {
        let name = format!("{:03}.sql", number + 1);
        assert!(file.ends_with(&name), "{} stands where {name} belongs", file.display());
    }
    files
}

fn upgraded(file: &Path) -> Connection {
    let connection = raw(file);
    for upgrade in upgrades() {
        connection.execute_batch(&fs::read_to_string(upgrade).expect("an upgrade")).expect("an upgrade runs");
    }
    connection
}

/// Everything the schema says, without comments and white space, and every column as SQLite understood it.
fn described(connection: &Connection) -> Vec<String> {
    let mut select = connection
        .prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
        .expect("a query");
    let objects = select.query_map([], |row| {
        let sql: String = row.get(3)?;
        let words: Vec<&str> = sql.lines().flat_map(|line| line.split("--").next().unwrap_or("").split_whitespace()).collect();
        // Where a column was added, SQLite puts the comma on the next line.
        let words = words.join(" ").replace(" ,", ",").replace(" )", ")").replace("( ", "(");
        let of = (row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?);
        Ok(format!("{of:?} {words}"))
    });
    let mut described: Vec<String> = objects.expect("a query").map(|object| object.expect("a row")).collect();
    let mut columns = connection
        .prepare(
            "SELECT tables.name, columns.cid, columns.name, columns.type, columns.\"notnull\", columns.dflt_value, columns.pk
             FROM sqlite_schema AS tables, pragma_table_xinfo(tables.name) AS columns
             WHERE tables.type = 'table'
             ORDER BY tables.name, columns.cid",
        )
        .expect("a query");
    let columns = columns.query_map([], |row| {
        let names = (row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?);
        let rest = (row.get::<_, i64>(4)?, row.get::<_, Option<String>>(5)?, row.get::<_, i64>(6)?);
        Ok(format!("{names:?} {rest:?}"))
    });
    described.extend(columns.expect("a query").map(|column| column.expect("a row")));
    described
}
