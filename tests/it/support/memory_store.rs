//! The store as a model: maps and a lock, nothing on disk. What it does is what the trait's words say, read as plainly as
//! can be; the contract suite holds it and SQLite to the same tests, and the property tests compare the two.

mod roster;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock};

use async_trait::async_trait;
use restante::protocol::accounts::{AccountReply, DeviceItem};
use restante::protocol::envelopes::{Envelope, Gap, ListName};
use restante::protocol::handles::{HELD_MAX, HandleItem};
use restante::protocol::keys::Prekey;
use restante::protocol::slots::SlotItem;
use restante::protocol::time::WEEK;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::protocol::{AccountId, Bytes, DeviceId, HandleHash, Hash, SealingKey, Seq, SignedList, SlotId, TokenHash};
use restante::store::{
    Accounts, Acked, CommitListener, DeviceRecord, Enqueue, Enqueued, Envelopes, Factors, HandlePut, HandleReleased, Handles,
    KeptFactor, KeptNotice, Keys, LOCKED_SECRET_LENGTH, NewEnvelope, NewList, Notices, PassItem, Passes, PurgePreview,
    PurgeSlice, Registered, Replaced, Result, Route, RouteDevice, SlotCondition, SlotPut, Slots, Store, StoreError, Successor,
    TableRows, TokenAdded, TokenPage, Tokens, Totals, Upkeep, Waiting,
};

/// A store that forgets everything with the process.
pub(crate) struct MemoryStore {
    limits: MemoryLimits,
    state: Mutex<State>,
    listener: OnceLock<CommitListener>,
}

/// The bounds that a store is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryLimits {
    pub(crate) mailbox_envelopes_max: u64,
    pub(crate) mailbox_bytes_max: u64,
    pub(crate) knocks_token_max: u64,
    pub(crate) knocks_max: u64,
    pub(crate) repeats_secs: u64,
    pub(crate) repeats_max: usize,
}

#[derive(Default, Clone)]
struct State {
    closed: bool,
    accounts: BTreeMap<AccountId, NewList>,
    suspended: BTreeSet<AccountId>,
    devices: BTreeMap<DeviceId, Device>,
    removed: BTreeSet<DeviceId>,
    factors: BTreeMap<AccountId, (KeptFactor, BTreeSet<Hash>)>,
    tokens: BTreeMap<TokenHash, Token>,
    slots: BTreeMap<(AccountId, SlotId), (u64, Vec<u8>)>,
    passes: BTreeMap<Hash, PassItem>,
    handles: BTreeMap<HandleHash, Handle>,
    notice: Option<KeptNotice>,
    repeats: VecDeque<(DeviceId, [u8; 16], u64)>,
    clock: u64,
    purged_at: Option<u64>,
}

#[derive(Clone)]
struct Device {
    account: AccountId,
    sealing_key: SealingKey,
    seen_week: u64,
    prekey: Option<Prekey>,
    next_seq: u64,
    gap: Option<Gap>,
    waiting: BTreeMap<u64, Held>,
}

#[derive(Clone)]
struct Held {
    envelope: NewEnvelope,
    tag: [u8; 16],
    token: Option<TokenHash>,
    knock: bool,
}

#[derive(Clone)]
struct Token {
    account: AccountId,
    item: TokenItem,
    used_tag: Option<[u8; 16]>,
    taken: u64,
}

#[derive(Clone)]
struct Handle {
    account: AccountId,
    record: Vec<u8>,
    held_until: Option<u64>,
}

