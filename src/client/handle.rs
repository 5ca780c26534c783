//! The own handle, and finding an account by its handle (`docs/protocol.md` §10.3).
//!
//! From a name come, by Argon2id, the hash that the relay knows it by and the key of its record. So the relay sees neither
//! name nor record, and a guess at either costs 64 MiB and some 0.1 s.

use argon2::{Algorithm, Argon2, Params, Version};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Client;
use super::error::{Error, Result};
use super::http::Lane;
use super::origin::Origin;
use crate::crypto::locker::Locker;
use crate::crypto::random;
use crate::protocol::handles::{
    LookupReply, LookupRequest, PutHandleReply, PutHandleRequest, RECORD_BYTES, RECORD_PLAIN_BYTES, ReleaseHandleReply,
    ReleaseHandleRequest, handle_salt, record_aad,
};
use crate::protocol::tokens::TokenKind;
use crate::protocol::{AccountId, Bytes, DeliveryToken, ErrorCode, HandleHash, RelayKey};

/// A handle of the own account, and the knock token that stands in its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnHandle {
    pub(crate) name: String,
    pub(crate) token: DeliveryToken,
}

/// What a record says: where somebody is, and how to knock there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entrance {
    pub(crate) account: AccountId,
    pub(crate) token: DeliveryToken,
    pub(crate) relay: RelayKey,
    pub(crate) origin: String,
}

/// What a name gives at one relay.
pub(crate) struct HandleKeys {
    pub(crate) hash: HandleHash,
    record: Zeroizing<[u8; 32]>,
}

impl HandleKeys {
    /// Takes a core for some 0.1 s, and 64 MiB.
    pub(crate) async fn derive(name: &str, relay: &RelayKey) -> Result<Self> {
        let (name, salt) = (checked_handle(name)?.to_string(), handle_salt(relay));
        let derived = tokio::task::spawn_blocking(move || {
            let mut bytes = Zeroizing::new([0; 64]);
            let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(bytes.len())).expect("the protocol's own are in bounds");
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(name.as_bytes(), &salt, bytes.as_mut())
                .map(|()| bytes)
        });
        let no_memory = || Error::asked("the handle could not be worked out", "it takes 64 MiB of memory; close something");
        let bytes = derived.await.ok().and_then(|derived| derived.ok()).ok_or_else(no_memory)?;
        let (hash, key) = bytes.split_first_chunk::<32>().expect("64 bytes begin with 32");
        let mut record = Zeroizing::new([0; 32]);
        record.copy_from_slice(key);
        Ok(Self { hash: HandleHash(*hash), record })
    }

    /// None where the origin is too long for a record.
    pub(crate) fn seal(&self, entrance: &Entrance, nonce: [u8; 12]) -> Option<Vec<u8>> {
        let mut plain = Zeroizing::new(Vec::with_capacity(RECORD_PLAIN_BYTES));
        plain.extend_from_slice(entrance.account.as_ref());
        plain.extend_from_slice(entrance.token.as_ref());
        plain.extend_from_slice(entrance.relay.as_ref());
        plain.extend_from_slice(&(entrance.origin.len() as u32).to_be_bytes());
        plain.extend_from_slice(entrance.origin.as_bytes());
        if plain.len() > RECORD_PLAIN_BYTES {
            return None;
        }
        plain.resize(RECORD_PLAIN_BYTES, 0);
        let aad = record_aad(&self.hash);
        Some(Locker::new(&self.record).lock(nonce, &aad, &plain))
    }

    /// None for what this name's owner did not make.
    pub(crate) fn open(&self, record: &[u8]) -> Option<Entrance> {
        if record.len() != RECORD_BYTES {
            return None;
        }
        let plain = Locker::new(&self.record).unlock(&record_aad(&self.hash), record)?;
        let (account, rest) = plain.split_first_chunk::<32>()?;
        let (token, rest) = rest.split_first_chunk::<32>()?;
        let (relay, rest) = rest.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (origin, padding) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let origin = std::str::from_utf8(origin).ok()?.to_string();
        let whole = padding.iter().all(|byte| *byte == 0) && Origin::parse(&origin).is_ok_and(|read| read.as_str() == origin);
        whole.then_some(Entrance {
            account: AccountId(*account),
            token: DeliveryToken(*token),
            relay: RelayKey(*relay),
            origin,
        })
    }
}

impl Client {
    /// Takes a handle, in the place of any before, which is held for a week. Its record gets a fresh knock token, also where
    /// the handle stays the same: who looked it up before cannot knock any more.
    pub async fn set_handle(&mut self, name: &str) -> Result<()> {
        let keys = HandleKeys::derive(name, &self.state.relay.key).await?;
        let _lock = self.enter().await?;
        // Another device may have changed it: the token in that record is to be revoked.
        self.look().await;
        let next = match self.state.doors.next_handle.take() {
            // The reply to an earlier try was lost.
            Some(next) if next.name == name => next,
            other => {
                self.state.revoking.extend(other.map(|other| other.token.hash()));
                OwnHandle { name: name.to_string(), token: self.mint(TokenKind::Knock, None, None).await? }
            }
        };
        self.state.doors.next_handle = Some(next.clone());
        self.save()?;
        let entrance = Entrance {
            account: self.state.account,
            token: next.token.clone(),
            relay: self.state.relay.key,
            origin: self.http.origin().to_string(),
        };
        let too_long = || Error::asked("the relay's address is too long for a handle", "dial it under a shorter one");
        let record = Bytes(keys.seal(&entrance, random::bytes()).ok_or_else(too_long)?);
        let request = PutHandleRequest { hash: keys.hash, record };
        let answer: Result<PutHandleReply> = self.authed(Method::PUT, "/v1/handle", Some(&request)).await;
        if let Err(error) = answer {
            if !error.passes() {
                self.state.doors.next_handle = None;
                self.state.revoking.push(next.token.hash());
                self.save()?;
                self.send_revocations().await.ok();
            }
            return Err(error);
        }
        let before = self.state.doors.handle.replace(next);
        self.state.doors.next_handle = None;
        self.state.revoking.extend(before.map(|before| before.token.hash()));
        self.save()?;
        self.keep().await;
        // What fails of this is made good by the next `receive`.
        self.send_revocations().await.ok();
        Ok(())
    }

