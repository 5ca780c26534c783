//! Mailboxes: storing, reading, acknowledging.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::memory::mailbox_of;
use super::places::{self, Place};
use super::queue::Lane;
use super::routes::Known;
use super::rows::{self, StoredRow};
use super::slices::{self, SLICE_ROWS_MAX};
use super::values::{blob, blob_or_none, int, kind, uint, uint_or_none};
use super::writer::Tx;
use crate::protocol::envelopes::{Envelope, Gap, ListName, SEQ_END};
use crate::protocol::tokens::TokenKind;
use crate::protocol::{Bytes, DeviceId, Seq, TokenHash};
use crate::store::{Acked, Enqueue, Enqueued, Envelopes, NewEnvelope, Result, StoreError, Waiting};

#[async_trait]
impl Envelopes for SqliteStore {
    async fn enqueue(&self, send: Enqueue) -> Result<Enqueued> {
        let bytes = send.envelopes.iter().map(|envelope| envelope.body.len() + envelope.wrap.len()).sum();
        let known = self.routes.known(&send);
        self.write(Lane::Sends, bytes, move |tx| enqueue(tx, &send, known.as_ref())).await
    }

    async fn waiting(&self, device: DeviceId, after: Seq, limit: u64, bytes_max: u64, now: u64) -> Result<Waiting> {
        for _ in 0..DAMAGED_PAGES_MAX {
            let fresh = Arc::clone(&self.fresh);
            let page = self.look(move |connection| {
                let Some((mailbox, _)) = mailbox_of(connection, &device)? else { return Ok(Page::Good(nothing())) };
                // Before the snapshot: see `fresh`.
                let (synced, fresh) = (fresh.synced(), fresh.of(mailbox, after.0));
                let asked = Asked { device, mailbox, after, limit, bytes_max, now, synced };
                page(&*connection.unchecked_transaction()?, asked, fresh)
            });
            let page = page.await?;
            let damaged = match page {
                Page::Good(waiting) => return Ok(waiting),
                Page::Damaged(seqs) => seqs,
            };
            let removed = self.write(Lane::Urgent, 0, move |tx| remove_damaged(tx, &device, &damaged)).await?;
            if removed > 0 {
                tracing::warn!(rows = removed, "damaged envelopes were removed; the disk or the memory may be failing");
            }
        }
        Err(StoreError::Busy)
    }

    async fn ack(&self, device: DeviceId, seqs: Vec<Seq>, through: Option<Seq>, now: u64) -> Result<Acked> {
        self.write(Lane::Urgent, 0, move |tx| ack(tx, &device, &seqs, through, now)).await
    }
}

/// What a send needs to know of its token.
struct Token {
    account: i64,
    kind: TokenKind,
    expires_at: Option<u64>,
    envelopes_max: Option<u64>,
    used_tag: Option<[u8; 16]>,
    uses_left: Option<u64>,
    list: ListName,
    suspended: bool,
}

fn find_token(connection: &Connection, hash: &TokenHash) -> SqlResult<Option<Token>> {
    let mut find = connection.prepare_cached(
        "SELECT tokens.account, kind, expires_at, envelopes_max, used_tag, epoch, version, uses_left, suspended
         FROM tokens
         JOIN accounts ON accounts.id = tokens.account
         WHERE tokens.hash = ?1 AND accounts.account IS NOT NULL",
    )?;
    let token = find.query_row([hash.as_bytes()], |row| {
        Ok(Token {
            account: row.get(0)?,
            kind: kind(row, 1)?,
            expires_at: uint_or_none(row, 2)?,
            envelopes_max: uint_or_none(row, 3)?,
            used_tag: blob_or_none(row, 4)?,
            list: ListName { epoch: row.get(5)?, version: uint(row, 6)? },
            uses_left: uint_or_none(row, 7)?,
            suspended: row.get(8)?,
        })
    });
    token.optional()
}