impl MemoryStore {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        Self { limits, state: Mutex::default(), listener: OnceLock::new() }
    }

    /// As after a restart: what is meant to live in memory only is gone.
    pub(crate) fn reopened(&self) -> Self {
        let mut state = self.state.lock().expect("no test panics in here").clone();
        state.closed = false;
        state.repeats.clear();
        for held in state.devices.values_mut().flat_map(|device| device.waiting.values_mut()) {
            held.token = None;
        }
        Self { limits: self.limits, state: Mutex::new(state), listener: OnceLock::new() }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().expect("no test panics in here");
        if state.closed { Err(StoreError::Closing) } else { Ok(state) }
    }

    fn wake(&self, devices: &[DeviceId]) {
        if let Some(listener) = self.listener.get().filter(|_| !devices.is_empty()) {
            listener(devices);
        }
    }

    fn has_room(&self, device: &Device, token: &TokenHash, envelopes_max: Option<u64>, bytes: u64) -> bool {
        let mails = || device.waiting.values().filter(|held| !held.knock);
        let of_token = || mails().filter(|held| held.token == Some(*token));
        let size = |held: &Held| held.envelope.body.len() as u64;
        let (count, own_count) = (mails().count() as u64 + 1, of_token().count() as u64 + 1);
        let total = mails().map(size).sum::<u64>() + bytes;
        let own_total = of_token().map(size).sum::<u64>() + bytes;
        let (count_max, bytes_max) = (self.limits.mailbox_envelopes_max, self.limits.mailbox_bytes_max);
        count <= count_max
            && total <= bytes_max
            && own_count <= envelopes_max.unwrap_or(u64::MAX)
            && own_count <= count_max - count
            && own_total <= bytes_max - total
    }

    fn has_room_to_knock(&self, device: &Device, token: &TokenHash, envelopes_max: Option<u64>) -> bool {
        let knocks = || device.waiting.values().filter(|held| held.knock);
        let of_token = knocks().filter(|held| held.token == Some(*token)).count() as u64;
        (knocks().count() as u64) < self.limits.knocks_max
            && of_token < self.limits.knocks_token_max
            && of_token < envelopes_max.unwrap_or(u64::MAX)
    }

    fn remember(&self, state: &mut State, device: DeviceId, tag: [u8; 16], now: u64) {
        state.repeats.push_back((device, tag, now + self.limits.repeats_secs));
        while state.repeats.len() > self.limits.repeats_max {
            state.repeats.pop_front();
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn on_commit(&self, listener: CommitListener) {
        let _ = self.listener.set(listener);
    }

    async fn close(&self) {
        self.state.lock().expect("no test panics in here").closed = true;
    }
}

impl State {
    fn is_taken(&self, device: &DeviceId) -> bool {
        self.devices.contains_key(device) || self.removed.contains(device)
    }

    fn add_devices(&mut self, new: &NewList, now: u64) {
        for entry in &new.list.entries {
            let fresh = Device {
                account: new.list.account,
                sealing_key: entry.sealing_key,
                seen_week: now / WEEK,
                prekey: None,
                next_seq: 1,
                gap: None,
                waiting: BTreeMap::new(),
            };
            self.devices.entry(entry.device).or_insert(fresh).sealing_key = entry.sealing_key;
        }
    }

    fn remove(&mut self, device: &DeviceId) {
        self.devices.remove(device);
        self.removed.insert(*device);
    }

    fn delete_account(&mut self, account: &AccountId) -> Vec<DeviceId> {
        let Some(gone) = self.accounts.remove(account) else { return Vec::new() };
        self.suspended.remove(account);
        self.tokens.retain(|_, token| token.account != *account);
        self.slots.retain(|(of, _), _| of != account);
        self.handles.retain(|_, handle| handle.account != *account);
        self.factors.remove(account);
        let devices: Vec<DeviceId> = gone.list.entries.iter().map(|entry| entry.device).collect();
        devices.iter().for_each(|device| self.remove(device));
        devices
    }

    /// The tokens that anybody still sees.
    fn live<'a>(&'a self, account: &'a AccountId, now: u64) -> impl Iterator<Item = &'a Token> {
        self.tokens.values().filter(move |token| token.account == *account && token.is_live(now))
    }
}

impl Token {
    fn is_live(&self, now: u64) -> bool {
        self.item.expires_at.is_none_or(|expires_at| expires_at > now)
    }

    fn shown(&self) -> TokenItem {
        let uses_left = self.item.uses_left.map(|uses| uses - self.taken);
        TokenItem { used: self.used_tag.is_some(), uses_left, ..self.item.clone() }
    }
}

fn name(list: &NewList) -> ListName {
    ListName { epoch: list.list.epoch, version: list.list.version }
}

#[async_trait]
impl Accounts for MemoryStore {
    async fn register(&self, new: NewList, pass: Option<Hash>, pass_needed: bool, now: u64) -> Result<Registered> {
        let mut state = self.open()?;
        if let Some(known) = state.accounts.get(&new.list.account) {
            let same = known.signed.list == new.signed.list;
            return Ok(if same { Registered::Repeated } else { Registered::AccountExists });
        }
        let good = |pass: &PassItem| pass.uses_left > 0 && pass.expires_at > now;
        let pass = pass.filter(|pass| state.passes.get(pass).is_some_and(good));
        if pass_needed && pass.is_none() {
            return Ok(Registered::PassRefused);
        }
        if new.list.entries.iter().any(|entry| state.is_taken(&entry.device)) {
            return Ok(Registered::DeviceTaken);
        }
        if let Some(pass) = pass.and_then(|pass| state.passes.get_mut(&pass)) {
            pass.uses_left -= 1;
        }
        state.add_devices(&new, now);
        state.accounts.insert(new.list.account, new);
        Ok(Registered::Created)
    }

    async fn replace_list(&self, new: NewList, rule: Successor, now: u64) -> Result<Replaced> {
        let mut state = self.open()?;
        let Some(current) = state.accounts.get(&new.list.account).cloned() else { return Ok(Replaced::NoSuchAccount) };
        if current.signed.list == new.signed.list {
            if rule == Successor::HigherEpoch {
                state.factors.remove(&new.list.account);
            }
            return Ok(Replaced::Done { removed: Vec::new() });
        }
        let next = new.list.epoch == current.list.epoch
            && new.list.version == current.list.version + 1
            && new.list.previous == current.signed.hash();
        if !(new.list.epoch > current.list.epoch || (next && rule == Successor::Next)) {
            return Ok(Replaced::Conflict(current.signed));
        }
        let is_new = |device: &DeviceId| current.list.entry(device).is_none();
        if new.list.entries.iter().any(|entry| is_new(&entry.device) && state.is_taken(&entry.device)) {
            return Ok(Replaced::DeviceTaken);
        }
        if rule == Successor::HigherEpoch {
            state.factors.remove(&new.list.account);
        }
        let before = current.list.entries.iter().map(|entry| entry.device);
        let removed: Vec<DeviceId> = before.filter(|device| new.list.entry(device).is_none()).collect();
        removed.iter().for_each(|device| state.remove(device));
        state.add_devices(&new, now);
        state.accounts.insert(new.list.account, new);
        Ok(Replaced::Done { removed })
    }

    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>> {
        let state = self.open()?;
        let found = state.devices.get(&device);
        Ok(found.map(|found| DeviceRecord {
            account: found.account,
            sealing_key: found.sealing_key,
            suspended: state.suspended.contains(&found.account),
        }))
    }

    async fn visited(&self, device: DeviceId, week: u64) -> Result<()> {
        if let Some(device) = self.open()?.devices.get_mut(&device) {
            device.seen_week = device.seen_week.max(week);
        }
        Ok(())
    }

    async fn account(&self, account: AccountId, now: u64) -> Result<Option<AccountReply>> {
        let state = self.open()?;
        let Some(current) = state.accounts.get(&account) else { return Ok(None) };
        let devices = state.devices.iter().filter(|(_, device)| device.account == account).map(|(id, device)| {
            let live = || device.waiting.values().filter(|held| held.envelope.expires_at > now);
            DeviceItem {
                device: *id,
                seen_week: device.seen_week,
                envelopes: live().count() as u64,
                bytes: live().map(|held| held.envelope.body.len() as u64).sum(),
                prekey_expires_at: device.prekey.as_ref().map(|key| key.expires_at).filter(|expires_at| *expires_at > now),
            }
        });
        let tokens = state.live(&account, now).count() as u64;
        let own = state.slots.iter().filter(|((of, _), _)| *of == account);
        let item = |((_, slot), (version, content)): (&(AccountId, SlotId), &(u64, Vec<u8>))| SlotItem {
            slot: *slot,
            version: *version,
            bytes: content.len() as u64,
        };
        let (devices, slots) = (devices.collect(), own.map(item).collect());
        let handles = state.handles.iter().filter(|(_, handle)| handle.account == account && handle.is_kept(now));
        let handles = handles.map(|(hash, handle)| HandleItem { hash: *hash, held_until: handle.held_until }).collect();
        let factor = state.factors.get(&account);
        Ok(Some(AccountReply {
            account,
            device_list: current.signed.clone(),
            devices,
            tokens,
            totp: factor.is_some(),
            recovery_codes: factor.map_or(0, |(_, codes)| codes.len() as u64),
            handles,
            slots,
        }))
    }

    async fn delete_account(&self, account: AccountId) -> Result<Vec<DeviceId>> {
        Ok(self.open()?.delete_account(&account))
    }
}

#[async_trait]
impl Factors for MemoryStore {
    async fn put_factor(
        &self,
        account: AccountId,
        before: Option<[u8; LOCKED_SECRET_LENGTH]>,
        factor: KeptFactor,
        recovery_codes: Vec<Hash>,
    ) -> Result<bool> {
        let mut state = self.open()?;
        let current = state.factors.get(&account).map(|(current, _)| current.secret);
        let put = state.accounts.contains_key(&account) && current == before;
        if put {
            state.factors.insert(account, (factor, recovery_codes.into_iter().collect()));
        }
        Ok(put)
    }

    async fn factor(&self, account: AccountId) -> Result<Option<KeptFactor>> {
        Ok(self.open()?.factors.get(&account).map(|(factor, _)| factor.clone()))
    }

    async fn use_step(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH], step: u64) -> Result<bool> {
        let mut state = self.open()?;
        let Some((factor, _)) = state.factors.get_mut(&account) else { return Ok(false) };
        let good = factor.secret == secret && step > factor.step;
        if good {
            factor.step = step;
        }
        Ok(good)
    }

    async fn use_recovery_code(&self, account: AccountId, hash: Hash) -> Result<bool> {
        Ok(self.open()?.factors.get_mut(&account).is_some_and(|(_, codes)| codes.remove(&hash)))
    }

    async fn remove_factor(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH]) -> Result<bool> {
        let mut state = self.open()?;
        let is_on = state.factors.get(&account).is_some_and(|(current, _)| current.secret == secret);
        Ok(is_on && state.factors.remove(&account).is_some())
    }

    async fn any_factor(&self) -> Result<Option<(AccountId, [u8; LOCKED_SECRET_LENGTH])>> {
        Ok(self.open()?.factors.iter().next().map(|(account, (factor, _))| (*account, factor.secret)))
    }
}

