//! The operator's notice: told once, and only when it is the pinned relay that says it.

use super::Client;
use super::error::Result;
use super::event::What;
use crate::crypto::sign;
use crate::protocol::Hash;
use crate::protocol::info::{Info, Notice, check_notice, notice_transcript};

impl Client {
    /// Adds a notice to the events that wait to be shown, unless it was told before or the pinned relay did not sign it. True
    /// when it is genuine, told before or not. The caller holds the profile's lock, and saves.
    pub(super) fn take_notice(&mut self, notice: &Notice) -> bool {
        let transcript = notice_transcript(notice.set_at, &notice.text);
        let genuine = sign::verify(&self.state.relay.key.0, &transcript, &notice.signature.0).is_ok();
        if !genuine || check_notice(&notice.text).is_err() {
            return false;
        }
        let (told, hash) = (&mut self.state.notices_told, Hash::of(&transcript));
        if !told.contains(&hash) {
            told.push(hash);
            let surplus = told.len().saturating_sub(TOLD_MAX);
            told.drain(..surplus);
            let now = self.clock.now();
            self.state.tell(now, What::Notice { text: notice.text.clone(), set_at: notice.set_at });
        }
        true
    }

    /// The same for what the relay says of itself, and saves.
    pub(super) fn take_notice_of(&mut self, info: &Info) -> Result<bool> {
        let genuine = info.notice.as_ref().is_none_or(|notice| self.take_notice(notice));
        self.save()?;
        Ok(genuine)
    }
}

/// Notices that are known again. An older one than these comes only from a relay that was put back to an old copy.
const TOLD_MAX: usize = 8;
