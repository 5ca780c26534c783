//! Mailboxes in SQL.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::leavings::{LEFT_ENVELOPES, leave};
use super::mailbox::{Mailbox, Tag};
use super::rows::{add_to_gap, checksum, kind};
use super::{Queue, Result, SqliteStore, Tx};
use crate::protocol::envelopes::{Envelope, Gap};
use crate::protocol::tokens::TokenKind;
use crate::protocol::{Bytes, DeviceId, Seq, TokenHash};
use crate::store::{Acked, Enqueue, Enqueued, Envelopes, NewEnvelope, Waiting};

#[async_trait]
impl Envelopes for SqliteStore {
    async fn enqueue(&self, send: Enqueue) -> Result<Enqueued> {
        let bytes = send.envelopes.iter().map(|envelope| envelope.body.len()).sum();
        self.write(Queue::Sends, bytes, move |tx| enqueue(tx, &send)).await
    }

    async fn waiting(&self, device: DeviceId, after: Seq, limit: u64, bytes_max: u64, now: u64) -> Result<Waiting> {
        loop {
            let (page, damaged) =
                self.readers.read(move |connection| waiting(connection, &device, after, limit, bytes_max, now)).await?;
            if damaged.is_empty() {
                return Ok(page);
            }
            self.urgent(move |tx| set_aside(tx, &device, &damaged)).await?;
        }
    }

    async fn ack(&self, device: DeviceId, seqs: Vec<Seq>, through: Option<Seq>, now: u64) -> Result<Acked> {
        self.urgent(move |tx| ack(tx, &device, &seqs, through, now)).await
    }
}

fn enqueue(tx: &mut Tx<'_>, send: &Enqueue) -> rusqlite::Result<Enqueued> {
    let found = tx
        .connection
        .prepare_cached(
            "SELECT a.id, a.epoch, a.version, t.kind, t.envelopes_max, t.used_tag
             FROM tokens t
             JOIN accounts a ON a.id = t.account
             WHERE t.hash = ?1 AND (t.expires_at IS NULL OR t.expires_at > ?2)",
        )?
        .query_row(params![send.token.0, send.now], |row| {
            let list: (u32, u64) = (row.get(1)?, row.get(2)?);
            let used: Option<Tag> = row.get(5)?;
            Ok((row.get::<_, i64>(0)?, list, kind(row.get(3)?), row.get::<_, Option<u64>>(4)?, used))
        })
        .optional()?;
    let Some((account, list, kind, max, used)) = found else { return Ok(Enqueued::NoSuchToken) };
    if list != (send.list.epoch, send.list.version) {
        return Ok(Enqueued::ListChanged);
    }
    if used.is_some_and(|used| used != send.repeat_tag) {
        return Ok(Enqueued::NoSuchToken);
    }
    let mut full = Vec::new();
    for envelope in &send.envelopes {
        let mailbox: Mailbox = tx
            .connection
            .prepare_cached("SELECT mailbox FROM devices WHERE device = ?1 AND account = ?2")?
            .query_row(params![envelope.device.0, account], |row| row.get(0))?;
        if tx.memory.is_gone(mailbox, &send.repeat_tag, send.now)
            || tx.memory.mailbox(tx.connection, mailbox)?.has(&send.repeat_tag)
        {
            continue;
        }
        let bytes = envelope.body.len() as u64;
        if tx.memory.room_for(tx.connection, mailbox, &send.token, bytes, max)? {
            insert(tx, mailbox, envelope, send.repeat_tag, send.token)?;
        } else {
            full.push(envelope.device);
        }
    }
    if full.len() == send.envelopes.len() && !full.is_empty() {
        return Ok(Enqueued::AllFull);
    }
    if kind == TokenKind::Once && used.is_none() {
        tx.connection
            .prepare_cached("UPDATE tokens SET used_tag = ?2 WHERE hash = ?1")?
            .execute(params![send.token.0, send.repeat_tag])?;
    }
    Ok(Enqueued::Queued { full })
}

