//! Random bytes from the operating system, and nowhere else.

use std::sync::Arc;

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes, or nothing here is safe to run");
    bytes
}

/// Where a floor takes its randomness from; tests put a repeatable source in its place.
pub type Source = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The operating system as a [`Source`].
pub fn system() -> Source {
    Arc::new(|bytes| getrandom::fill(bytes).expect("the operating system gives random bytes, or nothing here is safe to run"))
}
