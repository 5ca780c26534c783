//! Floor 0: primitives, bytes in and bytes out; nothing here knows what an account or an envelope is.
//!
//! `sign` is Ed25519, `exchange` is X25519 key pairs, `derive` makes keys of keys, `locker` locks what is kept somewhere
//! else than its key, `wrap` is the relay's layer around an envelope at rest (both halves, side by side), `seal` the end-to-end
//! layer, which only clients may name. Everything comes from widely used crates: composition is ours, primitives never are.

pub mod derive;
pub mod exchange;
pub mod locker;
pub mod random;
pub mod seal;
pub mod sign;
pub mod wrap;