#[async_trait]
impl Tokens for MemoryStore {
    async fn add_token(&self, account: AccountId, item: TokenItem, tokens_max: u64, now: u64) -> Result<TokenAdded> {
        let mut state = self.open()?;
        if let Some(known) = state.tokens.get(&item.hash).filter(|known| known.is_live(now)) {
            let same = known.account == account && TokenItem { used: item.used, ..known.item.clone() } == item;
            return Ok(if same { TokenAdded::Added } else { TokenAdded::Taken });
        }
        if !state.accounts.contains_key(&account) || state.live(&account, now).count() as u64 >= tokens_max {
            return Ok(TokenAdded::TooMany);
        }
        state.tokens.insert(item.hash, Token { account, item, used_tag: None, taken: 0 });
        Ok(TokenAdded::Added)
    }

    async fn tokens(&self, account: AccountId, after: Option<TokenHash>, limit: u64, now: u64) -> Result<TokenPage> {
        let state = self.open()?;
        let above = state.live(&account, now).filter(|token| after.is_none_or(|after| token.item.hash > after));
        let mut tokens: Vec<TokenItem> = above.map(Token::shown).collect();
        let more = tokens.len() as u64 > limit;
        tokens.truncate(limit as usize);
        Ok(TokenPage { tokens, more })
    }

