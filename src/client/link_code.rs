//! The two lines by which a device is linked (`docs/protocol.md` §12.4): the account line, which an existing device shows, and the
//! link code, with which the new one answers.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::link::{escape, unescape};
use super::origin::Origin;
use super::secret::Secret;
use crate::crypto::{exchange, sign};
use crate::protocol::{AccountId, DeviceEntry, DeviceId, Hash, RelayKey, SealingKey, Signature, Transcript};

/// Which account, at which relay. No secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLine {
    /// Where the relay is dialled.
    pub origin: Origin,
    /// The relay's name.
    pub relay: RelayKey,
    /// The account.
    pub account: AccountId,
}

/// What a new device shows: who wants to join, and the secret under which it is answered. Who sees it before it was used
/// can answer it in the account's place.
#[derive(Clone)]
pub struct LinkCode {
    /// The relay at which the device was made.
    pub relay: RelayKey,
    /// Its entry; for which account it was signed, the signature says.
    pub(super) entry: DeviceEntry,
    pub(super) secret: Secret,
    /// Until when it is good.
    pub expires_at: u64,
}

impl LinkCode {
    /// The device that wants to join.
    pub fn device(&self) -> DeviceId {
        self.entry.device
    }

    /// The name under which it is remembered that the code was taken.
    pub(super) fn hash(&self) -> Hash {
        Transcript::new("/link-taken").fixed(self.secret.bytes()).sha256()
    }

    /// Whether the device agreed to stand in this account's list, with keys that are good.
    pub(super) fn is_signed_for(&self, account: &AccountId) -> bool {
        let DeviceEntry { device, sealing_key, suites, signature } = &self.entry;
        let transcript = DeviceEntry::transcript(account, device, sealing_key, *suites);
        let keys_are_good = sign::check_key(&device.0).is_ok() && exchange::check_key(&sealing_key.0).is_ok();
        keys_are_good && sign::verify(&device.0, &transcript, &signature.0).is_ok()
    }
}

impl fmt::Display for AccountLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (relay, account) = (self.relay.encode(), self.account.encode());
        write!(f, "{ACCOUNT_PREFIX}origin={}&relay={relay}&account={account}", escape(self.origin.as_str()))
    }
}

impl FromStr for AccountLine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let [origin, relay, account] = fields(text, ACCOUNT_PREFIX, ACCOUNT_FIELDS).map_err(not_an_account_line)?;
        let origin = unescape(origin).and_then(|origin| Some((Origin::parse(&origin).ok()?, origin)));
        let origin = origin.filter(|(parsed, written)| parsed.as_str() == written).map(|(parsed, _)| parsed);
        let origin = origin.ok_or_else(|| not_an_account_line("its origin is none, or is not written in full"))?;
        let damaged = || not_an_account_line("a key in it is damaged; was it cut off?");
        Ok(Self { origin, relay: relay.parse().map_err(|_| damaged())?, account: account.parse().map_err(|_| damaged())? })
    }
}

impl fmt::Display for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceEntry { device, sealing_key, suites, signature } = &self.entry;
        let secret = crate::protocol::bytes::encode(self.secret.bytes());
        write!(f, "{CODE_PREFIX}relay={}&device={}", self.relay.encode(), device.encode())?;
        write!(f, "&sealing={}&suites={suites}&signature={}", sealing_key.encode(), signature.encode())?;
        write!(f, "&secret={secret}&expires={}", self.expires_at)
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkCode({})", self.entry.device)
    }
}

impl FromStr for LinkCode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let values = fields(text, CODE_PREFIX, CODE_FIELDS).map_err(not_a_code)?;
        let [relay, device, sealing, suites, signature, secret, expires] = values;
        // The link secret is read as another value of 32 bytes, and goes at once into a type that wipes it.
        let secret = Secret::of(parse::<SealingKey>(secret)?.as_bytes());
        let entry = DeviceEntry {
            device: parse::<DeviceId>(device)?,
            sealing_key: parse::<SealingKey>(sealing)?,
            suites: number(suites)
                .and_then(|suites| u8::try_from(suites).ok())
                .filter(|suites| SUITES.contains(suites))
                .ok_or_else(damaged)?,
            signature: parse::<Signature>(signature)?,
        };
        Ok(Self { relay: parse(relay)?, entry, secret, expires_at: number(expires).ok_or_else(damaged)? })
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| damaged())
}

