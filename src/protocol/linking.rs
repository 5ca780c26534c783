//! What the devices of one account derive from its words (`docs/protocol.md` §12.4).

use super::bytes::{AccountId, Transcript};

/// HKDF `info` of the sync key of an epoch.
pub fn sync_key_info(account: &AccountId, epoch: u32) -> Vec<u8> {
    Transcript::new("/sync-key").fixed(account).u32(epoch).bytes()
}
