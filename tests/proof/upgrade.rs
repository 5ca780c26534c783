//! Databases of every schema that there was, filled, and upgraded by a relay that is killed on the way, again and again; then
//! it starts, everything is there, and the schema is the one that a fresh relay makes. The count is how many databases.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use rusqlite::Connection;

use crate::http::Line;
use crate::people::id_by;
use crate::random::Random;
use crate::relay::Place;
use crate::world::World;
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let upgrades = upgrades()?;
    let place = Place::new(&plan.dir);
    let world = fill(&place, &mut random)?;
    let made = open(&database(&place))?;
    let (schema, id) = (described(&made)?, pragma(&made, "application_id")?);
    drop(made);
    // As each version would have left it, with its own rows.
    let old: Vec<Place> = (1..upgrades.len())
        .map(|version| {
            let old = place.copy(&plan.dir.join(format!("version-{version}")))?;
            older(&old, &place, &upgrades[..version], id).with_context(|| format!("version {version}"))?;
            Ok(old)
        })
        .collect::<anyhow::Result<_>>()?;
    let (mut kills, mut halfway) = (0, 0);
    for number in 0..plan.count {
        let at = number % old.len();
        let dir = plan.dir.join(format!("upgraded-{number}"));
        let place = old[at].copy(&dir)?;
        let before = counted(&place)?;
        let log = place.data().join("restante.db-wal");
        let told = |what: String| format!("database {number}, of version {}: {what}", at + 1);
        for _ in 0..=random.below(3) {
            // A relay that gets further than this has long committed.
            let bytes = random.below(LOG_BYTES);
            let written = || fs::metadata(&log).map_or(0, |log| log.len()) >= bytes;
            let killed = place.kill_when(written).with_context(|| told(format!("killed at {bytes} bytes of log")))?;
            kills += u64::from(killed);
            halfway += u64::from(killed && fs::metadata(&log).is_ok_and(|log| log.len() > 0));
        }
        let relay = place.start().with_context(|| told("started after the kills".into()))?;
        world.audit(&relay).with_context(|| told("read to its end".into()))?;
        relay.stop()?;
        place.check()?;
        let database = open(&database(&place))?;
        ensure!(described(&database)? == schema, told("another schema than a fresh one's".into()));
        ensure!(pragma(&database, "user_version")? == upgrades.len() as i64, told("not of the newest version".into()));
        drop(database);
        let after = counted(&place)?;
        for (table, rows) in &before {
            let now = after.get(table);
            ensure!(now == Some(rows), told(format!("{table} had {rows} rows, and has {now:?}")));
        }
        fs::remove_dir_all(&dir)?;
    }
    Ok(Outcome::Held(
        kills,
        format!(
            "{} databases of {} versions, {halfway} kills with the upgrade in the log: all rows there, the schema a fresh one's",
            plan.count,
            old.len()
        ),
    ))
}

/// A relay's database with people and letters in it, and tokens enough that an upgrade takes a moment.
fn fill(place: &Place, random: &mut Random) -> anyhow::Result<World> {
    let relay = place.start()?;
    let world = World::settle(&relay, BOXES, 2)?;
    let mut line = Line::new(relay.address);
    for number in 0..ENVELOPES {
        let size = [1_024, 4_096][random.index(2)];
        let status = world.boxes[number % BOXES].send(&mut line, number / BOXES % 2, &id_by(random), size)?;
        ensure!(status == 202, "a send was answered {status}");
    }
    relay.stop()?;
    let database = open(&database(place))?;
    database.execute_batch("BEGIN")?;
    for _ in 0..TOKENS {
        let mut hash = [0; 32];
        random.fill(&mut hash);
        database.execute("INSERT INTO tokens (hash, account, kind) VALUES (?1, 1, 1)", [hash])?;
    }
    database.execute_batch("COMMIT")?;
    database.close().map_err(|(_, error)| error)?;
    Ok(world)
}