    async fn revoke_tokens(&self, account: AccountId, hashes: Vec<TokenHash>) -> Result<u64> {
        let mut state = self.open()?;
        let before = state.tokens.len();
        state.tokens.retain(|hash, token| token.account != account || !hashes.contains(hash));
        Ok((before - state.tokens.len()) as u64)
    }

    async fn route(&self, token: TokenHash, now: u64) -> Result<Option<Route>> {
        let state = self.open()?;
        let Some(token) = state.tokens.get(&token).filter(|token| token.is_live(now)) else { return Ok(None) };
        let Some(current) = state.accounts.get(&token.account) else { return Ok(None) };
        let devices = state.devices.iter().filter(|(_, device)| device.account == token.account);
        let devices = devices.map(|(id, device)| RouteDevice {
            device: *id,
            sealing_key: device.sealing_key,
            seen_week: device.seen_week,
        });
        let devices = devices.collect();
        Ok(Some(Route { account: token.account, kind: token.item.kind, list: name(current), devices }))
    }
}

#[async_trait]
impl Envelopes for MemoryStore {
    async fn enqueue(&self, send: Enqueue) -> Result<Enqueued> {
        let mut guard = self.open()?;
        let state = &mut *guard;
        let Some(token) = state.tokens.get_mut(&send.token).filter(|token| token.is_live(send.now)) else {
            return Ok(Enqueued::NoSuchToken);
        };
        let once = token.item.kind == TokenKind::Once;
        if once && token.used_tag.is_some_and(|tag| tag != send.once_tag) {
            return Ok(Enqueued::NoSuchToken);
        }
        let knock = token.item.kind == TokenKind::Knock;
        let repeats = |device: &DeviceId| {
            let waits = state.devices.get(device).is_some_and(|of| of.waiting.values().any(|held| held.tag == send.repeat_tag));
            waits || state.repeats.iter().any(|(of, tag, until)| of == device && *tag == send.repeat_tag && send.now < *until)
        };
        let repeated = send.envelopes.iter().any(|envelope| repeats(&envelope.device));
        if state.accounts.get(&token.account).map(name) != Some(send.list) {
            return Ok(Enqueued::ListChanged);
        }
        if state.suspended.contains(&token.account) {
            return Ok(Enqueued::AllFull);
        }
        let theirs =
            |envelope: &NewEnvelope| state.devices.get(&envelope.device).is_some_and(|device| device.account == token.account);
        if !send.envelopes.iter().all(theirs) {
            return Ok(Enqueued::ListChanged);
        }
        if knock && !repeated && token.item.uses_left.is_some_and(|uses| uses == token.taken) {
            return Ok(Enqueued::NoSuchToken);
        }
        let (mut full, mut woken) = (Vec::new(), Vec::new());
        for envelope in &send.envelopes {
            let device = state.devices.get_mut(&envelope.device).expect("it was just found");
            let known = |(of, tag, until): &(DeviceId, [u8; 16], u64)| {
                *of == envelope.device && *tag == send.repeat_tag && send.now < *until
            };
            if state.repeats.iter().any(known) || device.waiting.values().any(|held| held.tag == send.repeat_tag) {
                continue;
            }
            let has_room = match knock {
                true => self.has_room_to_knock(device, &send.token, token.item.envelopes_max),
                false => self.has_room(device, &send.token, token.item.envelopes_max, envelope.body.len() as u64),
            };
            if !has_room {
                full.push(envelope.device);
                continue;
            }
            let held = Held { envelope: envelope.clone(), tag: send.repeat_tag, token: Some(send.token), knock };
            device.waiting.insert(device.next_seq, held);
            device.next_seq += 1;
            woken.push(envelope.device);
        }
        if !full.is_empty() && full.len() == send.envelopes.len() {
            return Ok(Enqueued::AllFull);
        }
        token.taken += u64::from(knock && !repeated);
        if once {
            token.used_tag = Some(send.once_tag);
        }
        drop(guard);
        self.wake(&woken);
        Ok(Enqueued::Queued { full })
    }

