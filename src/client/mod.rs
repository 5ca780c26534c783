//! The client: an account's device, its profile on disk, and what it says to its relay.
//!
//! A [`Client`] is one device of one account at one relay, kept in a private directory. It seals and opens, keeps contacts
//! and counters, logs in by itself, and asks the relay to forget a message only once that message is on its own disk.
//!
//! ```no_run
//! use restante::client::{Client, Options, Origin, What};
//!
//! # async fn example() -> Result<(), restante::client::Error> {
//! let origin = Origin::parse("http://127.0.0.1:8484")?;
//! let (mut alice, words) = Client::init("alice".as_ref(), Options::new(origin.clone())).await?;
//! println!("keep these: {words}");
//! let (mut bob, _) = Client::init("bob".as_ref(), Options::new(origin)).await?;
//!
//! let link = alice.invite(Some("bob")).await?; // hand it to Bob by any other way
//! bob.add("alice", &link).await?;
//! bob.send("alice", "it waits until you come").await?;
//!
//! for event in alice.receive(25).await? {
//!     if let What::Text { from, text, .. } = &event.what {
//!         println!("{from}: {text}");
//!     }
//!     alice.shown(&event).await?; // not before: until then it is given again
//! }
//! alice.acknowledge().await?; // the relay forgets
//! # Ok(())
//! # }
//! ```
//!
//! Every method takes the profile's lock for itself and reads its state again, so that several processes can share one.
//! What cannot be sent now is kept and sent later, under the same id. There is no other server that is tried in the
//! relay's place, and no request that both carries a login and sends.
//!
//! Imports `protocol` and `crypto`, never the relay's floors.

mod account;
mod approve;
mod backup;
mod blocks;
mod book;
mod clock;
mod contacts;
mod content;
mod copies;
mod counters;
mod devices;
mod doctor;
mod doors;
mod envelope;
mod error;
mod event;
mod factor;
mod handle;
mod http;
mod invites;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod judged;
mod kept;
mod keys;
mod knocks;
mod link;
mod link_code;
mod linking;
mod lists;
mod live;
mod message;
mod notice;
mod origin;
mod own_list;
mod peer_keys;
mod profile;
mod receipts;
mod receive;
mod secret;
mod sent;
mod session;
mod slot;
mod socket;
mod state;
mod subscription;
mod sync;
mod tokens;
#[cfg(test)]
mod vectors;
mod words;

use std::collections::HashMap;
use std::path::Path;

pub use account::Options;
pub use blocks::BlockedInfo;
pub use clock::Clock;
pub use contacts::ContactInfo;
pub use devices::DeviceInfo;
pub use doctor::{Check, Health};
pub use error::{Error, Result};
pub use event::{Event, Live, What};
pub use factor::TotpSetup;
pub use http::Dial;
pub use invites::{InviteInfo, InviteOptions};
pub use knocks::KnockInfo;
pub use link::{Door, Link};
pub use link_code::{AccountLine, LinkCode};
pub use linking::Linking;
pub use live::LiveSettings;
pub use origin::Origin;
pub use receipts::{ReceiptSettings, Receipts};
pub use sent::{Delivery, SENT_MAX, Sent};
pub use subscription::{Heard, Subscription, Way};
pub use words::Words;

use crate::protocol::{AccountId, DeviceId, RelayKey, SessionToken};
use http::Http;
use profile::{Lock, Profile};
use state::State;

/// One device of one account at one relay.
pub struct Client {
    profile: Profile,
    state: State,
    http: Http,
    session: Option<SessionToken>,
    clock: Clock,
    /// When a contact was last told of typing.
    typed: HashMap<AccountId, u64>,
}

impl Client {
    /// The device that lives in a profile. Asks nobody.
    pub async fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, Clock::system()).await
    }

    /// The same, by a clock of one's own.
    pub async fn open_with(directory: &Path, clock: Clock) -> Result<Self> {
        let profile = Profile::existing(directory)?;
        let state = {
            let _lock = profile.lock().await?;
            profile.load()?
        };
        let http = Http::new(&dial(&state)?)?;
        Ok(Self::of(profile, state, http, clock))
    }

    /// The account's id.
    pub fn account_id(&self) -> AccountId {
        self.state.account
    }

    /// This device's id.
    pub fn device_id(&self) -> DeviceId {
        self.state.device_id()
    }

    /// How the account calls itself to those it says hello to.
    pub fn name(&self) -> Option<&str> {
        self.state.name.as_deref()
    }

    /// The relay that is pinned.
    pub fn relay_key(&self) -> RelayKey {
        self.state.relay.key
    }

    /// Where it is dialled.
    pub fn origin(&self) -> &Origin {
        self.http.origin()
    }

    /// How it is dialled.
    pub fn dial(&self) -> Result<Dial> {
        dial(&self.state)
    }

    /// The profile's directory.
    pub fn directory(&self) -> &Path {
        self.profile.directory()
    }

    fn of(profile: Profile, state: State, http: Http, clock: Clock) -> Self {
        Self { profile, state, http, session: None, clock, typed: HashMap::new() }
    }

    /// Takes the profile for one operation: another process may have changed it since.
    async fn enter(&mut self) -> Result<Lock> {
        let lock = self.profile.lock().await?;
        self.state = self.profile.load()?;
        Ok(lock)
    }

    fn save(&self) -> Result<()> {
        self.profile.save(&self.state)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} at {})", self.profile.directory().display(), self.http.origin())
    }
}

fn dial(state: &State) -> Result<Dial> {
    let origin = Origin::parse(&state.relay.origin)?;
    Ok(Dial { origin, ca: state.relay.ca.clone(), plain: state.relay.plain })
}
