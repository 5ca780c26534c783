//! The locks that `wakeups` uses, under a name of their own: `tests/shuttle` runs that file on `shuttle`'s.

pub(super) use std::sync::{Arc, Mutex, MutexGuard};
