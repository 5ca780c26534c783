//! Accounts: registration, device lists, recovery, deletion.

use super::auth::{Session, login_refused};
use super::rates::Prefix;
use super::{Error, Relay, Result};
use crate::crypto::{exchange, sign};
use crate::protocol::accounts::{
    AccountReply, DeleteAccountRequest, DeletedReply, ListReply, PutListRequest, RecoverRequest, RegisterReply,
    RegisterRequest, pass_hash,
};
use crate::protocol::auth::Proof;
use crate::protocol::info::Registration;
use crate::protocol::{DeviceId, ErrorCode, SignedList};
use crate::store::{NewList, Registered, Replaced, Successor};

impl Relay {
    /// Makes an account of a valid list, proved by one of its devices. The same list again is answered as the first time and
    /// uses up neither challenge nor pass.
    pub async fn register(&self, request: &RegisterRequest, prefix: Option<Prefix>) -> Result<RegisterReply> {
        self.refusals_counted(prefix, async {
            let challenge = self.check_challenge(&request.device, &request.challenge)?;
            let list_hash = request.device_list.hash();
            self.check_proof(&request.device, &challenge, &request.device.0, &request.signature, |proof| {
                proof.register(&list_hash)
            })?;
            let new = self.valid_list(&request.device_list)?;
            let account = new.list.account;
            if new.list.entry(&request.device).is_none() {
                return Err(Error::refused(ErrorCode::BadList, "the device that signs stands in the list"));
            }
            let now = self.now();
            let known = self.inner.store.account(account, now).await?;
            if known.is_some_and(|known| known.device_list == request.device_list) {
                return Ok(RegisterReply { account });
            }
            let pass_needed = match self.inner.settings.registration {
                Registration::Open => false,
                Registration::Pass => true,
                Registration::Closed | Registration::Unknown => {
                    return Err(Error::refused(ErrorCode::RegistrationClosed, "this relay takes no new accounts"));
                }
            };
            if !self.has_room() {
                return Err(Error::refused(ErrorCode::Busy, "the relay has too little room for new accounts"));
            }
            self.spend(&challenge)?;
            let pass = request.pass.as_deref().map(pass_hash);
            match self.inner.store.register(new, pass, pass_needed, now).await? {
                Registered::Created | Registered::Repeated => Ok(RegisterReply { account }),
                Registered::AccountExists => Err(Error::refused(
                    ErrorCode::AccountExists,
                    "the account is registered with another list; recover it instead",
                )),
                Registered::DeviceTaken => Err(device_taken()),
                Registered::PassRefused => Err(Error::refused(
                    ErrorCode::PassRefused,
                    "registration here needs a pass that is good; ask the operator for one (`restante pass create`)",
                )),
            }
        })
        .await
    }

    /// Puts a list in the place of the account's current one. One that adds a device takes an elevated session.
    pub async fn put_list(&self, session: &Session, request: &PutListRequest) -> Result<ListReply> {
        let new = self.valid_list(&request.device_list)?;
        if new.list.account != session.account {
            return Err(Error::refused(ErrorCode::BadList, "$.device_list is another account's"));
        }
        let elevated = self.elevated(session).await;
        if elevated.is_err() && self.adds_a_device(session, &new).await? {
            elevated?;
        }
        self.replace(new, Successor::Next).await
    }

    /// Whether a list has a device that the current one has not. A device that goes from the list after this was asked is
    /// never accepted again, so the answer stays right.
    async fn adds_a_device(&self, session: &Session, new: &NewList) -> Result<bool> {
        let current = self.account(session).await?.device_list;
        // What was stored was parsed before; if it could not be now, every device counts as new.
        let current = current.parse().map(|(_, list)| list).ok();
        let known = |device: &DeviceId| current.as_ref().is_some_and(|list| list.entry(device).is_some());
        Ok(!new.list.entries.iter().all(|entry| known(&entry.device)))
    }

