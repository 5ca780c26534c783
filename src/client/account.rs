//! The account's life at a relay: made, recovered from its words, deleted.

use std::path::Path;

use reqwest::Method;

use super::Client;
use super::clock::Clock;
use super::contacts::checked_name;
use super::error::{Error, Result};
use super::http::{Dial, Http, Lane};
use super::lists::{self, Maker};
use super::profile::Profile;
use super::secret::Secret;
use super::session::{Challenge, info, relay_key_changed};
use super::state::{PinnedRelay, State};
use super::sync::sync_key;
use super::words::Words;
use crate::crypto::sign::KeyPair;
use crate::protocol::accounts::{
    DeleteAccountRequest, DeletedReply, ListReply, RecoverRequest, RegisterReply, RegisterRequest,
};
use crate::protocol::info::Info;
use crate::protocol::tokens::{ListTokensReply, ListTokensRequest};
use crate::protocol::{AccountId, DeviceId, DeviceList, ErrorCode, Hash, RelayKey, SealingKey, Signature, SignedList};

/// What an account is made, or recovered, with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The relay.
    pub dial: Dial,
    /// The relay's fingerprint, or its whole key; without either the first answer is trusted and pinned.
    pub relay_key: Option<String>,
    /// The code that lets one register where registration is not open.
    pub pass: Option<String>,
    /// How the account calls itself to those it says hello to.
    pub name: Option<String>,
    /// The machine's clock, unless a test has another.
    pub clock: Clock,
}

impl Options {
    /// For a relay at `origin`, and nothing else said.
    pub fn new(origin: super::Origin) -> Self {
        let dial = Dial { origin, ca: None, plain: false };
        Self { dial, relay_key: None, pass: None, name: None, clock: Clock::system() }
    }
}

/// The keys of one device, fresh.
struct Keys {
    device: Secret,
    sealing: Secret,
    list: Secret,
}

impl Keys {
    fn generate() -> Self {
        Self { device: Secret::generate(), sealing: Secret::generate(), list: Secret::generate() }
    }

    fn device_id(&self) -> DeviceId {
        DeviceId(self.device.signing().public())
    }

    fn list(&self, account_key: &KeyPair, epoch: u32, previous: Hash) -> SignedList {
        let (list_key, device_key) = (self.list.signing(), self.device.signing());
        let sealing_key = SealingKey(self.sealing.exchange().public());
        Maker { account_key, list_key: &list_key, device_key: &device_key, sealing_key }.list(epoch, 1, previous)
    }
}

impl Client {
    /// Makes an account at a relay, and a profile for its first device. The words are the account: they are given here,
    /// once, and kept nowhere.
    pub async fn init(directory: &Path, options: Options) -> Result<(Self, Words)> {
        if let Some(name) = &options.name {
            checked_name(name)?;
        }
        let profile = Profile::create(directory)?;
        let _lock = profile.lock().await?;
        if profile.has_state() {
            return Err(profile.bad("there is an account in it already", "use another directory: --profile DIR"));
        }
        let http = Http::new(&options.dial)?;
        let said = info(&http).await?;
        let relay = pinned(&http, &options, &said)?;
        let account_key = KeyPair::generate();
        let keys = Keys::generate();
        let list = keys.list(&account_key, FIRST_EPOCH, Hash::ZERO);
        register(&http, &relay.key, &keys, &list, options.pass.as_deref()).await?;
        let mut state = fresh(relay, options.name.clone(), AccountId(account_key.public()), keys, list);
        state.hold_sync_key(sync_key(&account_key, FIRST_EPOCH));
        profile.save(&state)?;
        let mut client = Self::of(profile, state, http, options.clock);
        client.renew_prekey().await?;
        client.fill_pool().await?;
        client.take_notice_of(&said)?;
        Ok((client, Words::of(&account_key)))
    }