    async fn waiting(&self, device: DeviceId, after: Seq, limit: u64, bytes_max: u64, now: u64) -> Result<Waiting> {
        let state = self.open()?;
        let mut page = Waiting { envelopes: Vec::new(), drained: true, gap: None };
        let Some(device) = state.devices.get(&device) else { return Ok(page) };
        page.gap = device.gap;
        let mut bytes = 0;
        for (seq, held) in device.waiting.range(after.0 + 1..).filter(|(_, held)| held.envelope.expires_at > now) {
            let NewEnvelope { expires_at, wrap, body, .. } = &held.envelope;
            let over = !page.envelopes.is_empty() && bytes + body.len() as u64 > bytes_max;
            if over || page.envelopes.len() as u64 >= limit {
                page.drained = false;
                break;
            }
            bytes += body.len() as u64;
            let (wrap, body) = (Bytes(wrap.clone()), Bytes(body.clone()));
            page.envelopes.push(Envelope { seq: Seq(*seq), expires_at: *expires_at, wrap, body });
        }
        Ok(page)
    }

    async fn ack(&self, device: DeviceId, seqs: Vec<Seq>, through: Option<Seq>, now: u64) -> Result<Acked> {
        let mut state = self.open()?;
        let Some(mailbox) = state.devices.get_mut(&device) else { return Ok(Acked::Removed(0)) };
        let highest = seqs.iter().copied().chain(through).max().unwrap_or(Seq(0));
        if highest.0 >= mailbox.next_seq {
            return Ok(Acked::SeqNotGiven);
        }
        let named = |seq: &u64| seqs.contains(&Seq(*seq)) || through.is_some_and(|through| *seq <= through.0);
        let gone: Vec<u64> = mailbox.waiting.keys().copied().filter(named).collect();
        let tags: Vec<_> = gone.iter().filter_map(|seq| mailbox.waiting.remove(seq)).map(|held| held.tag).collect();
        mailbox.gap = mailbox.gap.filter(|gap| highest < gap.through);
        for tag in tags {
            self.remember(&mut state, device, tag, now);
        }
        Ok(Acked::Removed(gone.len() as u64))
    }
}