    /// Puts a list of a higher epoch in place, on the account key's word alone: no session, so that a thief of every device
    /// cannot lock the owner out.
    pub async fn recover(&self, request: &RecoverRequest, prefix: Option<Prefix>) -> Result<ListReply> {
        self.refusals_counted(prefix, async {
            let challenge = self.check_challenge(&request.device, &request.challenge)?;
            let new = self.valid_list(&request.device_list)?;
            let (account, list_hash) = (new.list.account, request.device_list.hash());
            self.check_proof(&request.device, &challenge, &account.0, &request.account_signature, |proof: &Proof<'_>| {
                proof.recover(&account, &list_hash)
            })?;
            if new.list.entry(&request.device).is_none() {
                return Err(login_refused());
            }
            self.spend(&challenge)?;
            let reply = self.replace(new, Successor::HigherEpoch).await?;
            self.inner.factors.forget(&account);
            Ok(reply)
        })
        .await
    }

    /// Deletes the account: a session alone never does. The second factor is asked for before the challenge is used up.
    pub async fn delete_account(&self, session: &Session, request: &DeleteAccountRequest) -> Result<DeletedReply> {
        self.elevated(session).await?;
        let challenge = self.check_challenge(&session.device, &request.challenge)?;
        self.check_proof(&session.device, &challenge, &session.device.0, &request.signature, |proof| {
            proof.delete_account(&session.account)
        })?;
        self.spend(&challenge)?;
        let devices = self.inner.store.delete_account(session.account).await?;
        self.forget_devices(&devices);
        self.inner.factors.forget(&session.account);
        Ok(DeletedReply { deleted: true })
    }

    /// Everything held on the own account but its tokens.
    pub async fn account(&self, session: &Session) -> Result<AccountReply> {
        self.inner.store.account(session.account, self.now()).await?.ok_or_else(super::auth::no_session)
    }

    /// Parses a list and verifies every key and signature in it.
    fn valid_list(&self, signed: &SignedList) -> Result<NewList> {
        let bad = |error: String| Error::refused(ErrorCode::BadList, format!("$.device_list: {error}"));
        let (certificate, list) = signed.parse().map_err(|error| bad(error.to_string()))?;
        if list.entries.len() as u64 > self.limits().devices_max {
            return Err(bad(format!("this relay allows {} devices", self.limits().devices_max)));
        }
        let weak = |_| Error::refused(ErrorCode::WeakKey, "$.device_list holds a public key that is weak or not canonical");
        sign::check_key(&certificate.account.0).map_err(weak)?;
        sign::check_key(&certificate.list_key.0).map_err(weak)?;
        for entry in &list.entries {
            sign::check_key(&entry.device.0).map_err(weak)?;
            exchange::check_key(&entry.sealing_key.0).map_err(weak)?;
        }
        for claim in signed.claims(&certificate, &list) {
            sign::verify(&claim.key, &claim.message, &claim.signature.0)
                .map_err(|_| bad("a signature of the certificate, the list or an entry does not verify".into()))?;
        }
        Ok(NewList { signed: signed.clone(), list })
    }

    async fn replace(&self, new: NewList, rule: Successor) -> Result<ListReply> {
        let reply = ListReply { epoch: new.list.epoch, version: new.list.version };
        match self.inner.store.replace_list(new, rule, self.now()).await? {
            Replaced::Done { removed } => {
                self.forget_devices(&removed);
                Ok(reply)
            }
            Replaced::Conflict(current) => Err(Error::DeviceListConflict(current)),
            Replaced::DeviceTaken => Err(device_taken()),
            Replaced::NoSuchAccount => {
                Err(Error::refused(ErrorCode::NoSuchAccount, "the account is not registered here; register it instead"))
            }
        }
    }

    /// Of devices that are gone, their sessions, streams and wrap keys.
    pub(crate) fn forget_devices(&self, removed: &[DeviceId]) {
        self.end_sessions_of(removed);
        self.inner.wraps.forget(removed);
    }
}

fn device_taken() -> Error {
    Error::refused(
        ErrorCode::DeviceTaken,
        "a device of the list belongs to another account or was removed once; make a fresh one",
    )
}