    /// Takes the account back with its words: a new device, and no other from now on. Contacts come back from what the
    /// account's devices kept together at the relay, and are told; where nothing is there, or nothing that opens, an empty
    /// profile begins without any.
    pub async fn recover(directory: &Path, options: Options, words: &Words) -> Result<Self> {
        let profile = Profile::create(directory)?;
        let _lock = profile.lock().await?;
        let account_key = words.key();
        let account = AccountId(account_key.public());
        let before = if profile.has_state() { Some(profile.load()?) } else { None };
        if before.as_ref().is_some_and(|before| before.account != account) {
            return Err(
                profile.bad("another account is in it than the words are of", "recover into an empty one: --profile DIR")
            );
        }
        let http = Http::new(&options.dial)?;
        let said = info(&http).await?;
        let relay = pinned(&http, &options, &said)?;
        if before.as_ref().is_some_and(|before| before.relay.key != relay.key) {
            return Err(profile.bad("it belongs to another relay", "recover into an empty one: --profile DIR"));
        }
        let keys = Keys::generate();
        let known = before.as_ref().map(|before| before.device_list.clone());
        let (list, epoch_before) = take_over(&http, &relay.key, &account_key, &keys, known, options.pass.as_deref()).await?;
        let name = options.name.clone();
        let mut state = match before {
            Some(before) => with_new_device(before, keys, list),
            None => fresh(relay, name, account, keys, list),
        };
        state.hold_sync_key(sync_key(&account_key, state.own_list().epoch));
        let empty = state.contacts.is_empty();
        profile.save(&state)?;
        let mut client = Self::of(profile, state, http, options.clock);
        client.renew_prekey().await?;
        let found = client.bring_back(|epoch| sync_key(&account_key, epoch), epoch_before).await?;
        if options.name.is_some() {
            client.state.name = options.name;
        }
        if found || empty {
            client.revoke_unknown_tokens().await?;
        }
        client.keep().await;
        client.state.tell_contacts(client.clock.now());
        client.fill_pool().await?;
        client.take_notice_of(&said)?;
        Ok(client)
    }

    /// Deletes the account at the relay, with everything that waits for it, and the profile's state. Nothing can be
    /// done with the client afterwards.
    pub async fn delete(&mut self) -> Result<()> {
        let _lock = self.enter().await?;
        let challenge = Challenge::of(&self.http, self.state.device_id(), &self.state.relay.key).await?;
        let proof = challenge.proof().delete_account(&self.state.account);
        let request =
            DeleteAccountRequest { signature: Signature(self.state.device_key().sign(&proof)), challenge: challenge.bytes };
        let _: DeletedReply = self.authed(Method::POST, "/v1/account/delete", Some(&request)).await?;
        self.profile.forget()
    }

    /// Whoever holds a token that a recovered profile does not know could not be told from anybody.
    async fn revoke_unknown_tokens(&mut self) -> Result<()> {
        let known = self.state.tokens_in_use();
        let mut request = ListTokensRequest::default();
        loop {
            let page: ListTokensReply = self.authed(Method::POST, "/v1/tokens/list", Some(&request)).await?;
            let unknown = page.tokens.iter().map(|token| token.hash).filter(|hash| !known.contains(hash));
            self.state.revoking.extend(unknown);
            request.after = page.tokens.last().map(|token| token.hash);
            if !page.more {
                return self.send_revocations().await;
            }
        }
    }
}

/// Checks that the relay is the one that was asked for, and remembers it.
pub(super) fn pinned(http: &Http, options: &Options, info: &Info) -> Result<PinnedRelay> {
    if let Some(expected) = &options.relay_key {
        let is_it = match expected.parse::<RelayKey>() {
            Ok(key) => key == info.relay_key,
            Err(_) => *expected == info.relay_key.fingerprint(),
        };
        if !is_it {
            return Err(relay_key_changed(http, expected, &info.relay_key));
        }
    }
    Ok(PinnedRelay {
        origin: http.origin().to_string(),
        key: info.relay_key,
        ca: options.dial.ca.clone(),
        plain: options.dial.plain,
        retention_secs: info.retention_secs,
    })
}

/// Registers; a lost reply is made good by asking again with the same list, which uses up nothing.
async fn register(http: &Http, relay: &RelayKey, keys: &Keys, list: &SignedList, pass: Option<&str>) -> Result<()> {
    let challenge = Challenge::of(http, keys.device_id(), relay).await?;
    let proof = challenge.proof().register(&list.hash());
    let request = RegisterRequest {
        device: keys.device_id(),
        device_list: list.clone(),
        signature: Signature(keys.device.signing().sign(&proof)),
        challenge: challenge.bytes,
        pass: pass.map(str::to_string),
    };
    let _: RegisterReply = http.post(Lane::Session(None), "/v1/accounts", &request).await?;
    Ok(())
}

