//! Prekeys: published by their device, looked up by a token.

use super::auth::Session;
use super::error::no_such_token;
use super::{Error, Relay, Result};
use crate::crypto::{exchange, sign};
use crate::protocol::ErrorCode;
use crate::protocol::keys::{KeysReply, KeysRequest, PREKEY_SECS_MAX, Prekey, PutKeyReply, PutKeyRequest, prekey_transcript};

impl Relay {
    /// Publishes the session's device's prekey in the place of the one before.
    pub async fn put_key(&self, session: &Session, request: &PutKeyRequest) -> Result<PutKeyReply> {
        let now = self.now();
        if request.expires_at <= now || request.expires_at > now + PREKEY_SECS_MAX {
            return Err(Error::refused(ErrorCode::BadExpiry, "$.expires_at is in the future and at most 30 days ahead"));
        }
        exchange::check_key(&request.prekey.0)
            .map_err(|_| Error::refused(ErrorCode::WeakKey, "$.prekey is weak or not canonical"))?;
        let transcript = prekey_transcript(&session.account, &session.device, &request.prekey, request.expires_at);
        sign::verify(&session.device.0, &transcript, &request.signature.0)
            .map_err(|_| Error::refused(ErrorCode::BadSignature, "$.signature is not this device's over the prekey"))?;
        let key = Prekey {
            device: session.device,
            prekey: request.prekey,
            expires_at: request.expires_at,
            signature: request.signature,
        };
        if !self.inner.store.put_prekey(key).await? {
            return Err(super::auth::no_session());
        }
        Ok(PutKeyReply { expires_at: request.expires_at })
    }

    /// The list and the prekeys of the account that a token leads to.
    pub async fn keys(&self, request: &KeysRequest) -> Result<KeysReply> {
        let now = self.now();
        let token = request.token.hash();
        let route = self.inner.store.route(token, now).await?.ok_or_else(no_such_token)?;
        self.rate_token(&token)?;
        let (device_list, prekeys) = self.inner.store.prekeys(route.account, now).await?.ok_or_else(no_such_token)?;
        Ok(KeysReply { device_list, prekeys })
    }
}
