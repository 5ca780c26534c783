//! Floor 1: what the relay keeps. The trait's words are guarantees, not mechanism; `service` is written against them alone,
//! and one contract suite (`tests/it/store_contract.rs`) holds every implementation to them.
//!
//! Guarantees of every method:
//!
//! - One call is one transaction: it happens whole or not at all. When a call that writes returns `Ok`, what it wrote is on
//!   disk and survives a power cut.
//! - Every write is idempotent: the same input again changes nothing and gives the same outcome, or the outcome that says so.
//! - Outcomes that a caller expects are variants; [`StoreError`] is for the rest. After [`StoreError::Failed`] the store
//!   answers nothing but that.
//! - A dropped future changes nothing about whether the write happens: it is cancel-safe in that it may have happened.
//! - Time comes from the caller (`now`, Unix seconds). Nothing past its expiry is ever returned, purged yet or not.

pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::protocol::accounts::AccountReply;
use crate::protocol::envelopes::{Envelope, Gap, ListName};
use crate::protocol::keys::Prekey;
use crate::protocol::tokens::{TokenItem, TokenKind};
use crate::protocol::{AccountId, DeviceId, DeviceList, HandleHash, Hash, SealingKey, Seq, SignedList, SlotId, TokenHash};

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The writer's queue is full, or no reader came free in time; nothing was done, try again.
    #[error("the store is busy")]
    Busy,
    /// The disk, or the cap set for it, is full; nothing was done. Removing still works.
    #[error("the store is full")]
    Full,
    /// The store is closing; nothing was done.
    #[error("the store is closing")]
    Closing,
    /// An I/O error or a damaged database: nothing further is answered, and the process is to end.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// What a store method gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Called once at least for every commit that let something appear in a mailbox, after the commit and before the writer of
/// it is answered, with the mailboxes' devices. It must not block and must not call the store.
pub type CommitListener = Arc<dyn Fn(&[DeviceId]) + Send + Sync>;

/// Everything a relay needs kept.
#[async_trait]
pub trait Store: Accounts + Roster + Factors + Tokens + Envelopes + Keys + Handles + Slots + Passes + Notices + Upkeep {
    /// Puts the listener in place; one, before the first request.
    fn on_commit(&self, listener: CommitListener);

    /// Finishes what was accepted, answers it, and closes. Afterwards everything is [`StoreError::Closing`].
    async fn close(&self);
}

/// A valid device list, in both its forms; whoever makes one has verified its signatures.
#[derive(Debug, Clone)]
pub struct NewList {
    /// As it travels and is kept.
    pub signed: SignedList,
    /// The same, parsed.
    pub list: DeviceList,
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The account is new, and a pass, where one was given, has one use less.
    Created,
    /// The account stands with this very list; no pass was used.
    Repeated,
    /// The account stands with another list.
    AccountExists,
    /// A device is another account's, or was removed once.
    DeviceTaken,
    /// The pass is unknown, used up or expired, or none was given where one is needed.
    PassRefused,
}

/// Which lists may follow the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// The same epoch, version + 1, `previous` the current list's hash; or a higher epoch.
    Next,
    /// Only a higher epoch.
    HigherEpoch,
}

/// What came of a new list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// It is the current one, first or repeated; these devices are gone, with mailbox and prekey.
    Done {
        /// Devices of the list before that the new one lacks.
        removed: Vec<DeviceId>,
    },
    /// It does not follow the current one, which is this.
    Conflict(SignedList),
    /// A device is another account's, or was removed once.
    DeviceTaken,
    /// There is no such account.
    NoSuchAccount,
}

/// What the store knows of a device by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its account.
    pub account: AccountId,
    /// What its envelopes are wrapped to.
    pub sealing_key: SealingKey,
    /// The operator keeps its account out.
    pub suspended: bool,
}

