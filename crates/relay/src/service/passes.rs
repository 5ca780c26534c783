//! Passes: codes with which people register where registration is not open. Only the operator comes here.

use serde::{Deserialize, Serialize};

use super::{Relay, Result};
use crate::protocol::Hash;
use crate::protocol::accounts::pass_hash;
pub use crate::store::PassItem;

/// A fresh pass; the code is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewPass {
    /// What the newcomer types: four groups of five letters and digits, 100 bits.
    pub code: String,
    /// Registrations it is good for.
    pub uses: u64,
    /// Until when.
    pub expires_at: u64,
}

impl Relay {
    /// Makes a pass for so many registrations within so many seconds.
    pub async fn create_pass(&self, uses: u64, expires_in_secs: u64) -> Result<NewPass> {
        let mut random = [0; CODE_LETTERS];
        (self.inner.random)(&mut random);
        let letters: Vec<char> = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
        let pass = NewPass { code: groups.join("-"), uses, expires_at: self.now().saturating_add(expires_in_secs) };
        let item = PassItem { hash: pass_hash(&pass.code), uses_left: uses, expires_at: pass.expires_at };
        self.inner.store.add_pass(item).await?;
        Ok(pass)
    }

    /// The passes that are still good.
    pub async fn passes(&self) -> Result<Vec<PassItem>> {
        Ok(self.inner.store.passes(self.now()).await?)
    }

    /// Ends a pass, named by its code or by the hash that the list shows; false when there is none.
    pub async fn revoke_pass(&self, code_or_hash: &str) -> Result<bool> {
        let hash = code_or_hash.parse::<Hash>().unwrap_or_else(|_| pass_hash(code_or_hash));
        Ok(self.inner.store.revoke_pass(hash).await?)
    }
}

/// Crockford's base 32 without letters that look like digits: 5 bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 100 bits: no slow hash is needed.
const CODE_LETTERS: usize = 20;
