//! A new device on its way into an account: it shows its code, waits until it is listed, and takes what it is given.
//!
//! Until then its keys lie in a file of their own beside where the state will be. A device that was stopped goes on with them; one
//! whose code ran out shows another with the same keys.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;

use super::Client;
use super::account::{Options, waiting};
use super::approve::CODE_SECS;
use super::content::Content;
use super::error::{Error, Result};
use super::http::{Http, NOTHING};
use super::link_code::{AccountLine, LinkCode};
use super::lists;
use super::message::{open_grant, unwrap};
use super::profile::{Lock, Profile};
use super::secret::Secret;
use super::session::info;
use super::state::{LinkSecret, State};
use super::sync::own_token;
use crate::crypto::random;
use crate::protocol::envelopes::{Envelope, ReceiveReply};
use crate::protocol::linking::digits;
use crate::protocol::{DeviceId, ErrorCode};

/// A device that waits to be linked.
#[derive(Debug)]
pub struct Linking {
    client: Client,
    link: LinkSecret,
    /// Once it could log in, it is listed, and what it is given cannot be far.
    listed: bool,
    /// Envelopes up to this seq were looked at, and were not for now.
    after: u64,
    _lock: Lock,
}

impl Linking {
    /// Makes the keys of a device in an empty profile, for an account that is a device's elsewhere. `options` say how the relay
    /// of that account is dialled; that it is the line's is checked here.
    pub async fn begin(directory: &Path, options: Options, line: &AccountLine) -> Result<Self> {
        let profile = Profile::create(directory)?;
        let lock = profile.lock().await?;
        if profile.has_state() {
            return Err(profile.bad("there is an account in it already", "use another directory: --profile DIR"));
        }
        let profile = profile.while_linking();
        let http = Http::new(&options.dial)?;
        let said = info(&http).await?;
        let options = Options { relay_key: Some(line.relay.encode()), ..options };
        let relay = super::account::pinned(&http, &options, &said)?;
        let now = options.clock.now();
        let before = if profile.has_state() { profile.load().ok() } else { None };
        let mut state = match before.filter(|before| before.account == line.account && before.relay.key == line.relay) {
            Some(before) => State { relay, ..before },
            None => waiting(relay, line.account),
        };
        let link = state.linking.take().filter(|link| now < link.expires_at);
        let link = link.unwrap_or_else(|| LinkSecret { secret: Secret::generate(), expires_at: now + CODE_SECS });
        state.linking = Some(link.clone());
        profile.save(&state)?;
        Ok(Self { client: Client::of(profile, state, http, options.clock), link, listed: false, after: 0, _lock: lock })
    }

    /// What an existing device of the account is to be given.
    pub fn code(&self) -> LinkCode {
        let state = &self.client.state;
        let link = self.link.clone();
        LinkCode { relay: state.relay.key, entry: state.own_entry(), secret: link.secret, expires_at: link.expires_at }
    }

    /// The digits of the account that is to be joined; the other device shows the same.
    pub fn digits(&self) -> String {
        digits(&self.client.state.account)
    }

    /// This device's id; the other device shows the same.
    pub fn device_id(&self) -> DeviceId {
        self.client.device_id()
    }

    /// Waits until the device was let in, for as long as the code is good.
    pub async fn wait(mut self) -> Result<Client> {
        loop {
            // Once it is listed the relay holds each look.
            let mut pause = true;
            match self.look(POLL_SECS).await {
                Ok(true) => return self.finish().await,
                Ok(false) if self.listed => pause = false,
                Ok(false) => {}
                Err(error) if error.passes() => {}
                Err(error) => return Err(error),
            }
            // Who was listed at the last moment still gets what was sent with it.
            let patience = if self.listed { PATIENCE_SECS } else { 0 };
            if self.client.clock.now() >= self.link.expires_at + patience {
                return Err(Error::asked(
                    "nobody has let this device in while its code was good",
                    "run the same command again for a fresh code, and `client link approve CODE` on the other device",
                ));
            }
            if pause {
                let jitter_ms = u64::from_be_bytes(random::bytes()) % AGAIN_MS;
                self.client.clock.pause(Duration::from_millis(AGAIN_MS / 2 + jitter_ms)).await;
            }
        }
    }

    /// Looks once whether the device was let in; where it is listed and nothing has come yet, the relay holds the request for up
    /// to `wait_secs`.
    async fn look(&mut self, wait_secs: u64) -> Result<bool> {
        match self.client.session().await {
            Ok(_) => self.listed = true,
            // Unknown there, so far.
            Err(error) if error.code() == Some(ErrorCode::LoginRefused) => return Ok(false),
            Err(error) => return Err(error),
        }
        // At once, so that whoever learns of this device has a key to seal to.
        self.client.renew_prekey().await?;
        let mut wait = Duration::from_secs(wait_secs);
        loop {
            let path = format!("/v1/envelopes?wait={}&after={}", wait.as_secs(), self.after);
            let page: ReceiveReply = self.client.authed_for(Method::GET, &path, NOTHING, wait).await?;
            for envelope in &page.envelopes {
                if self.take(envelope)? {
                    return Ok(true);
                }
                self.after = envelope.seq.0;
            }
            if page.drained || page.envelopes.is_empty() {
                return Ok(false);
            }
            wait = Duration::ZERO;
        }
    }

    /// Takes the grant in, if it is that. What else waits is left for when this device knows its contacts.
    fn take(&mut self, envelope: &Envelope) -> Result<bool> {
        let state = &mut self.client.state;
        let (own, sealing) = (state.device_id(), state.sealing.exchange());
        let Ok(unwrapped) = unwrap(envelope, &own, &sealing) else { return Ok(false) };
        let opened = open_grant(&unwrapped.body, &unwrapped.id, (&state.account, &own), &sealing, self.link.secret.bytes());
        let Ok(content) = opened else { return Ok(false) };
        let Content::Grant { account, device_list, list_key, sync_key, name } = Content::parse(&content) else {
            return Err(UNTRUE);
        };
        let list = lists::verify(&device_list)?;
        let is_listed = list.entry(&own).is_some_and(|entry| *entry == state.own_entry());
        let is_its_list_key = lists::list_key(&device_list).is_some_and(|key| key.0 == list_key.signing().public());
        let is_its_token = own_token(&sync_key, &account).hash() == unwrapped.token;
        if account != state.account || list.account != account || !is_listed || !is_its_list_key || !is_its_token {
            return Err(UNTRUE);
        }
        (state.device_list, state.list_key, state.name) = (device_list, list_key, name);
        state.hold_sync_key(sync_key);
        state.own_token_registered = true;
        state.linking = None;
        Ok(true)
    }

    /// The profile becomes an account's.
    async fn finish(self) -> Result<Client> {
        let Self { client, _lock, .. } = self;
        let waiting = client.profile.clone();
        let profile = Profile::create(client.directory())?;
        profile.save(&client.state)?;
        waiting.forget()?;
        let mut client = Client::of(profile, client.state, client.http, client.clock);
        // What fails of this is made good by the next `receive`.
        client.fill_pool().await.ok();
        client.keep().await;
        if let Ok(said) = client.info().await {
            client.take_notice_of(&said)?;
        }
        Ok(client)
    }
}

const UNTRUE: Error = Error::Untrue("what this device was given does not fit the account that it was to join");
/// How long the relay holds one look of a device that is listed.
const POLL_SECS: u64 = 25;
/// How long a device that is listed waits beyond its code's time.
const PATIENCE_SECS: u64 = 60;
/// The middle of how long it waits between two looks.
const AGAIN_MS: u64 = 4_000;