/// Accounts, their lists and devices.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Makes an account of a list. With `pass_needed`, only with a good `pass` (its hash). Devices start with an empty
    /// mailbox and the week of `now` as their last visit.
    async fn register(&self, new: NewList, pass: Option<Hash>, pass_needed: bool, now: u64) -> Result<Registered>;

    /// Puts a list in the place of the current one. Removed devices go with mailbox and prekey, and their ids are never
    /// accepted again; added ones start with an empty mailbox. By [`Successor::HigherEpoch`], a recovery, the account's second
    /// factor goes too.
    async fn replace_list(&self, new: NewList, rule: Successor, now: u64) -> Result<Replaced>;

    /// A device by its id; none when unknown or removed.
    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>>;

    /// Notes the week of a visit; writes only when it is a new week.
    async fn visited(&self, device: DeviceId, week: u64) -> Result<()>;

    /// Everything held on an account but its tokens.
    async fn account(&self, account: AccountId, now: u64) -> Result<Option<AccountReply>>;

    /// Deletes the account and all that is its; from the return on, and at every later moment, nobody sees any of it. The
    /// ids of its devices are never accepted again. Gives the devices it had.
    async fn delete_account(&self, account: AccountId) -> Result<Vec<DeviceId>>;
}

/// An account as the operator sees it: how much there is, never what or from whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountItem {
    /// Its id.
    pub account: AccountId,
    /// Devices of its list.
    pub devices: u64,
    /// Envelopes waiting for all of them.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Delivery tokens that are good.
    pub tokens: u64,
    /// The week in which one of its devices last came.
    pub seen_week: u64,
    /// The operator keeps it out.
    pub suspended: bool,
}

/// A page of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPage {
    /// Ascending by id.
    pub accounts: Vec<AccountItem>,
    /// Where the next page begins; none after the last.
    pub next: Option<AccountId>,
}

/// Accounts as the operator deals with them.
#[async_trait]
pub trait Roster: Send + Sync {
    /// Accounts from `from` on, ascending by id, at most `limit`.
    async fn accounts(&self, from: AccountId, limit: u64, now: u64) -> Result<AccountPage>;

    /// Suspends an account, or ends that, and gives its devices; none when there is no such account. While an account is
    /// suspended [`Envelopes::enqueue`] takes nothing for it; all that it has stays, and goes on to expire.
    async fn suspend(&self, account: AccountId, suspended: bool) -> Result<Option<Vec<DeviceId>>>;
}

/// A second factor as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFactor {
    /// Its secret, locked under a key that no store has.
    pub secret: [u8; LOCKED_SECRET_LENGTH],
    /// The highest step that was used.
    pub step: u64,
}

/// The length of a locked TOTP secret: nonce, 20 bytes, tag.
pub const LOCKED_SECRET_LENGTH: usize = 12 + 20 + 16;

/// Second factors: an account has one or none.
#[async_trait]
pub trait Factors: Send + Sync {
    /// Puts a second factor in the place of the one with the locked secret `before`, whose recovery codes go with it, or of none.
    /// False, and nothing changed, when it is not so (any more), or there is no such account.
    async fn put_factor(
        &self,
        account: AccountId,
        before: Option<[u8; LOCKED_SECRET_LENGTH]>,
        factor: KeptFactor,
        recovery_codes: Vec<Hash>,
    ) -> Result<bool>;

    /// The account's second factor.
    async fn factor(&self, account: AccountId) -> Result<Option<KeptFactor>>;

    /// Uses a step of the factor that has this locked secret: true when it is above every one used before, and the account
    /// still has that factor. Of several at once that use one step one is told true.
    async fn use_step(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH], step: u64) -> Result<bool>;

    /// Uses a recovery code up; true for the first.
    async fn use_recovery_code(&self, account: AccountId, hash: Hash) -> Result<bool>;

    /// Turns the one with this locked secret off, and its recovery codes are gone too; false when it is not that one (any more).
    async fn remove_factor(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH]) -> Result<bool>;

    /// Some account's locked secret, where there is any: by it the relay sees at its start whether it has the right key.
    async fn any_factor(&self) -> Result<Option<(AccountId, [u8; LOCKED_SECRET_LENGTH])>>;
}

/// What came of a new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAdded {
    /// It stands, first or repeated.
    Added,
    /// Its hash is known with another owner, kind or bound.
    Taken,
    /// The account holds as many as it may.
    TooMany,
}

/// A page of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPage {
    /// Ascending by hash.
    pub tokens: Vec<TokenItem>,
    /// Whether more follow.
    pub more: bool,
}

