//! The origin: the canonical text of what was dialled (`docs/protocol.md` §3), bound into every proof.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;

use super::error::{Error, Result};

/// Where a relay is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Http { loopback: bool },
    Https,
    Unix(PathBuf),
}

impl Origin {
    /// Parses what a person typed: `https://relay.example`, `http://127.0.0.1:8484`, `unix:/run/restante.sock`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(Error::asked(
                    format!("`{text}` is not a relay's address"),
                    "a socket's path is absolute: unix:/run/restante.sock",
                ));
            }
            return Ok(Self { text: text.to_string(), way: Way::Unix(path.into()) });
        }
        let bad = || {
            Error::asked(
                format!("`{text}` is not a relay's address"),
                "write it like https://relay.example, http://127.0.0.1:8484 or unix:/run/restante.sock",
            )
        };
        let url = Url::parse(text).map_err(|_| bad())?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(bad());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_ascii_lowercase();
        let port = url.port_or_known_default().ok_or_else(bad)?;
        let way = match url.scheme() {
            "https" => Way::Https,
            "http" => Way::Http { loopback: is_loopback(&host) },
            _ => return Err(bad()),
        };
        Ok(Self { text: format!("{}://{host}:{port}", url.scheme()), way })
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What requests are addressed to; over a socket the host means nothing.
    pub(crate) fn base(&self) -> &str {
        match self.way {
            Way::Unix(_) => "http://localhost",
            _ => &self.text,
        }
    }

    /// The socket, where it is one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// Whether it stays on this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.way, Way::Unix(_) | Way::Http { loopback: true })
    }

    /// Refuses to send anything unencrypted over a network, unless asked to.
    pub(crate) fn refuse_plain(&self, plain: bool) -> Result<()> {
        match self.way {
            Way::Http { loopback: false } if !plain => Err(Error::asked(
                format!("{} is neither encrypted nor on this machine", self.text),
                "use https://, or add --plain if the network between is safe (a tunnel, a private one)",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_canonical() {
        for (typed, canonical) in [
            ("http://127.0.0.1:8484", "http://127.0.0.1:8484"),
            ("HTTP://LocalHost:8484/", "http://localhost:8484"),
            ("https://Relay.Example", "https://relay.example:443"),
            ("https://relay.example:8443/", "https://relay.example:8443"),
            ("http://[::1]:8484", "http://[::1]:8484"),
            ("unix:/run/restante.sock", "unix:/run/restante.sock"),
        ] {
            assert_eq!(Origin::parse(typed).expect(typed).as_str(), canonical);
        }
        for bad in ["", "relay.example", "ftp://x", "https://x/path", "https://u@x", "https://x?q", "unix:relative"] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_leaves_the_machine_only_when_asked() {
        let far = Origin::parse("http://10.0.0.1:8484").expect("an origin");
        assert!(far.refuse_plain(false).is_err());
        assert!(far.refuse_plain(true).is_ok());
        for near in ["http://127.0.0.2:1", "http://[::1]:1", "http://localhost:1", "unix:/s", "https://10.0.0.1"] {
            assert!(Origin::parse(near).expect(near).refuse_plain(false).is_ok(), "{near}");
        }
    }
}