fn insert(tx: &mut Tx<'_>, mailbox: Mailbox, envelope: &NewEnvelope, tag: Tag, token: TokenHash) -> rusqlite::Result<()> {
    let state = tx.memory.mailbox(tx.connection, mailbox)?;
    let seq = state.next_seq;
    if seq >= state.reserved {
        tx.connection
            .prepare_cached("UPDATE devices SET next_seq = ?2 WHERE mailbox = ?1")?
            .execute(params![mailbox, seq + SEQS_RESERVED])?;
        state.reserved = seq + SEQS_RESERVED;
    }
    state.next_seq = seq + 1;
    state.insert(seq, tag, envelope.body.len() as u64, Some(token));
    let checksum = checksum(&envelope.device, seq, envelope.expires_at, &tag, &envelope.wrap, &envelope.body);
    tx.connection
        .prepare_cached(
            "INSERT INTO envelopes (mailbox, seq, expires_at, repeat_tag, checksum, wrap, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![mailbox, seq, envelope.expires_at, tag, checksum, envelope.wrap, envelope.body])?;
    tx.after.wake.push(envelope.device);
    Ok(())
}

/// The page, and the seqs of rows that are not as they were written.
fn waiting(
    connection: &Connection,
    device: &DeviceId,
    after: Seq,
    limit: u64,
    bytes_max: u64,
    now: u64,
) -> rusqlite::Result<(Waiting, Vec<u64>)> {
    let mut page = Waiting { envelopes: Vec::new(), drained: true, gap: None };
    let found: Option<(Mailbox, u64, u64, u64)> = connection
        .prepare_cached("SELECT mailbox, gap_count, gap_through, acked_through FROM devices WHERE device = ?1")?
        .query_row([device.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((mailbox, gap_count, gap_through, acked_through)) = found else { return Ok((page, Vec::new())) };
    let (expired, expired_through): (u64, u64) = connection
        .prepare_cached(
            "SELECT COUNT(*), COALESCE(MAX(seq), 0)
             FROM envelopes
             WHERE mailbox = ?1 AND seq > ?2 AND expires_at <= ?3",
        )?
        .query_row(params![mailbox, acked_through, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (count, through) = (gap_count + expired, gap_through.max(expired_through));
    page.gap = (count > 0).then_some(Gap { count, through: Seq(through) });

    let mut statement = connection.prepare_cached(
        "SELECT seq, expires_at, repeat_tag, checksum, wrap, body
         FROM envelopes
         WHERE mailbox = ?1 AND seq > ?2 AND expires_at > ?3
         ORDER BY seq
         LIMIT ?4",
    )?;
    let mut rows = statement.query(params![mailbox, after.0.max(acked_through), now, limit + 1])?;
    let (mut bytes, mut damaged) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let (seq, expires_at): (u64, u64) = (row.get(0)?, row.get(1)?);
        let body: Vec<u8> = row.get(5)?;
        bytes += body.len() as u64;
        if page.envelopes.len() as u64 == limit || (bytes > bytes_max && !page.envelopes.is_empty()) {
            page.drained = false;
            break;
        }
        let (tag, sum, wrap): (Tag, [u8; 16], Vec<u8>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        if checksum(device, seq, expires_at, &tag, &wrap, &body) != sum {
            damaged.push(seq);
            continue;
        }
        page.envelopes.push(Envelope { seq: Seq(seq), expires_at, wrap: Bytes(wrap), body: Bytes(body) });
    }
    Ok((page, damaged))
}

/// Takes damaged rows out of the way: gone, counted, and in the gap.
fn set_aside(tx: &mut Tx<'_>, device: &DeviceId, damaged: &[u64]) -> rusqlite::Result<()> {
    let mailbox: Option<Mailbox> = tx
        .connection
        .prepare_cached("SELECT mailbox FROM devices WHERE device = ?1")?
        .query_row([device.0], |row| row.get(0))
        .optional()?;
    let Some(mailbox) = mailbox else { return Ok(()) };
    for seq in damaged {
        let removed = tx
            .connection
            .prepare_cached("DELETE FROM envelopes WHERE mailbox = ?1 AND seq = ?2")?
            .execute(params![mailbox, seq])?;
        if removed == 1 {
            add_to_gap(tx.connection, mailbox, 1, *seq)?;
            tx.connection.prepare_cached("UPDATE relay SET damaged = damaged + 1")?.execute([])?;
            tracing::error!("a row of an envelope is damaged: it was set aside and its recipient told; check the disk");
        }
    }
    tx.memory.forget(mailbox);
    tx.after.deleted = true;
    Ok(())
}

fn ack(tx: &mut Tx<'_>, device: &DeviceId, seqs: &[Seq], through: Option<Seq>, now: u64) -> rusqlite::Result<Acked> {
    let found: Option<(Mailbox, u64)> = tx
        .connection
        .prepare_cached("SELECT mailbox, gap_through FROM devices WHERE device = ?1")?
        .query_row([device.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((mailbox, gap_through)) = found else { return Ok(Acked::Removed(0)) };
    let highest = seqs.iter().chain(&through).map(|seq| seq.0).max().unwrap_or(0);
    let state = tx.memory.mailbox(tx.connection, mailbox)?;
    if highest >= state.next_seq {
        return Ok(Acked::SeqNotGiven);
    }
    let mut going = through.map_or_else(Vec::new, |through| state.through(through.0));
    going.extend(seqs.iter().map(|seq| seq.0).filter(|seq| state.has_seq(*seq)));
    going.sort_unstable();
    going.dedup();
    let removed = going.len() as u64;

    // What had expired below the acknowledgement was told as a gap, and goes with it.
    let expired: Vec<u64> = tx
        .connection
        .prepare_cached("SELECT seq FROM envelopes WHERE mailbox = ?1 AND seq <= ?2 AND expires_at <= ?3")?
        .query_map(params![mailbox, highest, now], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    going.extend(expired.into_iter().filter(|seq| going.binary_search(seq).is_err()).collect::<Vec<_>>());

    for seq in &going {
        if let Some(tag) = tx.memory.mailbox(tx.connection, mailbox)?.remove(*seq) {
            tx.memory.remember_gone(mailbox, tag, now);
        }
    }
    if let Some(through) = through {
        tx.connection
            .prepare_cached("UPDATE devices SET acked_through = MAX(acked_through, ?2) WHERE mailbox = ?1")?
            .execute(params![mailbox, through.0])?;
    }
    if gap_through > 0 && highest >= gap_through {
        tx.connection
            .prepare_cached("UPDATE devices SET gap_count = 0, gap_through = 0 WHERE mailbox = ?1")?
            .execute([mailbox])?;
    }
    let (now_gone, later) = going.split_at(going.len().min(ACK_ROWS_MAX));
    for seq in now_gone {
        tx.connection
            .prepare_cached("DELETE FROM envelopes WHERE mailbox = ?1 AND seq = ?2")?
            .execute(params![mailbox, seq])?;
    }
    if let (false, Some(through)) = (later.is_empty(), through) {
        leave(tx, LEFT_ENVELOPES, mailbox, through.0 as i64)?;
    }
    tx.after.deleted |= !going.is_empty();
    Ok(Acked::Removed(removed))
}

/// Seqs reserved at once: a crash skips as many at most.
const SEQS_RESERVED: u64 = 64;
/// Rows that an acknowledgement removes itself; the rest follows in slices. `seqs` alone are never more.
const ACK_ROWS_MAX: usize = 128;
