//! Accounts as the operator deals with them.

use async_trait::async_trait;
use restante::protocol::{AccountId, DeviceId};
use restante::store::{AccountItem, AccountPage, Accounts, Result, Roster};

use super::MemoryStore;

#[async_trait]
impl Roster for MemoryStore {
    async fn accounts(&self, from: AccountId, limit: u64, now: u64) -> Result<AccountPage> {
        let ids: Vec<AccountId> = self.open()?.accounts.range(from..).map(|(account, _)| *account).collect();
        let mut accounts = Vec::new();
        for account in ids.iter().take(limit as usize) {
            let held = self.account(*account, now).await?.expect("it was just found");
            accounts.push(AccountItem {
                account: *account,
                devices: held.devices.len() as u64,
                envelopes: held.devices.iter().map(|device| device.envelopes).sum(),
                bytes: held.devices.iter().map(|device| device.bytes).sum(),
                tokens: held.tokens,
                seen_week: held.devices.iter().map(|device| device.seen_week).max().unwrap_or(0),
                suspended: self.open()?.suspended.contains(account),
            });
        }
        Ok(AccountPage { accounts, next: ids.get(limit as usize).copied() })
    }

    async fn suspend(&self, account: AccountId, suspended: bool) -> Result<Option<Vec<DeviceId>>> {
        let mut state = self.open()?;
        let Some(current) = state.accounts.get(&account) else { return Ok(None) };
        let devices = current.list.entries.iter().map(|entry| entry.device).collect();
        if suspended {
            state.suspended.insert(account);
        } else {
            state.suspended.remove(&account);
        }
        Ok(Some(devices))
    }
}
