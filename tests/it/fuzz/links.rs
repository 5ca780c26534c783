//! What must hold of every text that is read as one of the lines that people hand to each other: invites, account lines, link
//! codes (`docs/protocol.md` §12.2, §12.4), origins (§3) and the words. The fuzz target `links` compiles this very file.

use std::fmt::Display;
use std::str::FromStr;

use restante::client::{AccountLine, Link, LinkCode, Origin, Words};

/// Panics where something is taken that would not be written so. Gives whether anything was taken.
pub(crate) fn judge(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(origin) = Origin::parse(text) {
        let again = Origin::parse(origin.as_str()).expect("an origin is read in the form that it is written in");
        assert_eq!(again, origin, "an origin has one form");
    }
    if let Ok(words) = Words::parse(text) {
        assert_eq!(words.iter().count(), 24);
        assert_eq!(Words::parse(&words.to_string()).expect("its own words").to_string(), words.to_string());
    }
    line::<Link>(text) | line::<AccountLine>(text) | line::<LinkCode>(text) | Origin::parse(text).is_ok()
}

fn line<T: FromStr<Err = restante::client::Error> + Display>(text: &str) -> bool {
    match text.parse::<T>() {
        Ok(read) => {
            let written = read.to_string();
            let again: T = written.parse().unwrap_or_else(|_| panic!("not read as it was written: {written}"));
            assert_eq!(again.to_string(), written);
            assert_eq!(fields(text.trim()), fields(&written), "something in it was read otherwise than it stands there");
            true
        }
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            false
        }
    }
}

/// The fields in the order of their names, with nothing percent-encoded.
fn fields(line: &str) -> Vec<Vec<u8>> {
    let (prefix, query) = line.split_once('?').expect("a line has a question mark");
    let mut fields: Vec<Vec<u8>> = query.split('&').map(|field| plain(field.as_bytes())).collect();
    fields.sort_unstable();
    fields.push(prefix.as_bytes().to_vec());
    fields
}

fn plain(field: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                (digit(high).zip(digit(low)).map(|(high, low)| (high << 4 | low) as u8).expect("two digits"), tail)
            }
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}