/// Decimal digits without a leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The values of `name=value&…` behind a prefix, each of the names once, in the names' order.
fn fields<'a, const N: usize>(
    text: &'a str,
    prefix: &'static str,
    names: [&'static str; N],
) -> std::result::Result<[&'a str; N], &'static str> {
    let query = text.trim().strip_prefix(prefix).ok_or("it does not begin as one")?;
    let mut values: [Option<&str>; N] = [None; N];
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or("a field has no value")?;
        let place = names.iter().position(|field| *field == name).ok_or("it has an unknown field")?;
        if values[place].replace(value).is_some() {
            return Err("a field stands twice");
        }
    }
    let mut found = [""; N];
    for (place, value) in values.into_iter().enumerate() {
        found[place] = value.ok_or("a field is missing; was it cut off?")?;
    }
    Ok(found)
}

fn damaged() -> Error {
    not_a_code("a value in it is damaged; was it cut off?")
}

fn not_a_code(why: &'static str) -> Error {
    Error::asked(
        format!("this is not a link code: {why}"),
        "paste the whole line that `restante client link` shows on the new device, in quotes",
    )
}

fn not_an_account_line(why: &'static str) -> Error {
    Error::asked(
        format!("this is not an account line: {why}"),
        "paste the whole line that `restante client link invite` prints on a device of the account, in quotes",
    )
}

const ACCOUNT_PREFIX: &str = "restante:account1?";
const ACCOUNT_FIELDS: [&str; 3] = ["origin", "relay", "account"];
const CODE_PREFIX: &str = "restante:link1?";
const CODE_FIELDS: [&str; 7] = ["relay", "device", "sealing", "suites", "signature", "secret", "expires"];
/// Suite 1, with or without the reserved one.
const SUITES: [u8; 2] = [1, 3];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::lists;

    fn code(account: &AccountId) -> LinkCode {
        let device = sign::KeyPair::generate();
        let sealing = SealingKey(exchange::KeyPair::generate().public());
        let entry = lists::entry(account, &device, sealing);
        LinkCode { relay: RelayKey([1; 32]), entry, secret: Secret::generate(), expires_at: 1_800_000_600 }
    }

    #[test]
    fn a_code_reads_back_as_it_was_written_and_is_its_accounts_alone() {
        let account = AccountId(sign::KeyPair::generate().public());
        let code = code(&account);
        let text = code.to_string();
        let read: LinkCode = format!(" {text}\n").parse().expect("its own text");
        assert_eq!(read.to_string(), text);
        assert_eq!(read.hash(), code.hash());
        assert!(read.is_signed_for(&account));
        assert!(!read.is_signed_for(&AccountId(sign::KeyPair::generate().public())));
        assert!(!format!("{code:?}").contains(&crate::protocol::bytes::encode(code.secret.bytes())));
    }

    #[test]
    fn a_code_with_a_field_missing_repeated_unknown_or_malformed_is_refused() {
        let text = code(&AccountId(sign::KeyPair::generate().public())).to_string();
        let fields: Vec<&str> = text[CODE_PREFIX.len()..].split('&').collect();
        for at in 0..fields.len() {
            let mut some = fields.clone();
            some.remove(at);
            assert!(format!("{CODE_PREFIX}{}", some.join("&")).parse::<LinkCode>().is_err(), "without field {at}");
            assert!(format!("{text}&{}", fields[at]).parse::<LinkCode>().is_err(), "field {at} twice");
        }
        for bad in [
            format!("{text}&x=1"),
            text.replace(":link1?", ":link2?"),
            text.replace("suites=1", "suites=2"),
            text.replace("suites=1", "suites=01"),
            text.replace("suites=1", "suites=257"),
            text.replace("expires=", "expires=+"),
            text.replace("&expires", "A&expires"),
            String::new(),
        ] {
            assert!(bad.parse::<LinkCode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_account_line_reads_back_as_it_was_written() {
        for origin in ["http://127.0.0.1:8484", "https://relay.example:443", "unix:/run/a b/%&=.sock"] {
            let origin = Origin::parse(origin).expect("an origin");
            let line = AccountLine { origin, relay: RelayKey([1; 32]), account: AccountId([2; 32]) };
            let text = line.to_string();
            assert_eq!(text.parse::<AccountLine>().expect("its own text"), line);
            assert!(text.replace("account=", "acount=").parse::<AccountLine>().is_err());
            assert!(text[..text.len() - 1].parse::<AccountLine>().is_err());
            assert!(text.replace(":account1", ":1").parse::<AccountLine>().is_err());
        }
    }
}