/// Where a token leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// To which account.
    pub account: AccountId,
    /// What it allows.
    pub kind: TokenKind,
    /// The account's current list.
    pub list: ListName,
    /// The list's devices, ascending.
    pub devices: Vec<RouteDevice>,
}

/// One device that a token leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDevice {
    /// Its id.
    pub device: DeviceId,
    /// What its envelopes are wrapped to.
    pub sealing_key: SealingKey,
    /// The week of its last visit.
    pub seen_week: u64,
}

/// Delivery tokens.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// Registers a token's hash for an account that holds fewer than `tokens_max` (live ones). `item.used` is ignored;
    /// `item.uses_left` is how many uses it begins with, also where it is compared with one that stands.
    async fn add_token(&self, account: AccountId, item: TokenItem, tokens_max: u64, now: u64) -> Result<TokenAdded>;

    /// The account's tokens above `after`, ascending, at most `limit`; expired ones are left out.
    async fn tokens(&self, account: AccountId, after: Option<TokenHash>, limit: u64, now: u64) -> Result<TokenPage>;

    /// Deletes those of the account's tokens that are named, and says how many there were.
    async fn revoke_tokens(&self, account: AccountId, hashes: Vec<TokenHash>) -> Result<u64>;

    /// Where a token leads; none when unknown, expired or revoked. A used-up token still leads there: whether the id is one
    /// of its own is decided by [`Envelopes::enqueue`]. May be answered from a cache that every write keeps true.
    async fn route(&self, token: TokenHash, now: u64) -> Result<Option<Route>>;
}

/// A send, wrapped and ready to store.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// By which token.
    pub token: TokenHash,
    /// [`repeat_tag`](crate::protocol::tokens::repeat_tag) of token and id.
    pub repeat_tag: [u8; 16],
    /// [`once_tag`](crate::protocol::tokens::once_tag) of the same; what a `once` token keeps, and no envelope.
    pub once_tag: [u8; 16],
    /// For which list it was sealed and wrapped.
    pub list: ListName,
    /// One for each device of that list that may get it. Devices of the list left out are ones the caller answers `full`.
    pub envelopes: Vec<NewEnvelope>,
    /// When it came.
    pub now: u64,
}

/// One device's envelope.
#[derive(Debug, Clone)]
pub struct NewEnvelope {
    /// For whom.
    pub device: DeviceId,
    /// A full hour.
    pub expires_at: u64,
    /// `enc ‖ nonce`, 44 bytes.
    pub wrap: Vec<u8>,
    /// The wrapped envelope.
    pub body: Vec<u8>,
}

/// What came of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// On disk, or was so before: a repeat is not told apart. These devices' mailbox or share was full.
    Queued {
        /// Not stored for these.
        full: Vec<DeviceId>,
    },
    /// Every envelope named was refused as full, or the account is suspended; nothing is stored.
    AllFull,
    /// The token is not, or no longer, good, or it is used up and this is none of the ids it was used for; nothing is stored.
    NoSuchToken,
    /// The account's list is not the one named; nothing is stored.
    ListChanged,
}

/// A page of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Oldest first.
    pub envelopes: Vec<Envelope>,
    /// Nothing waits beyond these.
    pub drained: bool,
    /// What expired unread or was damaged since the last acknowledged gap, `after` or not.
    pub gap: Option<Gap>,
}

/// What came of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acked {
    /// So many rows went.
    Removed(u64),
    /// A seq above the highest given; nothing went.
    SeqNotGiven,
}

/// Mailboxes.
#[async_trait]
pub trait Envelopes: Send + Sync {
    /// Stores a send's envelopes, each at the next seq of its mailbox. Token, list and room are checked in the same
    /// transaction. A mailbox takes no envelope beyond its limits, nor one that would leave its token with more than is
    /// still free. The same tag for the same mailbox stores nothing twice while the envelope waits, across restarts, and for
    /// the repeats' time after its acknowledgement, in memory; of what was purged unread nothing is remembered. A `once` token
    /// keeps its first tag until it expires.
    ///
    /// What comes by a `knock` token counts against a room of its own instead: so many of one token, which is forgotten at a
    /// restart, and so many in all, which is not. It takes one of the token's uses when the first of its envelopes is stored.
    ///
    /// A seq becomes visible only after all lower ones of its mailbox.
    async fn enqueue(&self, send: Enqueue) -> Result<Enqueued>;