fn enqueue(tx: &mut Tx<'_>, send: &Enqueue, known: Option<&Known>) -> SqlResult<Enqueued> {
    if let Some(Known { envelopes_max, mailboxes, .. }) = known.filter(|known| tx.routes_are_of(known.generation)) {
        return store(tx, send, mailboxes, false, *envelopes_max);
    }
    let connection = tx.connection;
    let Some(token) = find_token(connection, &send.token)? else { return Ok(Enqueued::NoSuchToken) };
    let once = token.kind == TokenKind::Once;
    let used_up = once && token.used_tag.is_some_and(|tag| tag != send.once_tag);
    if used_up || token.expires_at.is_some_and(|expires_at| expires_at <= send.now) {
        return Ok(Enqueued::NoSuchToken);
    }
    if token.list != send.list {
        return Ok(Enqueued::ListChanged);
    }
    if token.suspended {
        return Ok(Enqueued::AllFull);
    }
    let Some(mailboxes) = mailboxes_of(connection, token.account, send)? else { return Ok(Enqueued::ListChanged) };
    let knock = token.kind == TokenKind::Knock;
    let repeated = knock && is_known(tx, &mailboxes, send)?;
    if !repeated && token.uses_left == Some(0) {
        return Ok(Enqueued::NoSuchToken);
    }
    let stored = store(tx, send, &mailboxes, knock, token.envelopes_max)?;
    if stored == Enqueued::AllFull {
        return Ok(stored);
    }
    if knock && !repeated && token.uses_left.is_some() {
        let mut take = connection.prepare_cached(
            "UPDATE tokens
             SET uses_left = uses_left - 1
             WHERE hash = ?1",
        )?;
        take.execute([send.token.as_bytes()])?;
    }
    if once && token.used_tag.is_none() {
        let mut mark = connection.prepare_cached(
            "UPDATE tokens
             SET used_tag = ?2
             WHERE hash = ?1",
        )?;
        mark.execute((send.token.as_bytes(), send.once_tag))?;
    }
    Ok(stored)
}

/// Lays the envelopes into mailboxes, these in the order of those; leaves out what is a repeat.
fn store(tx: &mut Tx<'_>, send: &Enqueue, mailboxes: &[i64], knock: bool, envelopes_max: Option<u64>) -> SqlResult<Enqueued> {
    let connection = tx.connection;
    let (limits, mut full) = (tx.memory.limits, Vec::new());
    for (envelope, &id) in send.envelopes.iter().zip(mailboxes) {
        let gone = tx.memory.repeats.knows(id, &send.repeat_tag, send.now);
        let mailbox = tx.memory.mailbox(connection, id)?;
        if gone || mailbox.waits(&send.repeat_tag) {
            continue;
        }
        let bytes = envelope.body.len() as u64;
        let has_room = match knock {
            true => mailbox.has_room_to_knock(&send.token, envelopes_max, limits),
            false => mailbox.has_room(&send.token, bytes, envelopes_max, limits),
        };
        if !has_room {
            full.push(envelope.device);
            continue;
        }
        let seq = mailbox.take_seq();
        mailbox.add(seq, send.repeat_tag, bytes, &send.token, knock);
        let place = Place { seq, envelope: tx.memory.places.take_envelope(), tag: send.repeat_tag, bytes, knock };
        rows::insert(connection, id, &place, envelope)?;
        tx.memory.places.add(connection, id, &place, envelope.expires_at)?;
        tx.effects.placed += 1;
        tx.effects.adds = true;
        tx.effects.woken.push(envelope.device);
    }
    let none = !full.is_empty() && full.len() == send.envelopes.len();
    Ok(if none { Enqueued::AllFull } else { Enqueued::Queued { full } })
}

/// Of the envelopes, in their order; nothing when a device is not the account's. By the account, since whoever looked the route
/// up has just read that; by the device would be one more page of those that are not at hand.
fn mailboxes_of(connection: &Connection, account: i64, send: &Enqueue) -> SqlResult<Option<Vec<i64>>> {
    let mut select = connection.prepare_cached(
        "SELECT device, mailbox
         FROM devices
         WHERE account = ?1",
    )?;
    let devices = select.query_and_then([account], |row| -> SqlResult<_> { Ok((DeviceId(blob(row, 0)?), row.get(1)?)) })?;
    let devices = devices.collect::<SqlResult<Vec<(DeviceId, i64)>>>()?;
    let mailbox = |envelope: &NewEnvelope| devices.iter().find(|(device, _)| *device == envelope.device).map(|found| found.1);
    Ok(send.envelopes.iter().map(mailbox).collect())
}

