//! What the relay says of itself to anybody.

use super::Relay;
use crate::protocol::handles::handle_salt;
use crate::protocol::info::Info;
use crate::protocol::{Bytes, RelayKey};

impl Relay {
    /// `GET /v1/info`.
    pub fn info(&self) -> Info {
        let settings = &self.inner.settings;
        Info {
            version: 1,
            software: SOFTWARE.to_string(),
            features: ["stream", "knock", "handle", "slot", "totp"].map(str::to_string).to_vec(),
            relay_key: self.inner.relay_key,
            handle_salt: Bytes(handle_salt(&self.inner.relay_key).to_vec()),
            fingerprint: self.inner.relay_key.fingerprint(),
            origins: settings.origins.clone(),
            registration: settings.registration,
            retention_secs: settings.retention_secs,
            now: self.now(),
            limits: settings.limits.table(),
            notice: self.notice().borrow().as_deref().cloned(),
        }
    }

    /// The relay's name.
    pub fn key(&self) -> RelayKey {
        self.inner.relay_key
    }
}

const SOFTWARE: &str = concat!("restante/", env!("CARGO_PKG_VERSION"));