/// Puts a database of the first upgrades in place, with the rows of the newest as far as they fit.
fn older(place: &Place, newest: &Place, upgrades: &[String], id: i64) -> anyhow::Result<()> {
    let file = database(place);
    fs::remove_file(&file)?;
    let older = open(&file)?;
    older.execute_batch("PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;")?;
    for upgrade in upgrades {
        older.execute_batch(upgrade)?;
    }
    older.execute_batch(&format!("PRAGMA application_id={id}; PRAGMA user_version={};", upgrades.len()))?;
    older.execute("ATTACH ?1 AS newest", [database(newest).to_string_lossy()])?;
    older.execute_batch("PRAGMA foreign_keys=OFF; DELETE FROM relay;")?;
    older.execute_batch(ENVELOPES_TO_7)?;
    older.execute_batch(RELAY_TO_11)?;
    for table in tables(&older)? {
        let columns: Vec<String> = listed(&older, &format!("SELECT name FROM pragma_table_info('{table}')"))?;
        let columns = columns.join(", ");
        let from = match table.as_str() {
            "envelopes" if upgrades.len() < 8 => "temp.envelopes_to_7",
            "relay" if upgrades.len() < 12 => "temp.relay_to_11",
            _ => &format!("newest.{table}"),
        };
        older.execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM {from}"))?;
    }
    older.execute_batch("DROP VIEW temp.envelopes_to_7; DROP VIEW temp.relay_to_11;")?;
    older.execute_batch("DETACH newest")?;
    if upgrades.len() >= VERSION_WITHOUT_RESIDUE {
        // These rows were put in without the writer, who clears what SQLite leaves of those that it moves: as after a kill.
        older.execute_batch("UPDATE relay SET uncleared_from = 1")?;
    }
    older.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Every table with its rows, of a database that nobody has open; places are places, in whichever of their two tables.
fn counted(place: &Place) -> anyhow::Result<BTreeMap<String, i64>> {
    let (database, mut counted) = (open(&database(place))?, BTreeMap::new());
    for table in tables(&database)? {
        let rows: i64 = database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let name = if ["filed", "fresh"].contains(&table.as_str()) { "places".into() } else { table };
        *counted.entry(name).or_default() += rows;
    }
    Ok(counted)
}

fn tables(database: &Connection) -> anyhow::Result<Vec<String>> {
    listed(database, "SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY name")
}

/// What the schema says, less comments and white space, and each column as SQLite understood it.
fn described(database: &Connection) -> anyhow::Result<Vec<String>> {
    let written =
        listed(database, "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")?;
    let plain = |sql: String| {
        let words: Vec<&str> = sql.lines().flat_map(|line| line.split("--").next().unwrap_or("").split_whitespace()).collect();
        // Where a column was added, the comma is on the next line.
        words.join(" ").replace(" ,", ",").replace(" )", ")").replace("( ", "(")
    };
    let mut described: Vec<String> = written.into_iter().map(plain).collect();
    described.extend(listed(
        database,
        "SELECT tables.name || ' ' || columns.cid || ' ' || columns.name || ' ' || columns.type || ' ' || columns.\"notnull\"
           || ' ' || coalesce(columns.dflt_value, '') || ' ' || columns.pk
         FROM sqlite_schema AS tables, pragma_table_xinfo(tables.name) AS columns
         WHERE tables.type = 'table'
         ORDER BY tables.name, columns.cid",
    )?);
    Ok(described)
}

fn listed(database: &Connection, select: &str) -> anyhow::Result<Vec<String>> {
    let mut select = database.prepare(select)?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn pragma(database: &Connection, name: &str) -> anyhow::Result<i64> {
    Ok(database.pragma_query_value(None, name, |row| row.get(0))?)
}

#[expect(clippy::disallowed_methods, reason = "the harness looks at the file from outside")]
fn open(file: &Path) -> anyhow::Result<Connection> {
    Ok(Connection::open(file)?)
}

fn database(place: &Place) -> std::path::PathBuf {
    place.data().join("restante.db")
}

/// Every upgrade's text, in order.
fn upgrades() -> anyhow::Result<Vec<String>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/relay/src/store/sqlite/upgrades");
    let mut files: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.sort();
    files.into_iter().map(|file| Ok(fs::read_to_string(file)?)).collect()
}

/// The rows of envelopes as they were up to version 7, with all that now stands with their places, and sums of 16 bytes.
const ENVELOPES_TO_7: &str = "CREATE TEMP VIEW envelopes_to_7 AS
     SELECT id, envelopes.mailbox, envelopes.seq, expires_at, repeat_tag,
       CAST(checksum || randomblob(8) AS BLOB) AS checksum, wrap, body, knock
     FROM newest.envelopes AS envelopes
     JOIN (
       SELECT envelope, repeat_tag, knock FROM newest.filed
       UNION ALL
       SELECT envelope, repeat_tag, knock FROM newest.fresh
     ) AS places ON places.envelope = envelopes.id";
/// The row of `relay` as it was up to version 11, with totals.
const RELAY_TO_11: &str = "CREATE TEMP VIEW relay_to_11 AS
     SELECT relay.*, (SELECT count(*) FROM newest.envelopes) AS envelopes,
       (SELECT coalesce(sum(length(body)), 0) FROM newest.envelopes) AS envelope_bytes
     FROM newest.relay AS relay";
/// An upgrade from an earlier one goes over all pages.
const VERSION_WITHOUT_RESIDUE: usize = 10;
const BOXES: usize = 4;
const ENVELOPES: usize = 120;
/// Beside the people's own: the table that version 4 makes again.
const TOKENS: usize = 20_000;
/// The log of an upgrade is about as long.
const LOG_BYTES: u64 = 4_000_000;
