//! **restante** is a zero-knowledge store-and-forward relay: *poste restante*, the counter where sealed mail waits until it
//! is called for. This crate is the relay, the client library and the one binary that holds both.
//!
//! # To write a client
//!
//! Begin at [`client`]: make a profile, mint an invite, add a contact, send, receive. `docs/protocol.md` is
//! the normative text for clients in other languages.
//!
//! # The house
//!
//! A directory is a *floor* (what kind of work), a file name is a *topic* (which part of the protocol). Arrows point down.
//!
//! | floor | module | what it does |
//! |---|---|---|
//! | roof | `cli` | one file a command; stdout is data, stderr is words |
//! | 4 | `server` | opens a relay, owns the accept loop, drains at the end |
//! | 3 | `api`, `jobs`, `admin` | HTTP routes; the schedule; what only the operator may do |
//! | 2 | `service` | the relay itself: rules, limits, time |
//! | 1 | `store` | what is kept; one writer, many readers |
//! | 0 | `protocol`, `crypto`, `config` | words and bytes; primitives; what may be set |
//! | tower | `client` | the client library; knows `protocol` and `crypto`, never the relay's floors |
//!
//! `protocol` and `crypto` are the crate `restante-base`, the floors from `config` and `store` to `server` the crate
//! `restante-relay`; both are re-exported here.
//!
//! # One send, top to bottom
//!
//! `api` reads the request and calls [`Relay::send`](service::Relay::send). That asks the store where the token leads, wraps
//! each body to its device, and hands them to the writer, which commits them together with whatever else waits. The
//! writer wakes who waits on those mailboxes, then answers; only then does the sender get its `202`. A waiting poll that is
//! woken reads the store again: the store is the only truth, so a lost or an extra wake-up costs a query.

pub mod cli;
#[cfg(feature = "client")]
pub mod client;

#[doc(inline)]
pub use restante_base::{crypto, protocol};
#[cfg(feature = "server")]
#[doc(inline)]
pub use restante_relay::{admin, api, config, jobs, server, service, store};
