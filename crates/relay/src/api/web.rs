//! Web pages (`docs/protocol.md` §3): whose page a browser speaks for, the answers to its preflights, and the headers without
//! which it shows the page nothing. Where no web origin is configured nothing here changes a reply.

use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::error::{ApiError, empty};
use super::routes::methods;
use crate::protocol::ErrorCode;
use crate::service::Relay;

/// Whose page a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// No web origin is configured: nobody asks.
    Unasked,
    /// No page's, as far as the request says.
    None,
    /// One of a configured origin, which is this as the browser wrote it.
    Known(HeaderValue),
    /// Any other, or one that says of itself only that it is opaque (`null`).
    Strange,
}

/// Judges a request by its `Origin`.
pub fn judge(web_origins: &[String], headers: &HeaderMap) -> Page {
    if web_origins.is_empty() {
        return Page::Unasked;
    }
    let mut given = headers.get_all(header::ORIGIN).iter();
    match (given.next(), given.next()) {
        (None, _) => Page::None,
        // A copy of its own: a clone would hold on to the connection's read buffer for as long as the reply is waited for.
        (Some(origin), None) if is_one_of(web_origins, origin) => {
            HeaderValue::from_bytes(origin.as_bytes()).map_or(Page::Strange, Page::Known)
        }
        _ => Page::Strange,
    }
}

/// Whether a stream may be opened by whoever asks: no page, one of the relay's own origins, or one of a web origin.
pub fn may_stream(relay: &Relay, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut given = headers.get_all(header::ORIGIN).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if is_one_of(relay.origins(), origin) || is_one_of(relay.web_origins(), origin) => Ok(()),
        _ => Err(refused("the page that opens a stream is of the relay's own origin or of one of its `server.web_origins`")),
    }
}

impl Page {
    /// The reply to a preflight; none when it is no preflight, or when it is one for a path that there is not.
    pub fn preflight(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        match self {
            Self::Unasked | Self::None => None,
            Self::Strange => Some(refused("this page's origin is not one of the relay's `server.web_origins`").reply()),
            Self::Known(_) => {
                let mut reply = empty(StatusCode::NO_CONTENT);
                let headers = reply.headers_mut();
                headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(&methods(path)?).ok()?);
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
                headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECS));
                Some(reply)
            }
        }
    }

    /// Lets the page read a reply, where it may.
    pub fn dress(self, reply: &mut Response) {
        let headers = reply.headers_mut();
        if self != Self::Unasked {
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Self::Known(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag, Retry-After"));
        }
    }
}

fn refused(detail: &str) -> ApiError {
    ApiError::new(ErrorCode::OriginRefused, detail)
}

/// Compares with the port written, which a browser leaves out where it is the scheme's own.
fn is_one_of(origins: &[String], origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = match scheme {
        _ if has_port => "",
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    origins.iter().any(|known| known.strip_prefix(origin) == Some(port))
}

const ALLOWED_HEADERS: &str = "authorization, content-type, if-match, if-none-match, slot-id";
/// A day.
const PREFLIGHT_SECS: &str = "86400";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origins: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().expect("a header's value"));
        }
        headers
    }

    #[test]
    fn an_origin_is_compared_with_its_port_written() {
        let configured = ["https://app.example:443", "http://localhost:5173", "http://[::1]:80", "https://a.example:8443"];
        let configured = configured.map(String::from);
        for good in [
            "https://app.example",
            "https://app.example:443",
            "http://localhost:5173",
            "http://[::1]",
            "http://[::1]:80",
            "https://a.example:8443",
        ] {
            assert_eq!(judge(&configured, &headers(&[good])), Page::Known(good.parse().expect("a value")), "{good}");
        }
        for strange in [
            "null",
            "",
            "*",
            "http://app.example",
            "http://app.example:443",
            "https://app.example:80",
            "https://app.example:",
            "https://app.example:44",
            "https://app.example:443:443",
            "https://app.example:0443",
            "https://app.example/",
            "https://app.example:443/",
            "https://app.example.evil",
            "https://app.exampl",
            "https://evil-app.example",
            "https://x@app.example",
            "HTTPS://APP.EXAMPLE",
            "https://app.example ,https://app.example",
            "http://localhost",
            "https://a.example",
            "https:",
            "https://",
            "://",
            "app.example:443",
        ] {
            assert_eq!(judge(&configured, &headers(&[strange])), Page::Strange, "{strange}");
        }
        assert_eq!(judge(&configured, &headers(&["https://app.example", "https://app.example"])), Page::Strange);
        assert_eq!(judge(&configured, &headers(&[])), Page::None);
        assert_eq!(judge(&[], &headers(&["https://app.example"])), Page::Unasked);
    }
}