#[async_trait]
impl Keys for MemoryStore {
    async fn put_prekey(&self, key: Prekey) -> Result<bool> {
        let mut state = self.open()?;
        let Some(device) = state.devices.get_mut(&key.device) else { return Ok(false) };
        device.prekey = Some(key);
        Ok(true)
    }

    async fn prekeys(&self, account: AccountId, now: u64) -> Result<Option<(SignedList, Vec<Prekey>)>> {
        let state = self.open()?;
        let Some(current) = state.accounts.get(&account) else { return Ok(None) };
        let own = state.devices.values().filter(|device| device.account == account);
        let keys = own.filter_map(|device| device.prekey.clone()).filter(|key| key.expires_at > now);
        Ok(Some((current.signed.clone(), keys.collect())))
    }
}

impl Handle {
    fn is_kept(&self, now: u64) -> bool {
        self.held_until.is_none_or(|until| until > now)
    }
}

impl State {
    /// The handle that the account has; and whether it could be held, or until when not.
    fn current(&self, account: AccountId, but: Option<HandleHash>, now: u64) -> (Option<HandleHash>, Option<u64>) {
        let own = || self.handles.iter().filter(|(_, handle)| handle.account == account);
        let current = own().find(|(_, handle)| handle.held_until.is_none()).map(|(hash, _)| *hash);
        let held = own().filter(|(hash, handle)| Some(**hash) != but && handle.is_kept(now));
        let held: Vec<u64> = held.filter_map(|(_, handle)| handle.held_until).collect();
        (current, held.iter().min().copied().filter(|_| held.len() as u64 >= HELD_MAX))
    }

    fn hold(&mut self, hash: HandleHash, until: u64) {
        let handle = self.handles.get_mut(&hash).expect("it was just found");
        (handle.held_until, handle.record) = (Some(until), Vec::new());
    }
}

