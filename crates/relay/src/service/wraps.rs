//! The wrap keys: one for a device and a clock hour, in memory for that hour only.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use lru::LruCache;

use super::Relay;
use crate::crypto::wrap::WrapKey;
use crate::protocol::envelopes::{wrap_aad, wrap_info, wrap_key_context};
use crate::protocol::time::floor_hour;
use crate::protocol::{DeviceId, SealingKey};

pub(crate) struct Wraps {
    hour: Mutex<Hour>,
}

struct Hour {
    began: u64,
    keys: LruCache<DeviceId, Arc<WrapKey>>,
}

impl Default for Wraps {
    fn default() -> Self {
        Self { hour: Mutex::new(Hour { began: 0, keys: LruCache::new(WRAP_KEYS_MAX) }) }
    }
}

impl Relay {
    /// `wrap` and body of an envelope as it is stored. The nonce is random and never derived from a seq: a failed
    /// transaction gives a seq out again.
    pub(crate) fn wrap(
        &self,
        device: &DeviceId,
        sealing_key: &SealingKey,
        expires_at: u64,
        plaintext: &[u8],
    ) -> Option<(Vec<u8>, Vec<u8>)> {
        let key = self.inner.wraps.key(device, sealing_key, floor_hour(self.now()))?;
        let mut nonce = [0; 12];
        (self.inner.random)(&mut nonce);
        let mut wrap = Vec::with_capacity(44);
        wrap.extend_from_slice(&key.enc);
        wrap.extend_from_slice(&nonce);
        Some((wrap, key.wrap(&nonce, &wrap_aad(device, expires_at), plaintext)))
    }

    /// Forgets every wrap key of an hour that is over; called by the jobs and by the first wrap of an hour.
    pub fn rotate_wraps(&self) {
        self.inner.wraps.enter(floor_hour(self.now()));
    }
}

impl Wraps {
    pub(crate) fn forget(&self, devices: &[DeviceId]) {
        let mut hour = self.lock();
        for device in devices {
            hour.keys.pop(device);
        }
    }

    fn enter(&self, began: u64) {
        let over = {
            let mut hour = self.lock();
            if hour.began == began {
                return;
            }
            hour.began = began;
            std::mem::replace(&mut hour.keys, LruCache::new(WRAP_KEYS_MAX))
        };
        // Outside the lock: they may be many.
        drop(over);
    }

    /// None for a sealing key of small order, which no list that was accepted holds.
    fn key(&self, device: &DeviceId, sealing_key: &SealingKey, began: u64) -> Option<Arc<WrapKey>> {
        self.enter(began);
        if let Some(key) = self.lock().keys.get(device) {
            return Some(Arc::clone(key));
        }
        // Agreed on outside the lock: 60 µs. Two senders at once make two keys, and both are good.
        let key = Arc::new(WrapKey::new(&sealing_key.0, &wrap_info(device), &wrap_key_context()).ok()?);
        let mut hour = self.lock();
        if hour.began == began {
            hour.keys.put(*device, Arc::clone(&key));
        }
        Some(key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Hour> {
        self.hour.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Keys at once, some 200 bytes each; a device beyond that costs an agreement more.
const WRAP_KEYS_MAX: NonZeroUsize = NonZeroUsize::new(131_072).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::exchange::KeyPair;

    #[test]
    fn a_key_is_for_a_device_and_an_hour_and_is_forgotten_with_either() {
        let (wraps, sealing_key) = (Wraps::default(), SealingKey(KeyPair::generate().public()));
        let (first, second) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let key = |device, began| wraps.key(device, &sealing_key, began).expect("a good sealing key").enc;
        let known = || wraps.lock().keys.len();
        let (of_first, of_second) = (key(&first, 3_600), key(&second, 3_600));
        assert_eq!((key(&first, 3_600), key(&second, 3_600), known()), (of_first, of_second, 2));
        wraps.forget(&[first]);
        assert_eq!(known(), 1);
        assert_ne!(key(&first, 3_600), of_first);
        assert_eq!(key(&second, 3_600), of_second);
        wraps.enter(7_200);
        assert_eq!(known(), 0);
        assert_ne!(key(&second, 7_200), of_second);
        assert_eq!(size_of::<WrapKey>(), 64, "many are kept, so none keeps a cipher");
    }
}
