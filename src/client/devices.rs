//! The account's devices: shown, removed, and removed for good with the words.

use super::Client;
use super::approve::removed;
use super::content::Content;
use super::error::{Error, Result};
use super::lists;
use super::own_list::no_list_key;
use super::secret::Secret;
use super::sync::sync_key;
use super::words::Words;
use crate::protocol::{AccountId, DeviceId};

/// A device of the own account, to be shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeviceInfo {
    /// Its id.
    pub device: DeviceId,
    /// Whether it is this one.
    pub this: bool,
    /// The week of its last login: Unix time divided by 604,800. None where the relay says nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_week: Option<u64>,
    /// Until when messages can be sealed to it without it having written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prekey_expires_at: Option<u64>,
}

impl Client {
    /// The account's devices, as the list says; what the relay adds to it is when each was seen.
    pub async fn devices(&mut self) -> Result<Vec<DeviceInfo>> {
        let _lock = self.enter().await?;
        let refreshed = self.refresh_own().await;
        self.save()?;
        let account = refreshed?;
        let info = |device: DeviceId| {
            let item = account.devices.iter().find(|item| item.device == device);
            let this = self.state.is_this(&device);
            let (seen_week, prekey_expires_at) =
                item.map_or((None, None), |item| (Some(item.seen_week), item.prekey_expires_at));
            DeviceInfo { device, this, seen_week, prekey_expires_at }
        };
        Ok(self.state.own_list().entries.iter().map(|entry| info(entry.device)).collect())
    }

    /// Removes another device of the account, named by its id or the beginning of it: what waits for it and its sessions are gone at
    /// once. Contacts are told. It has still seen the keys that the devices share: one that is lost goes by
    /// [`remove_stolen`](Client::remove_stolen).
    pub async fn remove_device(&mut self, id: &str) -> Result<DeviceId> {
        let _lock = self.enter().await?;
        let device = self.other_device(id).await?;
        if !self.state.holds_list_key() {
            return Err(no_list_key());
        }
        self.change_list(|entries| {
            entries.retain(|entry| entry.device != device);
            Ok(())
        })
        .await?;
        let list = Content::List { device_list: self.state.device_list.clone() };
        self.tell_own_devices(list).await?;
        Ok(device)
    }

    /// Removes another device with the words: a new epoch begins, with a new list key and a new sync key, which the other devices are
    /// sent. Nothing that was on it is of use for the account from then on. None: it was gone already, and the keys alone are new;
    /// for that the id must be given in full.
    pub async fn remove_stolen(&mut self, id: &str, words: &Words) -> Result<Option<DeviceId>> {
        let _lock = self.enter().await?;
        let account_key = words.key();
        if AccountId(account_key.public()) != self.state.account {
            return Err(Error::asked(
                "the words are another account's",
                "type the words of this account, as `init` showed them",
            ));
        }
        let device = match self.other_device(id).await {
            Ok(device) => Some(device),
            // It was removed before, or by an earlier try whose answer was lost, and the new epoch's keys with it.
            Err(Error::Asked { .. }) if self.state.is_listed() && self.is_gone(id) => None,
            Err(error) => return Err(error),
        };
        let list_key = Secret::generate();
        self.replace_list(|state| {
            let mut entries = state.own_list().entries;
            entries.retain(|entry| Some(entry.device) != device);
            lists::next_epoch(&state.device_list, &account_key, &list_key.signing(), entries).map(Some)
        })
        .await?;
        self.state.list_key = list_key.clone();
        let sync_key = sync_key(&account_key, self.state.own_list().epoch);
        self.state.hold_sync_key(sync_key.clone());
        self.save()?;
        let keys = Content::Keys { device_list: self.state.device_list.clone(), list_key, sync_key };
        self.tell_own_devices(keys).await?;
        self.send_revocations().await.ok();
        Ok(device)
    }

    /// Sends something to the other devices, at once where that can be; else it is queued.
    async fn tell_own_devices(&mut self, content: Content) -> Result<()> {
        if !self.state.has_other_devices() {
            return Ok(());
        }
        let own = self.state.account;
        self.state.queue(own, content, None);
        self.save()?;
        self.flush(Some(own)).await.map(drop)
    }

    /// Whether an id, given in full, is no listed device's.
    fn is_gone(&self, id: &str) -> bool {
        id.parse::<DeviceId>().is_ok_and(|device| self.state.own_list().entry(&device).is_none())
    }

    /// The listed device whose id begins so; never this one.
    async fn other_device(&mut self, id: &str) -> Result<DeviceId> {
        let refreshed = self.refresh_own().await;
        self.save()?;
        refreshed?;
        let own = self.state.own_list();
        if !self.state.is_listed() {
            return Err(removed());
        }
        let mut found = own.entries.iter().map(|entry| entry.device).filter(|device| device.encode().starts_with(id));
        let device = match (found.next(), found.next()) {
            (Some(device), None) if !id.is_empty() => device,
            (None, _) => return Err(Error::asked("no device's id begins so", "`restante client devices` lists them")),
            _ => return Err(Error::asked("more than one device's id begins so", "give more of it")),
        };
        if self.state.is_this(&device) {
            let hint = "remove it from another device; or `delete` the account, if it is to be gone as a whole";
            return Err(Error::asked("that is this device", hint));
        }
        Ok(device)
    }
}
