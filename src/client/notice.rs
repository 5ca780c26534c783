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

    /// The same for what came by a stream.
    pub(super) async fn take_notice_heard(&mut self, notice: &Notice) -> Result<()> {
        let _lock = self.enter().await?;
        self.take_notice(notice);
        self.save()
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

#[cfg(test)]
mod tests {
    use super::super::http::Http;
    use super::super::profile::Profile;
    use super::super::{Clock, dial, state};
    use super::*;
    use crate::protocol::{RelayKey, Signature};

    fn client(directory: &std::path::Path, relay_key: &sign::KeyPair) -> Client {
        let mut state = state::tests::state();
        state.relay.key = RelayKey(relay_key.public());
        let http = Http::new(&dial(&state).expect("an origin")).expect("a client");
        Client::of(Profile::create(&directory.join("profile")).expect("a profile"), state, http, Clock::from_fn(|| 7))
    }

    fn notice(key: &sign::KeyPair, set_at: u64, text: &str) -> Notice {
        let signature = Signature(key.sign(&notice_transcript(set_at, text)));
        Notice { text: text.into(), set_at, signature }
    }

    fn told(client: &Client) -> Vec<(u64, String)> {
        let words = client.state.inbox.iter().map(|event| match &event.what {
            What::Notice { text, set_at } => (*set_at, text.clone()),
            other => panic!("{other:?}"),
        });
        words.collect()
    }

    #[test]
    fn each_is_told_once() {
        let (directory, key) = (tempfile::tempdir().expect("a directory"), sign::KeyPair::generate());
        let mut client = client(directory.path(), &key);
        for (set_at, text) in [(1, "one"), (1, "one"), (2, "one"), (2, "two"), (1, "one"), (2, "one")] {
            assert!(client.take_notice(&notice(&key, set_at, text)));
        }
        assert_eq!(told(&client), [(1, "one".into()), (2, "one".into()), (2, "two".into())]);
        for set_at in 3..100 {
            assert!(client.take_notice(&notice(&key, set_at, "more")));
        }
        assert_eq!(client.state.notices_told.len(), TOLD_MAX);
        assert!(client.take_notice(&notice(&key, 99, "more")));
        assert_eq!(told(&client).len(), 100);
    }

    #[test]
    fn what_the_pinned_relay_did_not_sign_is_not_told() {
        let (directory, key) = (tempfile::tempdir().expect("a directory"), sign::KeyPair::generate());
        let mut client = client(directory.path(), &key);
        let good = notice(&key, 1, "one");
        let mut forged = vec![notice(&sign::KeyPair::generate(), 1, "one")];
        forged.push(Notice { text: "two".into(), ..good.clone() });
        forged.push(Notice { set_at: 2, ..good.clone() });
        // Signed, and yet none.
        forged.extend(["", "\u{1b}[2J", &"x".repeat(1_001)].map(|text| notice(&key, 1, text)));
        for notice in forged {
            assert!(!client.take_notice(&notice), "{notice:?}");
        }
        assert!(told(&client).is_empty() && client.state.notices_told.is_empty());
        assert!(client.take_notice(&good));
    }
}
