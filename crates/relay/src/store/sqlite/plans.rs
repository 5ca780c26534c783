//! For tests: what SQLite makes of a query. Which way it goes depends on its version, but not on what it is asked with.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params_from_iter};

/// The schema alone, in memory.
pub(super) fn database() -> Connection {
    #[expect(clippy::disallowed_methods, reason = "in memory, for the tables alone")]
    let connection = Connection::open_in_memory().expect("a database");
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).expect("set");
    connection.execute_batch(include_str!("../../../schema.sql")).expect("the schema");
    connection
}

/// The steps in which it answers a query that is asked with these values.
pub(super) fn steps(sql: &str, values: &[i64]) -> Vec<String> {
    let connection = database();
    let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a plan");
    let steps = plan.query_map(params_from_iter(values), |row| row.get(3)).expect("steps");
    steps.collect::<rusqlite::Result<_>>().expect("steps")
}

/// None of these tables (or their names in the query) is gone through from one end.
pub(super) fn assert_no_scan(sql: &str, values: &[i64], tables: &[&str]) {
    let steps = steps(sql, values);
    let scans = |step: &String| tables.iter().any(|table| step.split(' ').take(2).eq(["SCAN", *table]));
    assert!(!steps.iter().any(scans), "{steps:#?}");
}
