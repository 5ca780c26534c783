//! Accounts as the operator deals with them, by opaque id: listed, suspended, deleted. Only the operator comes here.

use std::str::FromStr;

use super::{Error, Relay, Result};
use crate::protocol::{AccountId, ErrorCode};
pub use crate::store::{AccountItem, AccountPage};

impl Relay {
    /// A page of accounts from `from` on; none: from the first.
    pub async fn accounts(&self, from: Option<AccountId>) -> Result<AccountPage> {
        let from = from.unwrap_or(AccountId([0; 32]));
        Ok(self.inner.store.accounts(from, ACCOUNTS_PAGE_MAX, self.now()).await?)
    }

    /// The one account whose id begins so.
    pub async fn account_named(&self, beginning: &str) -> Result<AccountItem> {
        let bad = |detail| Error::refused(ErrorCode::BadRequest, detail);
        let none = || Error::refused(ErrorCode::NoSuchAccount, "no account's id begins so");
        if beginning.is_empty() || beginning.len() > ID_LETTERS {
            return Err(bad("an account is named by its id, or by the beginning of it"));
        }
        // The least id that begins so, if the rest were zeros: those that do follow one another from there.
        let from = AccountId::from_str(&format!("{beginning:A<ID_LETTERS$}"));
        let from = from.map_err(|_| bad("an account's id is of letters, digits, `-` and `_`"))?;
        let page = self.inner.store.accounts(from, 1, self.now()).await?;
        let begins = |account: &AccountId| account.encode().starts_with(beginning);
        let found = page.accounts.into_iter().find(|item| begins(&item.account)).ok_or_else(none)?;
        if page.next.is_some_and(|next| begins(&next)) {
            return Err(bad("the ids of several accounts begin so; give more of the one that is meant"));
        }
        Ok(found)
    }

    /// Keeps an account out, or lets it in again, and gives it as it is then. Its sessions and streams end at once.
    pub async fn suspend_account(&self, beginning: &str, suspended: bool) -> Result<AccountItem> {
        let item = self.account_named(beginning).await?;
        let devices = self.inner.store.suspend(item.account, suspended).await?.unwrap_or_default();
        if suspended {
            self.end_sessions_of(&devices);
        }
        Ok(AccountItem { suspended, ..item })
    }

    /// Deletes an account and gives it as it was.
    pub async fn remove_account(&self, beginning: &str) -> Result<AccountItem> {
        let item = self.account_named(beginning).await?;
        let devices = self.inner.store.delete_account(item.account).await?;
        self.forget_devices(&devices);
        Ok(item)
    }
}

/// Accounts a page; some 250 bytes each as JSON.
const ACCOUNTS_PAGE_MAX: u64 = 1_000;
/// Letters of an id.
const ID_LETTERS: usize = 43;
