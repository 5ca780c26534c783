//! The store's guarantees, one suite on every store. What only SQLite has to prove is in `sqlite`.

mod accounts;
mod envelopes;
mod factor;
mod handles;
mod knocks;
mod model;
mod others;
mod roster;
mod slots;
mod sqlite;
mod tokens;

/// Makes each named `async fn(Kind)` of the module a test on every store.
macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name($crate::support::bench::Kind::Sqlite).await; })*
        }
        mod on_memory {
            $(#[tokio::test] async fn $name() { super::$name($crate::support::bench::Kind::Memory).await; })*
        }
    };
}
use on_every_store;
