//! The operator's notice: kept by the store, signed with the relay key when it is put up, and watched by whoever tells it.

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use super::{Error, Relay, Result};
use crate::protocol::info::{Notice, check_notice, notice_transcript};
use crate::protocol::{ErrorCode, Signature};
use crate::store::KeptNotice;

/// Where the notice hangs. What is seen there is on disk.
#[derive(Default)]
pub(crate) struct Board {
    shown: watch::Sender<Option<Arc<Notice>>>,
    /// Held from the write to the showing of it, so that the last one written is the one that is seen.
    turn: Mutex<()>,
}

impl Relay {
    /// Puts a notice in the place of the one before. Not cancel-safe: dropped, it may be kept and not yet seen.
    pub async fn set_notice(&self, text: &str) -> Result<Notice> {
        check_notice(text).map_err(|error| Error::refused(ErrorCode::BadRequest, error.to_string()))?;
        let _turn = self.inner.notice.turn.lock().await;
        let kept = KeptNotice { text: text.to_string(), set_at: self.now() };
        self.inner.store.put_notice(Some(kept.clone())).await?;
        let notice = self.signed(kept);
        self.inner.notice.shown.send_replace(Some(Arc::new(notice.clone())));
        Ok(notice)
    }

    /// Takes the notice back; false when there is none. Not cancel-safe, as [`set_notice`](Self::set_notice).
    pub async fn clear_notice(&self) -> Result<bool> {
        let _turn = self.inner.notice.turn.lock().await;
        let cleared = self.inner.store.put_notice(None).await?;
        self.inner.notice.shown.send_replace(None);
        Ok(cleared)
    }

    /// The notice that stands, and every change of it.
    pub fn notice(&self) -> watch::Receiver<Option<Arc<Notice>>> {
        self.inner.notice.shown.subscribe()
    }

    /// At the start: shows what the store has kept.
    pub(crate) async fn put_up_notice(&self) -> Result<()> {
        let kept = self.inner.store.notice().await?;
        self.inner.notice.shown.send_replace(kept.map(|kept| Arc::new(self.signed(kept))));
        Ok(())
    }

    fn signed(&self, KeptNotice { text, set_at }: KeptNotice) -> Notice {
        let signature = Signature(self.inner.settings.relay_key.sign(&notice_transcript(set_at, &text)));
        Notice { text, set_at, signature }
    }
}
