//! The parsers against every input of the fuzz targets' corpora. That of what is sealed is replayed in `src/client/judged.rs`,
//! and that of streams' frames in `frames`.

mod config;
mod corpus;
mod links;
mod lists;
mod requests;

use corpus::replay;

#[test]
fn requests_are_read_by_the_rules() {
    replay("login", requests::login);
    replay("send", requests::send);
    replay("ack", requests::ack);
    replay("requests", requests::others);
}

#[test]
fn lists_are_read_by_the_rules() {
    replay("lists", lists::judge);
}

#[test]
fn lines_that_people_hand_over_are_read_by_the_rules() {
    replay("links", links::judge);
}

#[test]
fn configurations_are_read_by_the_rules() {
    let dir = tempfile::tempdir().expect("a directory");
    replay("config", |bytes| config::judge(&dir.path().join("relay.toml"), bytes));
}
