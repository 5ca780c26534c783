//! Floor 0 of restante's house, which the relay and its clients share: [`protocol`] and [`crypto`]. `restante` re-exports both;
//! depend on that.

pub mod crypto;
pub mod protocol;
#[cfg(feature = "sabotage")]
#[doc(hidden)]
pub mod sabotage;