#[async_trait]
impl Handles for MemoryStore {
    async fn put_handle(
        &self,
        account: AccountId,
        hash: HandleHash,
        record: Vec<u8>,
        held_until: u64,
        now: u64,
    ) -> Result<HandlePut> {
        let mut state = self.open()?;
        let others = |known: &Handle| known.account != account && known.is_kept(now);
        if !state.accounts.contains_key(&account) || state.handles.get(&hash).is_some_and(others) {
            return Ok(HandlePut::Taken);
        }
        let (current, until) = state.current(account, Some(hash), now);
        if let Some(before) = current.filter(|before| *before != hash) {
            if let Some(until) = until {
                return Ok(HandlePut::TooMany { until });
            }
            state.hold(before, held_until);
        }
        state.handles.insert(hash, Handle { account, record, held_until: None });
        Ok(HandlePut::Done)
    }

    async fn release_handle(&self, account: AccountId, held_until: u64, now: u64) -> Result<HandleReleased> {
        let mut state = self.open()?;
        Ok(match state.current(account, None, now) {
            (None, _) => HandleReleased::None,
            (Some(_), Some(until)) => HandleReleased::TooMany { until },
            (Some(current), None) => {
                state.hold(current, held_until);
                HandleReleased::Released
            }
        })
    }

    async fn handle(&self, hash: HandleHash) -> Result<Option<Vec<u8>>> {
        let state = self.open()?;
        Ok(state.handles.get(&hash).filter(|handle| handle.held_until.is_none()).map(|handle| handle.record.clone()))
    }
}

#[async_trait]
impl Slots for MemoryStore {
    async fn slot(&self, account: AccountId, slot: SlotId) -> Result<Option<(u64, Vec<u8>)>> {
        Ok(self.open()?.slots.get(&(account, slot)).cloned())
    }

    async fn put_slot(
        &self,
        account: AccountId,
        slot: SlotId,
        condition: SlotCondition,
        content: Vec<u8>,
        slots_max: u64,
    ) -> Result<SlotPut> {
        let mut state = self.open()?;
        let there = state.slots.get(&(account, slot)).map(|(version, _)| *version);
        let version = match (condition, there) {
            _ if !state.accounts.contains_key(&account) => return Ok(SlotPut::Changed),
            (SlotCondition::New, None) => {
                if state.slots.keys().filter(|(of, _)| *of == account).count() as u64 >= slots_max {
                    return Ok(SlotPut::TooMany);
                }
                1
            }
            (SlotCondition::Version(expected), Some(version)) if expected == version => version + 1,
            _ => return Ok(SlotPut::Changed),
        };
        state.slots.insert((account, slot), (version, content));
        Ok(SlotPut::Done(version))
    }

    async fn delete_slot(&self, account: AccountId, slot: SlotId) -> Result<bool> {
        Ok(self.open()?.slots.remove(&(account, slot)).is_some())
    }
}

#[async_trait]
impl Passes for MemoryStore {
    async fn add_pass(&self, pass: PassItem) -> Result<()> {
        self.open()?.passes.entry(pass.hash).or_insert(pass);
        Ok(())
    }

    async fn passes(&self, now: u64) -> Result<Vec<PassItem>> {
        let state = self.open()?;
        Ok(state.passes.values().filter(|pass| pass.uses_left > 0 && pass.expires_at > now).cloned().collect())
    }

    async fn revoke_pass(&self, hash: Hash) -> Result<bool> {
        Ok(self.open()?.passes.remove(&hash).is_some())
    }
}

#[async_trait]
impl Notices for MemoryStore {
    async fn put_notice(&self, notice: Option<KeptNotice>) -> Result<bool> {
        Ok(std::mem::replace(&mut self.open()?.notice, notice).is_some())
    }

    async fn notice(&self) -> Result<Option<KeptNotice>> {
        Ok(self.open()?.notice.clone())
    }
}

