#![doc = "placeholder"]
pub mod crypto;
pub mod protocol;
#[cfg(feature = "server")]
pub mod store;