    /// The own handle.
    pub fn handle(&self) -> Option<&str> {
        self.state.doors.handle.as_ref().map(|handle| handle.name.as_str())
    }

    /// Gives the handle up: nobody finds the account by it any more, and nobody else can have it for a week. False where there
    /// was none.
    pub async fn release_handle(&mut self) -> Result<bool> {
        let _lock = self.enter().await?;
        self.look().await;
        let request = ReleaseHandleRequest {};
        let reply: ReleaseHandleReply = self.authed(Method::POST, "/v1/handle/release", Some(&request)).await?;
        let doors = &mut self.state.doors;
        let gone = [doors.handle.take(), doors.next_handle.take()];
        self.state.revoking.extend(gone.into_iter().flatten().map(|handle| handle.token.hash()));
        self.save()?;
        self.keep().await;
        self.send_revocations().await.ok();
        Ok(reply.released)
    }

    /// Where the account of a handle is.
    pub(super) async fn find(&self, name: &str) -> Result<Entrance> {
        let keys = HandleKeys::derive(name, &self.state.relay.key).await?;
        let request = LookupRequest { hash: keys.hash };
        let answer: Result<LookupReply> = self.http.post(Lane::Anonymous, "/v1/handles/lookup", &request).await;
        let reply = answer.map_err(|error| match error.code() {
            Some(ErrorCode::NoSuchHandle) => Error::asked(
                format!("nobody at {} has the handle {name}", self.http.origin()),
                "look at how it is written; a handle belongs to one relay, and may have been given up",
            ),
            Some(ErrorCode::NotFound) => {
                Error::asked(format!("the relay at {} has no handles", self.http.origin()), "ask them for a link instead")
            }
            _ => error,
        })?;
        let entrance = keys.open(reply.record.as_slice());
        let entrance = entrance.ok_or(Error::Untrue("the relay shows a record for that handle that its owner did not make"))?;
        self.refuse_elsewhere("the handle", &entrance.origin, &entrance.relay)?;
        Ok(entrance)
    }
}

/// The name, where it can be a handle.
pub(crate) fn checked_handle(name: &str) -> Result<&str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
    if (3..=32).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    let what = format!("`{}` cannot be a handle", name.escape_debug());
    Err(Error::asked(what, "a handle has 3 to 32 characters: a to z, 0 to 9, _ and ."))
}

const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const LANES: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance() -> Entrance {
        Entrance {
            account: AccountId([1; 32]),
            token: DeliveryToken([2; 32]),
            relay: RelayKey([3; 32]),
            origin: "https://relay.example:443".into(),
        }
    }

    #[tokio::test]
    async fn a_record_opens_by_its_name_at_its_relay_alone() {
        let keys = HandleKeys::derive("alice", &RelayKey([3; 32])).await.expect("derived");
        let record = keys.seal(&entrance(), [9; 12]).expect("it fits");
        assert_eq!((record.len(), keys.open(&record)), (RECORD_BYTES, Some(entrance())));
        for (name, relay) in [("alice_", [3; 32]), ("alice", [4; 32])] {
            let others = HandleKeys::derive(name, &RelayKey(relay)).await.expect("derived");
            assert_ne!(others.hash, keys.hash);
            assert_eq!(others.open(&record), None);
        }
        for at in [0, 12, 500, RECORD_BYTES - 1] {
            let mut bad = record.clone();
            bad[at] ^= 1;
            assert_eq!(keys.open(&bad), None, "byte {at}");
        }
        assert_eq!(keys.open(&record[..RECORD_BYTES - 1]), None);
        assert_eq!(keys.open(&[]), None);
    }

    #[tokio::test]
    async fn a_record_holds_an_origin_of_896_bytes() {
        let keys = HandleKeys { hash: HandleHash([1; 32]), record: Zeroizing::new([2; 32]) };
        let long = |length: usize| Entrance { origin: format!("unix:/{}", "a".repeat(length - 6)), ..entrance() };
        let record = keys.seal(&long(896), [9; 12]).expect("it fits");
        assert_eq!(keys.open(&record), Some(long(896)));
        assert_eq!(keys.seal(&long(897), [9; 12]), None);
        let unfinished = Entrance { origin: "https://relay.example".into(), ..entrance() };
        assert_eq!(keys.open(&keys.seal(&unfinished, [9; 12]).expect("it fits")), None, "an origin without its port");
    }

    #[test]
    fn handles_are_short_lower_case_ascii() {
        for good in ["abc", "a.b_c", "0123", &"z".repeat(32)] {
            assert!(checked_handle(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Alice", "al ice", "@alice", "ünal", "a-b", "a\nb", &"z".repeat(33)] {
            assert!(checked_handle(bad).is_err(), "{bad}");
        }
    }
}
