//! The parser of clients' frames against every input that a fuzzer found worth keeping, and against ones made at random.

mod judge;

use std::path::PathBuf;

use judge::judge;
use proptest::prelude::*;

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/frames/corpus");
    let files = dir.read_dir().expect("a corpus").map(|entry| entry.expect("an entry").path());
    files.map(|path| (path.clone(), std::fs::read(path).expect("a file"))).collect()
}

#[test]
fn every_input_of_the_corpus_is_read_by_the_rules() {
    let corpus = corpus();
    let taken = corpus
        .iter()
        .filter(|(path, bytes)| {
            let judged = std::panic::catch_unwind(|| judge(bytes));
            judged.unwrap_or_else(|_| panic!("{}", path.display()))
        })
        .count();
    assert!(taken >= 10 && corpus.len() - taken >= 40, "{taken} of {} are frames", corpus.len());
}

/// Pieces that a frame is made of, right and wrong, put together in any way.
fn pieces() -> impl Strategy<Value = String> {
    let session = restante::protocol::SessionToken([7; 32]).encode();
    let name = prop::sample::select(vec!["type", "session", "seqs", "through", "more", "\\u0074ype", "Type", ""]);
    let value = prop::sample::select(vec![
        "\"auth\"".into(),
        "\"ack\"".into(),
        format!("\"{session}\""),
        format!("\"{session}=\""),
        "[1,2]".into(),
        "[]".into(),
        "[-1]".into(),
        "[[1]]".into(),
        "0".into(),
        "7".into(),
        "-0".into(),
        "1.0".into(),
        "18446744073709551616".into(),
        "null".into(),
        "true".into(),
        "{}".into(),
        "{\"type\":\"ack\"}".into(),
    ]);
    let field = (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let first = prop::sample::select(vec!["\"type\":\"ack\"", "\"type\":\"auth\"", "\"through\":1"]);
    let around =
        prop::sample::select(vec![("{", "}"), ("{", "}"), ("{", "}"), ("[", "]"), (" {", "} "), ("{", ""), ("{", "}x")]);
    (around, first, prop::collection::vec(field, 0..4)).prop_map(|((open, close), first, fields)| {
        format!("{open}{}{close}", [vec![first.to_string()], fields].concat().join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_made_of_right_and_wrong_pieces_is_read_by_the_rules(frame in pieces()) {
        judge(frame.as_bytes());
    }
}
