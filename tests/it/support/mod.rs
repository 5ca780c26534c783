//! What several topics need to test with.

pub(crate) mod bench;
pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod household;
pub(crate) mod liar;
pub(crate) mod memory_store;
pub(crate) mod person;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod ws;
