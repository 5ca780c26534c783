//! Where tokens lead, kept in memory: emptied by every commit that could make one untrue.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use lru::LruCache;

use crate::protocol::TokenHash;
use crate::store::Route;

/// Routes by token.
pub(super) struct Routes {
    table: Mutex<Table>,
}

struct Table {
    generation: u64,
    routes: LruCache<TokenHash, (Route, Option<u64>)>,
}

/// What is kept of a token.
pub(super) enum Kept {
    /// Its route, and until when it leads there.
    Route(Route, Option<u64>),
    /// Nothing. What is then read is kept only if nothing changed since this generation.
    Nothing(u64),
}

impl Routes {
    pub(super) fn new(max: usize) -> Self {
        let routes = LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN));
        Self { table: Mutex::new(Table { generation: 0, routes }) }
    }

    pub(super) fn find(&self, token: &TokenHash) -> Kept {
        let mut table = self.lock();
        let generation = table.generation;
        table.routes.get(token).cloned().map_or(Kept::Nothing(generation), |(route, expires_at)| Kept::Route(route, expires_at))
    }

    pub(super) fn keep(&self, token: TokenHash, route: (Route, Option<u64>), generation: u64) {
        let mut table = self.lock();
        if table.generation == generation {
            table.routes.put(token, route);
        }
    }

    pub(super) fn clear(&self) {
        let mut table = self.lock();
        table.generation += 1;
        table.routes.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
