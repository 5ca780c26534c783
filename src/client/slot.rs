//! The slot in which an account's devices keep what they have in common: its id and key, its form, and the requests for it.
//!
//! Called by `kept`, which decides what is in it and when it is read and written. Requests are tried once: whoever makes
//! them does so again later.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::Client;
use super::error::{Error, Result};
use super::http::{Condition, Lane, NOTHING};
use super::secret::Secret;
use crate::crypto::derive::derive;
use crate::crypto::locker::{Locker, OVERHEAD};
use crate::crypto::random;
use crate::protocol::accounts::DeletedReply;
use crate::protocol::slots::{
    DeleteSlotRequest, PutSlotReply, PutSlotRequest, SLOT_SIZES, SlotReply, slot_aad, slot_id_info, slot_key_info,
};
use crate::protocol::{AccountId, Bytes, ErrorCode, SlotId};

/// A slot of one epoch.
pub(super) struct Slot {
    pub(super) id: SlotId,
    key: Zeroizing<[u8; 32]>,
}

impl Slot {
    pub(super) fn of(sync_key: &Secret, account: &AccountId, part: u8) -> Self {
        let id = SlotId(*derive(sync_key.bytes(), &slot_id_info(account, part)));
        Self { id, key: derive(sync_key.bytes(), &slot_key_info(account, part)) }
    }

    /// Whether there is a size that holds it.
    pub(super) fn holds(json: &[u8]) -> bool {
        SLOT_SIZES.into_iter().any(|size| json.len() + LENGTH + OVERHEAD <= size)
    }

    /// The content of a version, in the smallest size that holds it; none where none does.
    pub(super) fn locked(&self, version: u64, json: &[u8]) -> Option<Vec<u8>> {
        let size = SLOT_SIZES.into_iter().find(|size| json.len() + LENGTH + OVERHEAD <= *size)?;
        let mut plain = Zeroizing::new(Vec::with_capacity(size - OVERHEAD));
        plain.extend_from_slice(&(json.len() as u32).to_be_bytes());
        plain.extend_from_slice(json);
        plain.resize(size - OVERHEAD, 0);
        Some(self.locker().lock(random::bytes(), &slot_aad(&self.id, version), &plain))
    }

    /// What was locked for this slot and version.
    pub(super) fn opened(&self, version: u64, content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let plain = self.locker().unlock(&slot_aad(&self.id, version), content)?;
        let (length, rest) = plain.split_first_chunk::<LENGTH>()?;
        let (json, padding) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        padding.iter().all(|byte| *byte == 0).then(|| Zeroizing::new(json.to_vec()))
    }

    pub(super) fn locker(&self) -> Locker {
        Locker::new(&self.key)
    }
}

impl Client {
    /// The slot as it is; none where there is none.
    pub(super) async fn read_slot(&mut self, slot: &SlotId) -> Result<Option<SlotReply>> {
        match self.about_slot(Method::GET, "/v1/slot", slot, Condition::Any, NOTHING).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.code() == Some(ErrorCode::NoSuchSlot) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts content in the place of that of the version before this; false when another version is there.
    pub(super) async fn write_slot(&mut self, slot: &SlotId, version: u64, content: Vec<u8>) -> Result<bool> {
        let condition = if version == 1 { Condition::New } else { Condition::Version(version - 1) };
        let request = PutSlotRequest { content: Bytes(content) };
        let answer: Result<PutSlotReply> = self.about_slot(Method::PUT, "/v1/slot", slot, condition, Some(&request)).await;
        match answer {
            Ok(reply) if reply.version == version => Ok(true),
            Ok(_) => Err(Error::Untrue("the relay numbers a slot's versions as it likes")),
            Err(error) if error.code() == Some(ErrorCode::SlotChanged) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a slot, if it is there.
    pub(super) async fn delete_slot(&mut self, slot: &SlotId) -> Result<()> {
        let request = DeleteSlotRequest {};
        let _: DeletedReply = self.about_slot(Method::POST, "/v1/slot/delete", slot, Condition::Any, Some(&request)).await?;
        Ok(())
    }

    async fn about_slot<Q: Serialize, R: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        slot: &SlotId,
        condition: Condition,
        body: Option<&Q>,
    ) -> Result<R> {
        let session = self.session().await?;
        let first = self.http.once(method.clone(), Lane::Slot(&session, slot, condition), path, body, Duration::ZERO).await;
        if !first.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::NoSession)) {
            return first;
        }
        self.forget_session();
        let session = self.session().await?;
        self.http.once(method, Lane::Slot(&session, slot, condition), path, body, Duration::ZERO).await
    }
}

/// Of the length in front of the JSON.
const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_opens_in_its_slot_and_version_alone() {
        let (account, key) = (AccountId([1; 32]), Secret::of(&[2; 32]));
        let slot = Slot::of(&key, &account, 0);
        for (length, size) in [(0, 1_024), (992, 1_024), (993, 4_096), (16_353, 65_536), (65_504, 65_536)] {
            let json = vec![b'x'; length];
            let content = slot.locked(7, &json).expect("it fits");
            assert_eq!(content.len(), size);
            assert_eq!(slot.opened(7, &content).expect("its own").as_slice(), json);
            assert!(slot.opened(8, &content).is_none(), "of another version");
        }
        assert!(slot.locked(7, &vec![b'x'; 65_505]).is_none());
        assert!(Slot::holds(&vec![b'x'; 65_504]) && !Slot::holds(&vec![b'x'; 65_505]));
        let content = slot.locked(7, b"{}").expect("it fits");
        for other in
            [Slot::of(&key, &AccountId([9; 32]), 0), Slot::of(&Secret::of(&[9; 32]), &account, 0), Slot::of(&key, &account, 1)]
        {
            assert_ne!(other.id, slot.id);
            assert!(other.opened(7, &content).is_none());
        }
    }

    #[test]
    fn padding_is_zeros_and_lengths_are_true() {
        let slot = Slot::of(&Secret::of(&[2; 32]), &AccountId([1; 32]), 0);
        let content = |plain: &[u8]| Locker::new(&slot.key).lock(random::bytes(), &slot_aad(&slot.id, 1), plain);
        assert!(slot.opened(1, &content(b"\0\0\0\x02{}\0\0")).is_some());
        for bad in [&b"\0\0\0\x02{}\0\x01"[..], b"\0\0\0\x03{}", b"\0\0\0", b"\xff\xff\xff\xff{}"] {
            assert!(slot.opened(1, &content(bad)).is_none());
        }
    }
}
