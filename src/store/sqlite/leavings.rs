//! What is gone for everybody and only not yet overwritten: removed in slices, between which whatever waits is committed.

use rusqlite::{Connection, params};

use super::Tx;

/// Notes that rows are gone for everybody and are to be removed in slices.
pub(super) fn leave(tx: &mut Tx<'_>, kind: u8, id: i64, through: i64) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "INSERT INTO leavings (kind, id, through)
             VALUES (?1, ?2, ?3)
             ON CONFLICT (kind, id) DO UPDATE SET through = MAX(through, excluded.through)",
        )?
        .execute(params![kind, id, through])?;
    tx.after.leavings = true;
    tx.after.deleted = true;
    Ok(())
}

/// Removes one slice of what is gone for everybody; true when there is more.
pub(super) fn remove_leavings(connection: &Connection) -> rusqlite::Result<bool> {
    let left: Vec<(u8, i64, i64)> = connection
        .prepare_cached("SELECT kind, id, through FROM leavings LIMIT 1")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let Some((kind, id, through)) = left.first().copied() else { return Ok(false) };
    let removed = if kind == LEFT_ENVELOPES {
        connection
            .prepare_cached(
                "DELETE FROM envelopes
                 WHERE id IN (SELECT id FROM envelopes WHERE mailbox = ?1 AND seq <= ?2 LIMIT ?3)",
            )?
            .execute(params![id, through, SLICE_ROWS_MAX])?
    } else {
        connection
            .prepare_cached("DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE account = ?1 LIMIT ?2)")?
            .execute(params![id, SLICE_ROWS_MAX])?
    };
    if removed < SLICE_ROWS_MAX {
        connection.prepare_cached("DELETE FROM leavings WHERE kind = ?1 AND id = ?2")?.execute(params![kind, id])?;
    }
    Ok(true)
}

/// What a mailbox left, up to a seq.
pub(super) const LEFT_ENVELOPES: u8 = 1;
/// The tokens that an account left.
pub(super) const LEFT_TOKENS: u8 = 2;
/// Rows of one slice.
pub(super) const SLICE_ROWS_MAX: usize = 128;