/// Whether any of the mailboxes has, or lately had, this very send.
fn is_known(tx: &mut Tx<'_>, mailboxes: &[i64], send: &Enqueue) -> SqlResult<bool> {
    for mailbox in mailboxes {
        let gone = tx.memory.repeats.knows(*mailbox, &send.repeat_tag, send.now);
        if gone || tx.memory.mailbox(tx.connection, *mailbox)?.waits(&send.repeat_tag) {
            return Ok(true);
        }
    }
    Ok(false)
}

enum Page {
    Good(Waiting),
    /// These seqs fail their checksum.
    Damaged(Vec<u64>),
}

/// What a reader asks for.
struct Asked {
    device: DeviceId,
    mailbox: i64,
    after: Seq,
    limit: u64,
    bytes_max: u64,
    now: u64,
    /// Of envelopes before this one.
    synced: i64,
}

fn nothing() -> Waiting {
    Waiting { envelopes: Vec::new(), drained: true, gap: None }
}

fn page(connection: &Connection, asked: Asked, fresh: Vec<Place>) -> SqlResult<Page> {
    let Asked { device, mailbox, after, limit, bytes_max, now, synced } = asked;
    let mut find = connection.prepare_cached(
        "SELECT gap_count, gap_through, coalesce(gone_through, 0)
         FROM mailboxes
         WHERE id = ?1",
    )?;
    let found = find.query_row([mailbox], |row| Ok((Gap { count: uint(row, 0)?, through: Seq(uint(row, 1)?) }, uint(row, 2)?)));
    let mut waiting = nothing();
    let Some((gap, gone_through)) = found.optional()? else { return Ok(Page::Good(waiting)) };
    waiting.gap = (gap.count > 0).then_some(gap);
    let purging =
        connection.prepare_cached("SELECT coalesce(purge_cutoff, 0) FROM relay")?.query_row([], |row| uint(row, 0))?;
    let (mut damaged, mut bytes) = (Vec::new(), 0);
    let mut select = connection.prepare_cached(STORED_ROW)?;
    let after = after.0.max(gone_through);
    let fresh = fresh.into_iter().filter(|place| place.seq > after);
    places::walk(connection, fresh, mailbox, after, SEQ_END, |place| {
        if place.envelope >= synced {
            return Ok(true);
        }
        let mut found = select.query([place.envelope, mailbox])?;
        let row = found.next()?.map(StoredRow::read);
        let Some(row) = row.filter(|row| row.seq == place.seq && row.is_sound(&device, &place.tag)) else {
            damaged.push(place.seq);
            return Ok(true);
        };
        if row.expires_at <= now {
            return Ok(true);
        }
        // A purge removes the place first: it may have done so since `fresh` was looked at, and the gap says so already.
        if row.expires_at <= purging && !places::stands(connection, mailbox, &place)? {
            return Ok(true);
        }
        let over = !waiting.envelopes.is_empty() && bytes + row.body.len() as u64 > bytes_max;
        if over || waiting.envelopes.len() as u64 >= limit {
            waiting.drained = false;
            return Ok(false);
        }
        bytes += row.body.len() as u64;
        waiting.envelopes.push(Envelope {
            seq: Seq(row.seq),
            expires_at: row.expires_at,
            wrap: Bytes(row.wrap.to_vec()),
            body: Bytes(row.body.to_vec()),
        });
        Ok(true)
    })?;
    Ok(if damaged.is_empty() { Page::Good(waiting) } else { Page::Damaged(damaged) })
}

/// Removes those of the rows that are damaged indeed, and lets the gap and the count say so. Gives how many.
fn remove_damaged(tx: &mut Tx<'_>, device: &DeviceId, seqs: &[u64]) -> SqlResult<u64> {
    let connection = tx.connection;
    let Some((mailbox, _)) = mailbox_of(connection, device)? else { return Ok(0) };
    let mut removed = 0;
    for seq in seqs.iter().take(SLICE_ROWS_MAX) {
        if is_sound_at(tx, device, mailbox, *seq)? {
            continue;
        }
        rows::delete(tx, mailbox, *seq)?;
        slices::add_gap(tx, mailbox, 1, *seq)?;
        // Its tag is not kept: who sends it again brings back what the disk lost.
        if let Some(held) = tx.memory.mailbox_at_hand(mailbox) {
            held.remove(*seq);
        }
        removed += 1;
    }
    // Not damaged, but acknowledged between the reader's look at `fresh` and its snapshot.
    if removed == 0 {
        return Ok(0);
    }
    let mut count = connection.prepare_cached(
        "UPDATE relay
         SET damaged = damaged + ?1",
    )?;
    count.execute([int(removed)])?;
    tx.effects.woken.push(*device);
    Ok(removed)
}

