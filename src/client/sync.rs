//! What the devices of one account share: the sync key of the epoch.

use super::secret::Secret;
use crate::crypto::derive::derive;
use crate::crypto::sign;
use crate::protocol::AccountId;
use crate::protocol::linking::sync_key_info;

/// The sync key of an epoch, of the account key.
pub(crate) fn sync_key(account_key: &sign::KeyPair, epoch: u32) -> Secret {
    Secret::of(&derive(&account_key.seed(), &sync_key_info(&AccountId(account_key.public()), epoch)))
}
