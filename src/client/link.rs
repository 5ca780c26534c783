//! Invite links: `restante:1?origin=…&relay=…&account=…`, and `&once=…&contact=…` or `&knock=…` (`docs/protocol.md` §12.2).

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::origin::Origin;
use crate::protocol::{AccountId, DeliveryToken, RelayKey};

/// An invite: where somebody is, and what lets one in there.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// Where the inviter's relay was dialled.
    pub origin: String,
    /// That relay's name.
    pub relay: RelayKey,
    /// Who invites.
    pub account: AccountId,
    /// What its tokens allow.
    pub door: Door,
}

/// What lets one in.
#[derive(Clone, PartialEq, Eq)]
pub enum Door {
    /// For one person, who can write at once.
    Once {
        /// Takes the hello.
        once: DeliveryToken,
        /// Carries what follows, until the welcome.
        contact: DeliveryToken,
    },
    /// For several, who knock by this token.
    Knock(DeliveryToken),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (relay, account) = (self.relay.encode(), self.account.encode());
        write!(f, "{PREFIX}origin={}&relay={relay}&account={account}", escape(&self.origin))?;
        match &self.door {
            Door::Once { once, contact } => write!(f, "&once={}&contact={}", once.encode(), contact.encode()),
            Door::Knock(token) => write!(f, "&knock={}", token.encode()),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.origin)
    }
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let query = text.trim().strip_prefix(PREFIX).ok_or_else(|| bad("it does not begin with `restante:1?`"))?;
        let mut values: [Option<&str>; FIELDS.len()] = [None; FIELDS.len()];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or_else(|| bad("a field has no value"))?;
            let place = FIELDS.iter().position(|field| *field == name).ok_or_else(|| bad("it has an unknown field"))?;
            if values[place].replace(value).is_some() {
                return Err(bad("a field stands twice"));
            }
        }
        let missing = || bad("a field is missing; was it cut off?");
        let value = |place: usize| values[place].ok_or_else(missing);
        let origin = unescape(value(0)?).ok_or_else(|| bad("its origin is not percent-encoded text"))?;
        if Origin::parse(&origin).map_err(|_| bad("its origin is none"))?.as_str() != origin {
            return Err(bad("its origin is not written in full"));
        }
        let door = match (values[3], values[4], values[5]) {
            (Some(once), Some(contact), None) => Door::Once { once: parse(once)?, contact: parse(contact)? },
            (None, None, Some(knock)) => Door::Knock(parse(knock)?),
            (_, _, Some(_)) => return Err(bad("it has tokens of two kinds")),
            _ => return Err(missing()),
        };
        Ok(Self { origin, relay: parse(value(1)?)?, account: parse(value(2)?)?, door })
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| bad("a key or token in it is damaged; was it cut off?"))
}

fn bad(why: &str) -> Error {
    Error::asked(
        format!("this is not an invite link: {why}"),
        "paste the whole line that `restante client invite` printed, in quotes",
    )
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

const PREFIX: &str = "restante:1?";
const FIELDS: [&str; 6] = ["origin", "relay", "account", "once", "contact", "knock"];

#[cfg(test)]
mod tests {
    use super::*;

    fn link(origin: &str) -> Link {
        Link {
            origin: origin.into(),
            relay: RelayKey([1; 32]),
            account: AccountId([2; 32]),
            door: Door::Once { once: DeliveryToken([3; 32]), contact: DeliveryToken([4; 32]) },
        }
    }

    fn open(origin: &str) -> Link {
        Link { door: Door::Knock(DeliveryToken([5; 32])), ..link(origin) }
    }

    #[test]
    fn a_link_reads_back_as_it_was_written() {
        for origin in ["http://127.0.0.1:8484", "https://relay.example:443", "http://[::1]:8484", "unix:/run/a b/%&=.sock"] {
            for link in [link(origin), open(origin)] {
                let text = link.to_string();
                assert!(!text.contains(' '), "{text}");
                assert!(text.parse::<Link>().expect("its own text") == link);
            }
        }
        assert!(link("http://127.0.0.1:1").to_string().starts_with("restante:1?origin=http%3A%2F%2F127.0.0.1%3A1&relay=AQEB"));
    }

    #[test]
    fn a_field_missing_repeated_or_unknown_is_refused() {
        for link in [link("https://relay.example:443"), open("https://relay.example:443")] {
            let text = link.to_string();
            let fields: Vec<&str> = text["restante:1?".len()..].split('&').collect();
            for missing in 0..fields.len() {
                let mut some = fields.clone();
                some.remove(missing);
                assert!(format!("restante:1?{}", some.join("&")).parse::<Link>().is_err(), "without field {missing}");
                assert!(format!("{text}&{}", fields[missing]).parse::<Link>().is_err(), "field {missing} twice");
            }
        }
        let text = link("https://relay.example:443").to_string();
        let token = DeliveryToken([5; 32]).encode();
        for both in [format!("{text}&knock={token}"), format!("{}&once={token}", open("https://relay.example:443"))] {
            assert!(both.parse::<Link>().is_err(), "tokens of two kinds: {both}");
        }
        for bad in [
            format!("{text}&x=1"),
            text[..text.len() - 1].into(),
            text.replace(":1?", ":2?"),
            text.replace("%3A", "%3"),
            String::new(),
        ] {
            assert!(bad.parse::<Link>().is_err(), "{bad}");
        }
        assert!(text.replace("%3A443", "").parse::<Link>().is_err(), "an origin without its port");
    }

    #[test]
    fn debug_shows_no_token() {
        assert_eq!(format!("{:?}", link("https://r.example:443")), "Link(https://r.example:443)");
    }
}