/// Whether the envelope at a place is the one that was put there; nothing at the place is sound, too.
fn is_sound_at(tx: &Tx<'_>, device: &DeviceId, mailbox: i64, seq: u64) -> SqlResult<bool> {
    let mut sound = true;
    tx.memory.places.walk(tx.connection, mailbox, seq.saturating_sub(1), seq, |place| {
        let mut find = tx.connection.prepare_cached(STORED_ROW)?;
        let mut found = find.query([place.envelope, mailbox])?;
        let row = found.next()?.map(StoredRow::read);
        sound = row.is_some_and(|row| row.seq == seq && row.is_sound(device, &place.tag));
        Ok(true)
    })?;
    Ok(sound)
}

fn ack(tx: &mut Tx<'_>, device: &DeviceId, seqs: &[Seq], through: Option<Seq>, now: u64) -> SqlResult<Acked> {
    let connection = tx.connection;
    let Some((id, _)) = mailbox_of(connection, device)? else { return Ok(Acked::Removed(0)) };
    #[cfg(feature = "sabotage")]
    let id = if crate::sabotage::on("foreign_ack") { id.max(2) - 1 } else { id };
    let mailbox = tx.memory.mailbox(connection, id)?;
    let highest = seqs.iter().copied().chain(through).max().unwrap_or(Seq(0)).0;
    if mailbox.not_given(highest) {
        return Ok(Acked::SeqNotGiven);
    }
    let named: BTreeSet<u64> = seqs.iter().map(|seq| seq.0).collect();
    let up_to = through.map_or(Vec::new(), |through| mailbox.seqs_through(through.0));
    // A long tail becomes invisible at once and is removed in slices.
    let long = up_to.len() > SLICE_ROWS_MAX;
    let mut gone: Vec<(u64, bool)> = named.iter().map(|seq| (*seq, true)).collect();
    gone.extend(up_to.into_iter().filter(|seq| !named.contains(seq)).map(|seq| (seq, !long)));
    let mut removed = 0;
    for (seq, at_once) in gone {
        let mailbox = tx.memory.mailbox(connection, id)?;
        let Some(held) = mailbox.remove(seq) else { continue };
        mailbox.reserve(connection, seq)?;
        tx.memory.repeats.add(id, held.tag, now);
        removed += 1;
        if at_once {
            rows::delete(tx, id, seq)?;
        }
    }
    if let Some(through) = through.filter(|_| long) {
        let mut leave = connection.prepare_cached(
            "UPDATE mailboxes
             SET gone_through = max(coalesce(gone_through, 0), ?2)
             WHERE id = ?1",
        )?;
        leave.execute([id, int(through.0)])?;
        tx.effects.leftovers = true;
        tx.effects.deleted = true;
    }
    let mailbox = tx.memory.mailbox(connection, id)?;
    if mailbox.gap_through > 0 && highest >= mailbox.gap_through {
        mailbox.gap_through = 0;
        let mut end = connection.prepare_cached(
            "UPDATE mailboxes
             SET gap_count = 0, gap_through = 0
             WHERE id = ?1",
        )?;
        end.execute([id])?;
    }
    Ok(Acked::Removed(removed))
}

/// What [`StoredRow`] reads, of the row that a place names.
const STORED_ROW: &str = "SELECT seq, expires_at, checksum, wrap, body
     FROM envelopes
     WHERE id = ?1 AND mailbox = ?2";