    /// What waits above `after`, at most `limit` envelopes and `bytes_max` of bodies, but one at least where one waits. A row
    /// whose checksum fails is never returned: it is removed, counted, and stands in the gap.
    async fn waiting(&self, device: DeviceId, after: Seq, limit: u64, bytes_max: u64, now: u64) -> Result<Waiting>;

    /// Removes the named ones and everything up to and including `through`; their bytes are overwritten. An acknowledgement
    /// whose highest seq reaches a gap's `through` ends the gap. When it returns, none of them is ever returned again.
    async fn ack(&self, device: DeviceId, seqs: Vec<Seq>, through: Option<Seq>, now: u64) -> Result<Acked>;
}

/// Prekeys.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Puts a device's prekey in the place of the one before; false when there is no such device.
    async fn put_prekey(&self, key: Prekey) -> Result<bool>;

    /// An account's current list and the prekeys of its devices that are good at `now`, by device ascending.
    async fn prekeys(&self, account: AccountId, now: u64) -> Result<Option<(SignedList, Vec<Prekey>)>>;
}

/// What came of a handle that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlePut {
    /// It is the account's, with this record.
    Done,
    /// It is another account's, or held for one.
    Taken,
    /// The one before could not be held: as many are, the first of them until then.
    TooMany {
        /// Unix seconds.
        until: u64,
    },
}

/// What came of giving a handle up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleReleased {
    /// It is held now.
    Released,
    /// There was none.
    None,
    /// As many are held as may be, the first of them until then.
    TooMany {
        /// Unix seconds.
        until: u64,
    },
}

/// Handles: an account has one or none, and some may be held for it.
#[async_trait]
pub trait Handles: Send + Sync {
    /// Makes a handle the account's, with a record in the place of any before. The account's other one, where it has one, is
    /// held for it until `held_until`, and its record is gone. At most [`HELD_MAX`](crate::protocol::handles::HELD_MAX) are
    /// held for an account. Of two accounts that put one hash, one gets it.
    async fn put_handle(
        &self,
        account: AccountId,
        hash: HandleHash,
        record: Vec<u8>,
        held_until: u64,
        now: u64,
    ) -> Result<HandlePut>;

    /// Gives the account's handle up; it is held until `held_until`.
    async fn release_handle(&self, account: AccountId, held_until: u64, now: u64) -> Result<HandleReleased>;

    /// The record of a handle that somebody has; a held one is nobody's.
    async fn handle(&self, hash: HandleHash) -> Result<Option<Vec<u8>>>;
}

/// What a slot must be for a write to happen: compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotCondition {
    /// There is none yet.
    New,
    /// It is of this version.
    Version(u64),
}

/// What came of a write to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotPut {
    /// It is there, of this version.
    Done(u64),
    /// It is of another version than the condition says, there where none should be, or not there.
    Changed,
    /// The account has as many as it may.
    TooMany,
}

/// Slots: an account's small records of its own, opaque here. One account's slot is never another's, whatever its id.
#[async_trait]
pub trait Slots: Send + Sync {
    /// An account's slot: its version and content.
    async fn slot(&self, account: AccountId, slot: SlotId) -> Result<Option<(u64, Vec<u8>)>>;

    /// Puts content in the place of the one before, which is overwritten, where the condition holds: a new slot gets version 1,
    /// for an account that has fewer than `slots_max`; another the next version. Of several writes with one condition one is
    /// done, and the others find it changed.
    async fn put_slot(
        &self,
        account: AccountId,
        slot: SlotId,
        condition: SlotCondition,
        content: Vec<u8>,
        slots_max: u64,
    ) -> Result<SlotPut>;

    /// Deletes a slot; false when there is none.
    async fn delete_slot(&self, account: AccountId, slot: SlotId) -> Result<bool>;
}

/// A pass as the operator sees it; the code itself is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassItem {
    /// `SHA-256(T(/pass, code))`.
    pub hash: Hash,
    /// Registrations left.
    pub uses_left: u64,
    /// Until when.
    pub expires_at: u64,
}

/// Passes.
#[async_trait]
pub trait Passes: Send + Sync {
    /// Adds a pass; the same hash again changes nothing.
    async fn add_pass(&self, pass: PassItem) -> Result<()>;

