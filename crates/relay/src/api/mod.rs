//! Floor 3: HTTP. `routes` is the table of contents: a line a route, each with its handler of four lines (authenticate,
//! parse, call, reply). `extract` reads requests, `error` makes replies of refusals. There are no rules in here.

pub mod error;
pub mod extract;
pub mod parked;
pub mod routes;
mod socket;
pub mod stream;
mod strict;
pub mod web;

pub use routes::{ROUTES, Route, routes};