#[async_trait]
impl Upkeep for MemoryStore {
    async fn purge_slice(&self, cutoff: u64, unseen_week: u64, now: u64) -> Result<PurgeSlice> {
        let mut state = self.open()?;
        let (mut slice, mut woken) = (PurgeSlice { done: true, ..PurgeSlice::default() }, Vec::new());
        let expired = state.devices.iter().flat_map(|(id, device)| {
            device.waiting.iter().filter(|(_, held)| held.envelope.expires_at <= cutoff).map(|(seq, _)| (*id, *seq))
        });
        let mut expired: Vec<(DeviceId, u64)> = expired.collect();
        if expired.len() > SLICE_ROWS_MAX {
            expired.truncate(SLICE_ROWS_MAX);
            slice.done = false;
        }
        for (id, seq) in expired {
            let device = state.devices.get_mut(&id).expect("it was just found");
            let held = device.waiting.remove(&seq).expect("it was just found");
            let gap = device.gap.get_or_insert(Gap { count: 0, through: Seq(0) });
            *gap = Gap { count: gap.count + 1, through: gap.through.max(Seq(seq)) };
            slice.envelopes += 1;
            slice.bytes += held.envelope.body.len() as u64;
            woken.push(id);
        }
        if slice.done {
            let before = state.tokens.len() + state.passes.len() + state.accounts.len() + state.handles.len();
            state.tokens.retain(|_, token| token.is_live(now));
            state.passes.retain(|_, pass| pass.expires_at > now);
            state.handles.retain(|_, handle| handle.is_kept(now));
            let mut lost = 0;
            let accounts: Vec<AccountId> = state.accounts.keys().copied().collect();
            for account in accounts {
                let seen = |device: &Device| device.account == account && device.seen_week >= unseen_week;
                if !state.devices.values().any(seen) {
                    lost += state.tokens.values().filter(|token| token.account == account).count();
                    lost += state.handles.values().filter(|handle| handle.account == account).count();
                    state.delete_account(&account);
                }
            }
            let after = state.tokens.len() + state.passes.len() + state.accounts.len() + state.handles.len() + lost;
            slice.others = (before - after) as u64;
        }
        drop(state);
        self.wake(&woken);
        Ok(slice)
    }

    async fn purge_preview(&self, cutoff: u64) -> Result<PurgePreview> {
        let state = self.open()?;
        let mut preview = PurgePreview::default();
        for held in state.devices.values().flat_map(|device| device.waiting.values()) {
            preview.waiting += 1;
            if held.envelope.expires_at <= cutoff {
                preview.envelopes += 1;
                preview.bytes += held.envelope.body.len() as u64;
            }
        }
        Ok(preview)
    }

    async fn mostly_expired(&self, cutoff: u64, least: u64) -> Result<bool> {
        let PurgePreview { envelopes, waiting, .. } = self.purge_preview(cutoff).await?;
        Ok(waiting > least && envelopes > waiting / 2)
    }

    async fn purged(&self, now: u64) -> Result<()> {
        self.open()?.purged_at = Some(now);
        Ok(())
    }

    async fn totals(&self) -> Result<Totals> {
        let state = self.open()?;
        let waiting = || state.devices.values().flat_map(|device| device.waiting.values());
        Ok(Totals {
            accounts: state.accounts.len() as u64,
            devices: state.devices.len() as u64,
            tokens: state.tokens.len() as u64,
            envelopes: waiting().count() as u64,
            envelope_bytes: waiting().map(|held| held.envelope.body.len() as u64).sum(),
            first_expires_at: waiting().map(|held| held.envelope.expires_at).min(),
            purged_at: state.purged_at,
            ..Totals::default()
        })
    }

    async fn clock_mark(&self, now: u64) -> Result<u64> {
        let mut state = self.open()?;
        state.clock = state.clock.max(now);
        Ok(state.clock)
    }

    async fn probe(&self) -> Result<()> {
        self.open().map(|_| ())
    }

    async fn rows(&self, _: u64) -> Result<Vec<TableRows>> {
        Ok(Vec::new())
    }
}

const SLICE_ROWS_MAX: usize = 128;