/// Pages of damage that one read clears away; far more than a page has rows.
const DAMAGED_PAGES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::super::Settings;
    use super::super::fresh::Changes;
    use super::super::places::Places;
    use super::super::plans::database;
    use super::*;
    use crate::protocol::accounts::{DeviceEntry, DeviceList, SignedList};
    use crate::protocol::tokens::TokenItem;
    use crate::protocol::{AccountId, Hash, SealingKey, Signature};
    use crate::store::{Accounts, NewList, Roster, Successor, Tokens};

    const ACCOUNT: AccountId = AccountId([1; 32]);
    const DEVICE: DeviceId = DeviceId([2; 32]);
    const TOKEN: TokenHash = TokenHash([3; 32]);

    fn list(epoch: u32) -> NewList {
        let entry = DeviceEntry { device: DEVICE, sealing_key: SealingKey([4; 32]), suites: 1, signature: Signature([0; 64]) };
        let list = DeviceList { account: ACCOUNT, epoch, version: 1, previous: Hash::ZERO, entries: vec![entry] };
        let signed =
            SignedList { list_key_certificate: Bytes(vec![5]), list: Bytes(list.bytes()), signature: Signature([0; 64]) };
        NewList { signed, list }
    }

    fn send(id: u8) -> Enqueue {
        let envelopes = vec![NewEnvelope { device: DEVICE, expires_at: 7_200, wrap: vec![6; 44], body: vec![7; 100] }];
        Enqueue {
            token: TOKEN,
            repeat_tag: [id; 16],
            once_tag: [id; 16],
            list: ListName { epoch: 1, version: 1 },
            envelopes,
            now: 1,
        }
    }

    /// A store that has just been asked where the token leads.
    async fn asked(dir: &tempfile::TempDir) -> SqliteStore {
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        store.register(list(1), None, false, 1).await.expect("registered");
        let (kind, expires_at) = (TokenKind::Contact, Some(3_600));
        let item = TokenItem { hash: TOKEN, kind, expires_at, envelopes_max: Some(2), used: false, uses_left: None };
        store.add_token(ACCOUNT, item, 10, 1).await.expect("added");
        assert!(store.routes.known(&send(1)).is_none(), "nobody asked");
        assert!(store.route(TOKEN, 1).await.expect("answered").is_some());
        store
    }

    /// Makes what memory said of the token wrong, and gives what a send is told then.
    async fn change(store: &SqliteStore, number: usize) -> Enqueued {
        match number {
            0 => {
                store.revoke_tokens(ACCOUNT, vec![TOKEN]).await.expect("revoked");
                Enqueued::NoSuchToken
            }
            1 => {
                store.suspend(ACCOUNT, true).await.expect("suspended");
                Enqueued::AllFull
            }
            2 => {
                store.delete_account(ACCOUNT).await.expect("deleted");
                Enqueued::NoSuchToken
            }
            _ => {
                store.replace_list(list(2), Successor::Next, 1).await.expect("replaced");
                Enqueued::ListChanged
            }
        }
    }

    #[tokio::test]
    async fn what_memory_says_of_a_token_holds_until_a_commit_changes_it() {
        for number in 0..4 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = asked(&dir).await;
            assert_eq!(store.enqueue(send(1)).await, Ok(Enqueued::Queued { full: Vec::new() }));
            let send = send(2);
            let known = store.routes.known(&send);
            assert!(known.is_some());
            let expected = change(&store, number).await;
            let stored = store.write(Lane::Sends, 0, move |tx| enqueue(tx, &send, known.as_ref())).await;
            assert_eq!(stored, Ok(expected), "{number}");
        }
    }

    #[tokio::test]
    async fn nor_does_it_hold_in_the_transaction_that_changes_it() {
        for number in 0..4 {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = asked(&dir).await;
            let ((here, begun), (go, wait)) = (mpsc::channel(), mpsc::channel());
            let held = store.write(Lane::Urgent, 0, move |_| {
                here.send(()).expect("somebody waits");
                wait.recv().expect("told to go on");
                Ok(())
            });
            // Begun in this order, and none before the writer is held; what is urgent goes before the send.
            let begun = async { begun.recv().expect("the writer is held") };
            let going = async { go.send(()).expect("the writer waits") };
            let (held, (), stored, expected, ()) =
                tokio::join!(biased; held, begun, store.enqueue(send(1)), change(&store, number), going);
            assert_eq!((held, stored), (Ok(()), Ok(expected)), "{number}");
        }
    }

    #[tokio::test]
    async fn a_send_that_memory_knows_asks_the_database_nothing_of_its_token() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = asked(&dir).await;
        let behind = |tx: &mut Tx<'_>| tx.connection.execute("DELETE FROM tokens", []);
        assert_eq!(store.write(Lane::Urgent, 0, behind).await, Ok(1));
        assert_eq!(store.enqueue(send(1)).await, Ok(Enqueued::Queued { full: Vec::new() }));
        assert_eq!(store.enqueue(send(2)).await, Ok(Enqueued::Queued { full: Vec::new() }));
        assert_eq!(store.enqueue(send(3)).await, Ok(Enqueued::AllFull), "the token's own bound");
        let late = Enqueue { now: 3_600, ..send(4) };
        assert_eq!(store.enqueue(late).await, Ok(Enqueued::NoSuchToken), "expired");
        let other = Enqueue { list: ListName { epoch: 1, version: 2 }, ..send(5) };
        assert_eq!(store.enqueue(other).await, Ok(Enqueued::NoSuchToken), "another list: asked, and it is not there");
    }

    /// What was in memory when it took its snapshot is not there any more when it counts.
    #[tokio::test]
    async fn who_counts_while_a_pass_ends_counts_by_the_table() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = asked(&dir).await;
        assert_eq!(store.enqueue(send(1)).await, Ok(Enqueued::Queued { full: Vec::new() }));
        let mut pass = Some(Changes::new(Arc::clone(&store.fresh)));
        let pass = Mutex::new(move || {
            pass.take().map(|mut pass| {
                pass.begin_pass();
                pass.end_pass();
            })
        });
        let counted = store.count_places(move |_, fresh| {
            (pass.lock().expect("one at a time"))();
            Ok(fresh.of(1, 0).len())
        });
        assert_eq!(counted.await, Ok(1));
        assert_eq!(store.fresh.of(1, 0).len(), 0);
    }

    /// A purge has removed the places, and not yet the rows, when a reader takes its snapshot that had looked at the places before.
    #[test]
    fn what_a_purge_made_a_gap_is_not_delivered_though_its_place_was_seen_and_its_row_is_there() {
        let connection = database();
        connection.execute("INSERT INTO mailboxes (id) VALUES (1)", []).expect("a mailbox");
        let (mut places, _) = Places::load(&connection).expect("none");
        let device = DeviceId([7; 32]);
        let mut seen = Vec::new();
        for (seq, expires_at) in [(1, 100), (2, 100), (3, 200)] {
            let envelope = NewEnvelope { device, expires_at, wrap: vec![1; 44], body: vec![2; 100] };
            let place = Place { seq, envelope: places.take_envelope(), tag: [3; 16], bytes: 100, knock: false };
            rows::insert(&connection, 1, &place, &envelope).expect("a row");
            places.add(&connection, 1, &place, expires_at).expect("a place");
            seen.push(place);
        }
        let delivered_of = |synced| {
            let asked = Asked { device, mailbox: 1, after: Seq(0), limit: 9, bytes_max: 1 << 20, now: 50, synced };
            match page(&connection, asked, seen.clone()).expect("a page") {
                Page::Good(waiting) => waiting.envelopes.iter().map(|envelope| envelope.seq.0).collect::<Vec<_>>(),
                Page::Damaged(seqs) => panic!("{seqs:?} are damaged"),
            }
        };
        let delivered = || delivered_of(i64::MAX);
        assert_eq!(delivered(), [1, 2, 3]);
        assert_eq!(delivered_of(seen[2].envelope), [1, 2], "the third may not be on the disk");
        connection.execute("UPDATE relay SET purge_cutoff = 100", []).expect("a purge");
        assert_eq!(delivered(), [1, 2, 3], "their turn has not come, or the purge was killed");
        assert!(places.remove(&connection, 1, 1).expect("removed").is_some());
        assert_eq!(delivered(), [2, 3]);
        places::file(&connection, [(1, &seen[1])]).expect("filed");
        connection.execute("DELETE FROM fresh", []).expect("a pass is over");
        assert_eq!(delivered(), [2, 3]);
        assert_eq!(delivered_of(seen[1].envelope), [0; 0], "filed, and perhaps not on the disk");
    }
}
