//! The house rules as tests: the import law, the product's promise that the relay never names what is sealed, and that
//! every file says what it is. `floors::law` holds the rules and `floors::scan` reads the sources; here both are held
//! against `src`, `crates` and `examples`, and against fixtures that break each rule once.
//!
//! In-file unit tests (`#[cfg(test)] mod`) may reach across floors; not even they name `crypto::seal` in the relay.

mod documents;
mod law;
mod scan;

use std::path::{Path, PathBuf};

use law::{File, breaches};

#[test]
fn arrows_point_down_and_every_file_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for directory in ["src", "crates", "examples"] {
        for path in rust_files(&root.join(directory)) {
            let source = std::fs::read_to_string(&path).expect("a readable source");
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            sources.push((name, source));
        }
    }
    assert!(sources.len() > 30, "only {} files were found", sources.len());
    let files: Vec<File> = sources.iter().map(|(path, source)| File { path, source }).collect();
    let found = breaches(&files);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn test_files_say_what_they_are() {
    for path in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")) {
        let source = std::fs::read_to_string(&path).expect("a readable source");
        assert!(source.starts_with("//!") || source.starts_with("#!"), "{} does not open with `//!`", path.display());
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The breaches of one file, which is given its opening line, beside a root that re-exports a little.
fn of(path: &str, source: &str) -> Vec<String> {
    let source = format!("//! A fixture.\n{source}");
    let root = "//! The root.\npub mod store;\npub use store::Store;\npub use crate::service::{Relay as Counter};\n";
    breaches(&[File { path, source: &source }, File { path: "src/lib.rs", source: root }])
}

#[track_caller]
fn refused(path: &str, source: &str) {
    let found = of(path, source);
    assert!(found.len() == 1 && found[0].starts_with(path), "{path} with {source:?}: {found:?}");
}

#[track_caller]
fn allowed(path: &str, source: &str) {
    assert_eq!(of(path, source), [""; 0], "{path} with {source:?}");
}

#[test]
fn an_arrow_that_points_up_is_refused_however_it_is_written() {
    for source in [
        "use crate::store::Store;",
        "use crate::{store::Store, protocol::Limits};",
        "use crate::{\n    protocol::{self, Limits},\n    store as s,\n};",
        "use crate::store;",
        "use crate :: store /* far */ :: Store;",
        "fn f(_: &crate::store::Totals) {}",
        "fn f() -> Vec<crate::store::Totals> { Vec::new() }",
        "fn f() { let _ = Vec::<crate::store::Totals>::new(); }",
        "use super::super::store::Store;",
        "use self::super::super::store::Store;",
        "mod inner { use super::super::super::store::Store; }",
        "use restante::store::Store;",
        "use ::restante::store::Store;",
        "use crate::Store;",
        "fn f(_: crate::Store) {}",
        "use crate::*;",
        "use crate as all;",
        "use super::super as all;",
        "use super::super::*;",
        "use crate::unheard_of;",
        "use crate::r#store::Store;",
        "macro_rules! m { () => { $crate::store::open() } }",
        "#[cfg(not(test))]\nmod tests { use crate::store::Store; }",
        "#[cfg(test)]\nmod tests {}\nuse crate::store::Store;",
        "#[cfg(test)]\nuse crate::store::Store;",
    ] {
        refused("src/client/topic.rs", source);
    }
    refused("crates/relay/src/api/envelopes.rs", "use crate::store::Store;");
    refused("crates/relay/src/api/envelopes.rs", "use crate::{service::Relay, crypto::sign};");
    refused("crates/relay/src/store/sqlite/envelopes.rs", "use super::super::super::service::Relay;");
    refused("crates/relay/src/store/sqlite/envelopes.rs", "use super::super::super::api;");
    refused("crates/relay/src/service/auth.rs", "use crate::api::routes;");
    refused("crates/relay/src/service/auth.rs", "use crate::crypto::{self, sign};");
    refused("crates/relay/src/service/auth.rs", "use crate::crypto::*;");
    refused("src/client/mod.rs", "use crate::Counter;");
    refused("crates/base/src/protocol/auth.rs", "use crate::crypto::sign;");
    refused("crates/relay/src/jobs.rs", "use crate::server::serve;");
    refused("src/client/mod.rs", "use restante_relay::service::Relay;");
    refused("src/main.rs", "fn main() { restante::server::serve() }");
    refused("src/main.rs", "use restante::{cli, store};");
    refused("src/lib.rs", "pub use client::*;");
    refused("examples/echo.rs", "use restante::service::Relay;");
}

#[test]
fn an_arrow_that_points_down_is_allowed() {
    allowed("src/main.rs", "fn main() { restante::cli::main() }");
    allowed("src/cli/serve.rs", "use crate::{config::Config, server};");
    allowed("crates/relay/src/service/auth.rs", "use crate::crypto::{random, sign::KeyPair};");
    allowed("crates/relay/src/service/mod.rs", "use crate::Counter;");
    allowed("crates/relay/src/store/sqlite/mod.rs", "pub(crate) use super::Store; pub(in crate::store) fn f() {}");
    allowed("crates/relay/src/store/sqlite/mod.rs", "use super::super::protocol::Limits;");
    allowed(
        "src/client/topic.rs",
        "// crate::store\n/* crate::store /* and */ crate::store */ const S: &str = \"crate::store\";",
    );
    allowed("src/client/topic.rs", "const S: &str = r#\"\" crate::store::x \"#; const C: char = '\"'; fn f<'a>(_: &'a str) {}");
    allowed("src/client/topic.rs", "#[cfg(test)]\n#[allow(unused)]\nmod tests { mod deeper {} use crate::store::Store; }");
    allowed("src/client/topic.rs", "/// See [`crate::store`].\nfn f() {}");
    allowed("examples/echo.rs", "use restante::client::Client;");
}

#[test]
fn topics_of_one_floor_do_not_import_each_other() {
    refused("crates/relay/src/service/keys.rs", "use super::tokens::revoke;");
    refused("crates/relay/src/service/rates.rs", "use super::tokens::revoke;");
    refused("crates/relay/src/service/keys.rs", "use crate::service::{Relay, accounts::take};");
    refused("crates/relay/src/store/sqlite/keys.rs", "fn f() { super::envelopes::enqueue() }");
    refused("crates/relay/src/store/sqlite/keys/put.rs", "fn f() { super::super::envelopes::enqueue() }");
    allowed("crates/relay/src/service/keys.rs", "use super::{auth::Session, rates::Rates, Relay};");
    allowed("crates/relay/src/service/mod.rs", "use self::tokens::revoke;");
    allowed("crates/relay/src/store/sqlite/keys/put.rs", "use super::Prekey; use crate::store::sqlite::keys::other;");
    allowed("crates/base/src/protocol/keys.rs", "use super::tokens::TokenKind;");
}

#[test]
fn the_relay_never_names_what_seals() {
    for floor in ["service", "store", "api", "admin", "jobs", "server"] {
        refused(&format!("crates/relay/src/{floor}.rs"), "use crate::crypto::seal;");
        refused(
            &format!("crates/relay/src/{floor}/mod.rs"),
            "#[cfg(test)]\nmod tests { use crate::crypto::{sign, seal::open}; }",
        );
    }
    refused("crates/relay/src/service/auth.rs", "use restante_base::crypto::seal;");
    refused("crates/relay/src/lib.rs", "pub use restante_base::crypto::seal;");
    refused("crates/base/src/crypto/wrap.rs", "pub use super::seal::open;");
    allowed("crates/base/src/crypto/wrap.rs", "pub use super::seal::NotOpened;");
    allowed("src/client/message.rs", "use crate::crypto::seal::Sealer;");
}

#[test]
fn crates_stay_at_home() {
    refused("crates/relay/src/service/auth.rs", "use rusqlite::Connection;");
    refused("crates/relay/src/server.rs", "fn f() -> anyhow::Result<()> { Ok(()) }");
    refused("crates/relay/src/store/mod.rs", "use warp;");
    refused("src/cli/bench/device.rs", "use warp;");
    allowed("src/cli/bench/baseline.rs", "use warp;");
    refused("src/cli/bench/baseline.rs", "use crate::crypto::sign;");
    refused("src/cli/bench/device.rs", "use crate::crypto::seal;");
    allowed("src/cli/bench/device.rs", "use crate::crypto::{sign, wrap};");
    refused("src/cli/serve.rs", "use crate::crypto::sign;");
    refused("src/client/message.rs", "use hpke as h;");
    allowed("crates/relay/src/store/sqlite/mod.rs", "use rusqlite::Connection;");
    allowed("src/cli/serve.rs", "use anyhow::Context;");
}

#[test]
fn a_file_has_a_floor_and_says_what_it_is() {
    refused("src/util.rs", "");
    refused("src/helpers/mod.rs", "");
    refused("src/client/topic.rs", "#[path = \"../store/mod.rs\"]\nmod sneaked;");
    let silent = breaches(&[File { path: "src/client/topic.rs", source: "use std::fmt;\n//! late" }]);
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(breaches(&[File { path: "src/lib.rs", source: "#![forbid(unsafe_code)]\n\n//! Words.\n" }]).is_empty());
}

#[test]
fn a_breach_names_its_file_and_line() {
    let found = of("src/client/topic.rs", "\nuse crate::{\n    protocol::Limits,\n    store::Store,\n};\n");
    assert_eq!(found, ["src/client/topic.rs:5: `crate::store::Store`: client may not name store"]);
}
