//! Where tokens lead, remembered; every commit that changes an answer removes it before anybody is told of the commit.
//!
//! A reader takes the generation before it reads and stores only if none has gone by since: so what it saw in a snapshot
//! from before a commit never outlives that commit. And while none has gone by, what memory said is what the writer would find.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use lru::LruCache;

use crate::protocol::envelopes::ListName;
use crate::protocol::tokens::TokenKind;
use crate::protocol::{AccountId, DeviceId, TokenHash};
use crate::store::{Enqueue, Route, RouteDevice};

pub(super) struct Routes {
    state: Mutex<State>,
}

struct State {
    generation: u64,
    tokens: LruCache<TokenHash, RouteToken>,
    accounts: LruCache<i64, Arc<RouteAccount>>,
}

/// A token's own part of a route.
#[derive(Debug, Clone)]
pub(super) struct RouteToken {
    pub(super) account: i64,
    pub(super) kind: TokenKind,
    pub(super) expires_at: Option<u64>,
    pub(super) envelopes_max: Option<u64>,
}

/// What all tokens of an account share.
#[derive(Debug)]
pub(super) struct RouteAccount {
    pub(super) account: AccountId,
    pub(super) list: ListName,
    pub(super) devices: Vec<RouteDevice>,
    /// Of the devices, in their order.
    pub(super) mailboxes: Vec<i64>,
    pub(super) suspended: bool,
}

/// What a send by a contact token has to know.
pub(super) struct Known {
    /// It holds as long as this one lasts.
    pub(super) generation: u64,
    pub(super) envelopes_max: Option<u64>,
    /// Of the envelopes, in their order.
    pub(super) mailboxes: Vec<i64>,
}

impl Routes {
    pub(super) fn new(max: usize) -> Self {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        let state = State { generation: 0, tokens: LruCache::new(max), accounts: LruCache::new(max) };
        Self { state: Mutex::new(state) }
    }

    /// What is remembered, and the generation to hand back with what is read instead.
    pub(super) fn find(&self, token: &TokenHash) -> (u64, Option<(RouteToken, Arc<RouteAccount>)>) {
        let mut state = self.lock();
        let found = state.tokens.get(token).cloned();
        let found = found.and_then(|found| state.accounts.get(&found.account).cloned().map(|account| (found, account)));
        (state.generation, found)
    }

    pub(super) fn remember(&self, generation: u64, hash: TokenHash, token: RouteToken, account: Arc<RouteAccount>) {
        let mut state = self.lock();
        if state.generation == generation {
            state.accounts.put(token.account, account);
            state.tokens.put(hash, token);
        }
    }

    /// What memory knows of a send that may be stored as it is; of any other the database is asked.
    pub(super) fn known(&self, send: &Enqueue) -> Option<Known> {
        let (generation, found) = self.find(&send.token);
        let (token, account) = found?;
        let good = token.kind == TokenKind::Contact && token.expires_at.is_none_or(|expires_at| send.now < expires_at);
        if !good || account.list != send.list || account.suspended {
            return None;
        }
        let mailboxes = send.envelopes.iter().map(|envelope| account.mailbox(&envelope.device));
        Some(Known { generation, envelopes_max: token.envelopes_max, mailboxes: mailboxes.collect::<Option<_>>()? })
    }

    /// Goes up with every commit that changes an answer.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    pub(super) fn forget(&self, accounts: &[i64], tokens: &[TokenHash]) {
        if accounts.is_empty() && tokens.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.generation += 1;
        for account in accounts {
            state.accounts.pop(account);
        }
        for token in tokens {
            state.tokens.pop(token);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl RouteAccount {
    pub(super) fn route(&self, kind: TokenKind) -> Route {
        Route { account: self.account, kind, list: self.list, devices: self.devices.clone() }
    }

    fn mailbox(&self, device: &DeviceId) -> Option<i64> {
        let at = self.devices.iter().position(|target| target.device == *device)?;
        self.mailboxes.get(at).copied()
    }
}
