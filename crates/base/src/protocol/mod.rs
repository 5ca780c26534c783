//! Floor 0: what client and relay say to each other, word for word as `docs/protocol.md` has it.
//!
//! Ids, requests, replies, the exact bytes that either side signs or hashes, sizes and error codes: one type for both
//! sides, so that they cannot drift apart. Nothing here does I/O, checks a signature or knows a limit's use; `crypto`
//! verifies, `service` decides.

pub mod accounts;
pub mod auth;
pub mod bytes;
pub mod envelopes;
pub mod error;
pub mod factor;
pub mod handles;
pub mod info;
pub mod keys;
pub mod limits;
pub mod linking;
pub mod slots;
pub mod stream;
pub mod time;
pub mod tokens;

pub use accounts::{DeviceEntry, DeviceList, ListHead, ListKeyCertificate, SignedList};
pub use bytes::{
    AccountId, Bytes, DeviceId, EnvelopeId, HandleHash, Hash, ListKey, RelayKey, SealingKey, SessionToken, Signature,
    TokenHash, Transcript,
};
pub use envelopes::{PaddedBody, Seq};
pub use error::{ErrorCode, Problem};
pub use limits::Limits;
pub use slots::SlotId;
pub use tokens::DeliveryToken;
