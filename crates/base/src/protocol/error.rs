//! Error replies: the closed list of codes and the RFC 9457 problem that carries one.

use serde::{Deserialize, Serialize};

use super::accounts::SignedList;

macro_rules! error_codes {
    ($($name:ident = $status:literal, $text:literal, $title:literal;)*) => {
        /// Why a request was refused. Stable; clients decide by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $(#[doc = $title] $name,)*
            /// A code that this version does not know; never sent by a relay.
            #[serde(other)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code that a relay can send.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* Self::Unknown => 500 }
            }

            /// Its text on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unknown => "unknown" }
            }

            /// A short title, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* Self::Unknown => "unknown error" }
            }
        }
    };
}

error_codes! {
    BadRequest = 400, "bad_request", "the request is not well formed";
    AnonymousOnly = 400, "anonymous_only", "this route takes no login";
    TooMany = 400, "too_many", "too many items in one request";
    SeqNotGiven = 400, "seq_not_given", "no envelope was given that seq";
    LoginRefused = 401, "login_refused", "the proof was refused";
    NoSession = 401, "no_session", "not logged in";
    RegistrationClosed = 403, "registration_closed", "registration is closed";
    PassRefused = 403, "pass_refused", "registration needs a good pass";
    OriginRefused = 403, "origin_refused", "this web page may not use the relay";
    ElevationNeeded = 403, "elevation_needed", "the second factor is needed";
    CodeRefused = 403, "code_refused", "the code was refused";
    Suspended = 403, "suspended", "the account is suspended";
    NotFound = 404, "not_found", "no such path";
    NoSuchToken = 404, "no_such_token", "no such delivery token";
    NoSuchAccount = 404, "no_such_account", "no such account";
    NoSuchHandle = 404, "no_such_handle", "nobody has that handle";
    NoSuchSlot = 404, "no_such_slot", "no such slot";
    MethodNotAllowed = 405, "method_not_allowed", "method not allowed here";
    TooSlow = 408, "too_slow", "the request body took too long";
    DeviceListChanged = 409, "device_list_changed", "the device list has changed";
    DeviceListConflict = 409, "device_list_conflict", "the device list does not follow the current one";
    AccountExists = 409, "account_exists", "the account is registered already";
    DeviceTaken = 409, "device_taken", "the device belongs elsewhere or was removed";
    TokenTaken = 409, "token_taken", "the token is registered already";
    TooManyTokens = 409, "too_many_tokens", "the account holds as many tokens as it may";
    NoTotp = 409, "no_totp", "the second factor is not on";
    HandleTaken = 409, "handle_taken", "somebody else has that handle";
    TooManySlots = 409, "too_many_slots", "the account has as many slots as it may";
    Superseded = 409, "superseded", "a newer request of this device took over";
    LengthRequired = 411, "length_required", "the request needs a Content-Length";
    SlotChanged = 412, "slot_changed", "the slot is of another version";
    TooLarge = 413, "too_large", "the request body is too large";
    UriTooLong = 414, "uri_too_long", "the path is too long";
    UnsupportedMediaType = 415, "unsupported_media_type", "the request body is not plain JSON";
    WrongHost = 421, "wrong_host", "this relay does not serve that host";
    BadSize = 422, "bad_size", "a body is not of one of the sizes that there are";
    BadExpiry = 422, "bad_expiry", "the expiry is out of bounds";
    BadList = 422, "bad_list", "the device list is not valid";
    BadSignature = 422, "bad_signature", "a signature does not verify";
    WeakKey = 422, "weak_key", "a public key is weak or not canonical";
    UpgradeRequired = 426, "upgrade_required", "a WebSocket is spoken here";
    ConditionNeeded = 428, "condition_needed", "a change needs one condition";
    MailboxFull = 429, "mailbox_full", "every mailbox of the account is full";
    RateLimited = 429, "rate_limited", "too many requests";
    Internal = 500, "internal", "the relay failed";
    Busy = 503, "busy", "the relay is busy";
    Stopping = 503, "stopping", "the relay is stopping";
    RelayFull = 507, "relay_full", "the relay is full";
}

/// The body of an error reply, `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The code's title.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What a client decides by.
    pub code: ErrorCode,
    /// A sentence that a person can act on; no value from the request.
    #[serde(default)]
    pub detail: String,
    /// Seconds to wait, where waiting helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The current signed list, with `device_list_changed` and `device_list_conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_list: Option<SignedList>,
}

impl Problem {
    /// A problem of `code`.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: code.title().into(),
            status: code.status(),
            code,
            detail: detail.into(),
            retry_after: None,
            device_list: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_text_of_a_code_is_its_serde_name() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(code).expect("a code serializes");
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
        let unknown: ErrorCode = serde_json::from_str("\"brand_new\"").expect("a newer code is understood as unknown");
        assert_eq!(unknown, ErrorCode::Unknown);
    }
}