/// Puts a list with one new device in the place of whatever stands at the relay. Where nothing is known of that, a first
/// try in the first epoch makes the relay show it.
async fn take_over(
    http: &Http,
    relay: &RelayKey,
    account_key: &KeyPair,
    keys: &Keys,
    known: Option<SignedList>,
    pass: Option<&str>,
) -> Result<(SignedList, Option<u32>)> {
    let account = AccountId(account_key.public());
    let mut current = known;
    for _ in 0..TAKE_OVERS_MAX {
        let before = current.as_ref().map(|list| Ok((lists::verify(list)?.epoch, list.hash()))).transpose()?;
        let (epoch, previous) = before.map_or((FIRST_EPOCH, Hash::ZERO), |(epoch, hash)| (epoch.saturating_add(1), hash));
        let epoch_before = before.map(|(epoch, _)| epoch);
        let list = keys.list(account_key, epoch, previous);
        let challenge = Challenge::of(http, keys.device_id(), relay).await?;
        let proof = challenge.proof().recover(&account, &list.hash());
        let request = RecoverRequest {
            device: keys.device_id(),
            device_list: list.clone(),
            account_signature: Signature(account_key.sign(&proof)),
            challenge: challenge.bytes,
        };
        let answer: Result<ListReply> = http.post(Lane::Session(None), "/v1/account/recover", &request).await;
        match answer {
            Ok(_) => return Ok((list, epoch_before)),
            Err(Error::Refused(problem)) if problem.code == ErrorCode::NoSuchAccount => {
                register(http, relay, keys, &list, pass).await?;
                return Ok((list, None));
            }
            Err(Error::Refused(problem)) if problem.code == ErrorCode::DeviceListConflict => {
                let shown = problem.device_list.ok_or(Error::Untrue("the relay names a conflict and shows no list"))?;
                if lists::verify(&shown)?.account != account {
                    return Err(Error::Untrue("the relay shows another account's device list"));
                }
                // A lost reply: the list is in place.
                if shown == list {
                    return Ok((list, epoch_before));
                }
                current = Some(shown);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::asked("the account's device list changes while it is being recovered", "try again"))
}

/// A device that belongs to no account yet; the list and its key are what it waits for.
pub(super) fn waiting(relay: PinnedRelay, account: AccountId) -> State {
    fresh(relay, None, account, Keys::generate(), lists::none())
}

fn fresh(relay: PinnedRelay, name: Option<String>, account: AccountId, keys: Keys, device_list: SignedList) -> State {
    State {
        version: State::VERSION,
        relay,
        name,
        account,
        device: keys.device,
        sealing: keys.sealing,
        list_key: keys.list,
        device_list,
        prekeys: Vec::new(),
        reply_keys: Vec::new(),
        pool: Vec::new(),
        refill_at: None,
        revoking: Vec::new(),
        invites: Vec::new(),
        contacts: Vec::new(),
        inbox: Vec::new(),
        events: 0,
        outbox: Vec::new(),
        sent: Vec::new(),
        stored_through: 0,
        acked_through: 0,
        gap: None,
        notices_told: Vec::new(),
        receipts: Default::default(),
        doors: Default::default(),
        sync_key: None,
        kept: Default::default(),
        myself: None,
        own_token_registered: false,
        behind_told: None,
        fork_told: false,
        links_taken: Vec::new(),
        linking: None,
    }
}

/// The same account and contacts; whatever was between the old device and others begins anew.
fn with_new_device(mut state: State, keys: Keys, device_list: SignedList) -> State {
    state.device = keys.device;
    state.sealing = keys.sealing;
    state.list_key = keys.list;
    state.set_own_list(device_list.clone(), &DeviceList::parse(device_list.list.as_slice()).expect("it was made here"));
    state.prekeys.clear();
    state.reply_keys.clear();
    state.kept.begin_anew();
    state.stored_through = 0;
    state.acked_through = 0;
    state.gap = None;
    for contact in &mut state.contacts {
        contact.devices.clear();
    }
    // What was for the devices that are gone.
    let account = state.account;
    state.outbox.retain(|outgoing| outgoing.to != account);
    for outgoing in &mut state.outbox {
        outgoing.counters.clear();
    }
    state
}

/// An account's first.
const FIRST_EPOCH: u32 = 1;
/// Rounds of recovery: show, replace, and once more if somebody was faster.
const TAKE_OVERS_MAX: u32 = 3;

impl Client {
    /// What the relay says of itself now.
    pub async fn info(&self) -> Result<Info> {
        info(&self.http).await
    }
}