    /// The passes that are good at `now`.
    async fn passes(&self, now: u64) -> Result<Vec<PassItem>>;

    /// Deletes a pass; false when there is none.
    async fn revoke_pass(&self, hash: Hash) -> Result<bool>;
}

/// What the operator has to say to everybody, as it is kept: unsigned, because whoever reads it has the relay key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptNotice {
    /// As the operator wrote it.
    pub text: String,
    /// When.
    pub set_at: u64,
}

/// The operator's notice: one, or none.
#[async_trait]
pub trait Notices: Send + Sync {
    /// Puts a notice in the place of the one before, or takes that back; true when there was one before.
    async fn put_notice(&self, notice: Option<KeptNotice>) -> Result<bool>;

    /// The notice that stands.
    async fn notice(&self) -> Result<Option<KeptNotice>>;
}

/// One turn of a purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeSlice {
    /// Envelopes removed.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Expired tokens, passes and held handles removed, and accounts that nobody visited.
    pub others: u64,
    /// Nothing is left to purge.
    pub done: bool,
}

/// What a purge up to `cutoff` would remove, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgePreview {
    /// Envelopes whose expiry is not after the cutoff.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// All envelopes waiting.
    pub waiting: u64,
    /// Length of the database file.
    pub database_bytes: u64,
}

/// Totals; never anything about one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Accounts.
    pub accounts: u64,
    /// Devices.
    pub devices: u64,
    /// Delivery tokens.
    pub tokens: u64,
    /// Envelopes waiting, expired ones too until they are purged.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub envelope_bytes: u64,
    /// The earliest expiry that waits.
    pub first_expires_at: Option<u64>,
    /// Length of the database file.
    pub database_bytes: u64,
    /// Length of its log.
    pub log_bytes: u64,
    /// Bytes of the file that are free for reuse.
    pub free_bytes: u64,
    /// Rows ever found damaged.
    pub damaged: u64,
    /// When the last purge ended.
    pub purged_at: Option<u64>,
}

/// What one column reveals to somebody who takes the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnEntry {
    /// The column.
    pub column: String,
    /// What can be read off it.
    pub reveals: String,
    /// For how long it can.
    pub kept: String,
}

/// A table, what it reveals, and some rows of it, for `explain-db`: text as it is, blobs as `length` and the first bytes in
/// hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// The table.
    pub table: String,
    /// What its being there reveals.
    pub reveals: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// What each of them reveals, in the same order.
    pub ledger: Vec<ColumnEntry>,
    /// How many rows it has.
    pub count: u64,
    /// The first of them.
    pub rows: Vec<Vec<String>>,
}

/// What the operator and the relay's own jobs need.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Removes at most 128 rows, or as many as fit in 1 ms: envelopes with an expiry not after `cutoff`, tokens, passes
    /// and held handles expired at `now`, accounts none of whose devices came since `unseen_week`. What was unread enters its
    /// mailbox's gap, and is gone for readers before its row is. Where others sent meanwhile it returns after a rest, which is theirs.
    /// Ask with the same `cutoff` until it is done.
    async fn purge_slice(&self, cutoff: u64, unseen_week: u64, now: u64) -> Result<PurgeSlice>;

    /// What a purge up to `cutoff` would remove; as long as that, and no longer, is what it takes.
    async fn purge_preview(&self, cutoff: u64) -> Result<PurgePreview>;

    /// Whether more than half of what waits has an expiry not after `cutoff`, and more than `least` envelopes wait; told without
    /// looking at any of them.
    async fn mostly_expired(&self, cutoff: u64, least: u64) -> Result<bool>;

    /// Notes that a purge ended, gives free space back to the file system in slices, and truncates the log.
    async fn purged(&self, now: u64) -> Result<()>;

    /// Totals.
    async fn totals(&self) -> Result<Totals>;

    /// The latest time the store was told of, and notes `now` when it is later: the relay's clock never goes back past it.
    async fn clock_mark(&self, now: u64) -> Result<u64>;

    /// A transaction through the writer's queue, for `/readyz`.
    async fn probe(&self) -> Result<()>;

    /// At most `limit` rows of every table, as they lie there.
    async fn rows(&self, limit: u64) -> Result<Vec<TableRows>>;
}
