//! The limits of `docs/protocol.md` §13, by the names that `relay.toml` and `/v1/info` use too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

macro_rules! limits {
    ($($name:ident = $default:literal, $doc:literal;)*) => {
        /// Every bound that an operator may set. Units stand last in the names.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits { $(#[doc = $doc] pub $name: u64,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The names in the table's order, without the derived ones.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Name and value of every limit, the derived ones too, as `/v1/info` gives them.
            pub fn table(&self) -> BTreeMap<String, u64> {
                let mut table = BTreeMap::new();
                $(table.insert(stringify!($name).to_string(), self.$name);)*
                table.insert("request_bytes_max".to_string(), self.request_bytes_max());
                table
            }
        }
    };
}

limits! {
    devices_max = 10, "Devices an account.";
    tokens_max = 10_000, "Delivery tokens an account.";
    mailbox_envelopes_max = 10_000, "Envelopes waiting for one device.";
    mailbox_bytes_max = 67_108_864, "Bytes of bodies waiting for one device.";
    page_envelopes_max = 100, "Envelopes a page.";
    page_bytes_max = 1_048_576, "Bytes of bodies a page.";
    ack_seqs_max = 100, "Seqs that an acknowledgement names.";
    long_poll_secs_max = 60, "Longest wait of a poll, in seconds.";
    session_secs = 1_800, "A session's life, in seconds.";
    sessions_device_max = 4, "Sessions a device.";
    challenge_secs = 60, "A challenge's life, in seconds.";
    expires_in_secs_min = 3_600, "Shortest life of an envelope, in seconds.";
    repeats_secs = 600, "How long an id is remembered after its envelope was acknowledged, in seconds.";
    repeats_max = 1_000_000, "Ids so remembered, in all.";
    head_secs = 5, "A connection's first byte, and a whole request header, in seconds.";
    body_secs = 15, "A whole request body, in seconds; it must also come at 1 KiB/s.";
    idle_secs = 75, "Between two requests of a connection, in seconds.";
    stream_unacked_max = 128, "Envelopes unacknowledged in flight on a stream.";
    drain_secs = 10, "From the signal to stop until the process has ended, in seconds.";
    connections_max = 8_192, "Connections; never more than the descriptors less 128.";
    prefix_connections_max = 64, "Connections per address prefix (/24, /56).";
    prefix_challenges_per_min = 60, "Challenges a minute per address prefix.";
    prefix_bad_logins_per_min = 100, "Refused logins a minute per address prefix.";
    prefix_requests_per_min = 3_000, "Requests of any kind a minute per address prefix; 0: any number.";
    device_requests_per_min = 1_200, "Requests with a session a minute per device; 0: any number.";
    token_sends_per_min = 600, "Sends, and questions for keys, a minute by one token; 0: any number.";
    prefix_knocks_per_hour = 4, "Knocks an hour per address prefix.";
    prefix_lookups_per_min = 10, "Handles looked up a minute per address prefix.";
    knocks_token_max = 32, "Knocks of one token waiting for one device.";
    knocks_max = 256, "Knocks waiting for one device.";
    slots_max = 4, "Slots an account.";
    device_unseen_days = 30, "Days after which an absent device is answered `full`.";
    account_unseen_days = 365, "Days after which an account none of whose devices came is deleted.";
}

impl Limits {
    /// The largest request body: a send to every device at 16 KiB, in base64url and JSON.
    pub fn request_bytes_max(&self) -> u64 {
        self.devices_max.saturating_mul(SEALED_JSON_BYTES_MAX).saturating_add(4_096)
    }
}

/// One element of `sealed`: 16,384 bytes are 21,846 characters, a device id 43, the rest is JSON's punctuation.
const SEALED_JSON_BYTES_MAX: u64 = 22_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay with `devices_max = 9223372036854775807` panicked before it could say that ten is the most, or, where overflow
    /// goes unnoticed, reckoned with a largest request of no size. The corpus of the fuzz target `config` found it.
    #[test]
    fn the_largest_request_is_never_less_than_what_the_devices_need() {
        for devices_max in [u64::MAX, i64::MAX as u64] {
            let limits = Limits { devices_max, ..Limits::default() };
            assert_eq!(limits.request_bytes_max(), u64::MAX);
            assert_eq!(limits.table()["request_bytes_max"], u64::MAX);
        }
        assert_eq!(Limits::default().request_bytes_max(), 224_096);
    }
}
