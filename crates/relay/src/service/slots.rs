//! Slots: what an account's devices keep for each other. Nothing in here looks into one.

use super::auth::Session;
use super::{Error, Relay, Result};
use crate::protocol::slots::{PutSlotReply, PutSlotRequest, SLOT_SIZES, SlotReply};
use crate::protocol::{Bytes, ErrorCode, SlotId};
use crate::store::{SlotCondition, SlotPut};

impl Relay {
    /// One of the account's slots.
    pub async fn slot(&self, session: &Session, slot: SlotId) -> Result<SlotReply> {
        let found = self.inner.store.slot(session.account, slot).await?;
        let (version, content) = found.ok_or_else(|| Error::refused(ErrorCode::NoSuchSlot, "there is no such slot yet"))?;
        Ok(SlotReply { version, content: Bytes(content) })
    }

    /// Changes a slot, where it still is what the writer thinks it is: the version that must be there, or none.
    pub async fn put_slot(
        &self,
        session: &Session,
        slot: SlotId,
        version: Option<u64>,
        request: PutSlotRequest,
    ) -> Result<PutSlotReply> {
        let content = request.content.0;
        if !SLOT_SIZES.contains(&content.len()) {
            let detail = "$.content is exactly 1024, 4096, 16384 or 65536 bytes";
            return Err(Error::refused(ErrorCode::BadSize, detail));
        }
        if !self.has_room() {
            return Err(Error::refused(ErrorCode::RelayFull, "the relay's disk is full; try again later"));
        }
        let condition = version.map_or(SlotCondition::New, SlotCondition::Version);
        let slots_max = self.limits().slots_max;
        match self.inner.store.put_slot(session.account, slot, condition, content, slots_max).await? {
            SlotPut::Done(version) => Ok(PutSlotReply { version }),
            SlotPut::Changed => {
                let detail = "the slot is not of the version that the condition says; read it, merge, and try again";
                Err(Error::refused(ErrorCode::SlotChanged, detail))
            }
            SlotPut::TooMany => {
                Err(Error::refused(ErrorCode::TooManySlots, format!("the account has {slots_max} slots; delete one first")))
            }
        }
    }

    /// Deletes a slot; false when there was none.
    pub async fn delete_slot(&self, session: &Session, slot: SlotId) -> Result<bool> {
        Ok(self.inner.store.delete_slot(session.account, slot).await?)
    }
}
