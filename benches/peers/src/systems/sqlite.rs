//! The floor of any relay on SQLite: one thread that inserts rows like the relay's into its own schema, and commits them in
//! batches. No network, no checks, no cryptography.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Acknowledged, MAILBOXES, Peer, Running, body};
use crate::child::{Place, own_processor};
use crate::load::Outcome;

pub(super) struct Sqlite;

impl Peer for Sqlite {
    fn name(&self) -> &'static str {
        "raw SQLite inserts"
    }

    fn version(&self) -> anyhow::Result<String> {
        Ok(format!("SQLite {}", rusqlite::version()))
    }

    fn settings(&self) -> &'static str {
        "one thread, restante's schema and pragmas, its checkpoints every 2 MiB of log; as many rows a commit as there would be \
         connections, 256 at most"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: true, means: "COMMIT with synchronous=FULL has returned (a ceiling)" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let connection = Connection::open(place.path().join("raw.db"))?;
        connection.execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL;"))?;
        connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
        connection.execute_batch(
            "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;
             PRAGMA cell_size_check=ON; PRAGMA wal_autocheckpoint=0; PRAGMA cache_size=-65536;",
        )?;
        connection.execute_batch(include_str!("../../../../schema.sql"))?;
        for mailbox in 1..=MAILBOXES as i64 {
            connection.execute("INSERT INTO mailboxes (id) VALUES (?1)", [mailbox])?;
        }
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages);
            Ok(())
        }));
        let mut next = 0;
        Ok(Running::Loop(Box::new(move |batch, length| insert(&connection, batch.min(BATCH_MAX), length, &mut next))))
    }
}

fn insert(connection: &Connection, batch: usize, length: Duration, next: &mut usize) -> anyhow::Result<Outcome> {
    // What the relay's wrap adds to a body: kind, token hash, id, tag.
    let body = [body().as_slice(), &[0x55; 1 + 32 + 16 + 16]].concat();
    let (tag, checksum, wrap) = ([1_u8; 16], [2_u8; 8], [3_u8; 44]);
    let (began, own) = (Instant::now(), own_processor());
    let mut times = Vec::new();
    while began.elapsed() < length {
        let asked = Instant::now();
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..batch {
            let (mailbox, seq) = ((*next % MAILBOXES + 1) as i64, (*next / MAILBOXES + 1) as i64);
            connection
                .prepare_cached(
                    "INSERT INTO envelopes (mailbox, seq, expires_at, checksum, wrap, body)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![mailbox, seq, 1_800_000_000_i64, checksum, wrap, body])?;
            let envelope = connection.last_insert_rowid();
            connection
                .prepare_cached(
                    "INSERT INTO fresh (mailbox, seq, envelope, repeat_tag, bytes, knock)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                )?
                .execute(params![mailbox, seq, envelope, tag, body.len() as i64])?;
            *next += 1;
            if (*next).is_multiple_of(FRESH_MAX) {
                connection.prepare_cached("INSERT INTO filed SELECT * FROM fresh ORDER BY mailbox, seq")?.execute([])?;
                connection.prepare_cached("DELETE FROM fresh")?.execute([])?;
            }
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        if LOG_PAGES.get() >= LOG_PAGES_MAX {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            LOG_PAGES.set(0);
        }
        times.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    let took = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let percentile = |percent: usize| f64::from(times[(times.len() * percent).div_ceil(100) - 1]) / 1_000.0;
    Ok(Outcome {
        rate: (times.len() * batch) as f64 / took,
        p50: percentile(50),
        p99: percentile(99),
        load_cores: (own_processor() - own) / took,
        system_cores: None,
    })
}

thread_local! {
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// As in the relay's store.
const PAGE_BYTES: i32 = 8_192;
const LOG_PAGES_MAX: i32 = (2 << 20) / PAGE_BYTES;
const BATCH_MAX: usize = 256;
/// Rows after which the relay, too, moves their places to the large table.
const FRESH_MAX: usize = 2_048;
