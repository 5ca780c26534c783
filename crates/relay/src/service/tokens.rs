//! Delivery tokens, as their owner sees them.

use super::auth::Session;
use super::{Error, Relay, Result};
use crate::protocol::ErrorCode;
use crate::protocol::auth::RevokedReply;
use crate::protocol::time::ceil_hour;
use crate::protocol::tokens::{
    AddTokenReply, AddTokenRequest, ListTokensReply, ListTokensRequest, ONCE_SECS_MAX, RevokeTokensRequest, TOKENS_PAGE_MAX,
    TokenItem, TokenKind, USES_MAX,
};
use crate::store::TokenAdded;

impl Relay {
    /// Registers a token's hash.
    pub async fn add_token(&self, session: &Session, request: &AddTokenRequest) -> Result<AddTokenReply> {
        let limits = self.limits();
        let now = self.now();
        let expiry = match (request.kind, request.expires_at) {
            (TokenKind::Once, None) => Err("$.expires_at is required for a `once` token"),
            (TokenKind::Once, Some(at)) if at > now + ONCE_SECS_MAX => {
                Err("$.expires_at of a `once` token is at most 30 days ahead")
            }
            (_, Some(at)) if at <= now => Err("$.expires_at is in the future"),
            (_, Some(at)) if at >= crate::protocol::envelopes::SEQ_END => Err("$.expires_at is below 2^53"),
            (_, at) => Ok(at.map(ceil_hour)),
        };
        let expires_at = expiry.map_err(|detail| Error::refused(ErrorCode::BadExpiry, detail))?;
        if request.envelopes_max.is_some_and(|max| max == 0 || max > limits.mailbox_envelopes_max) {
            let detail = format!("$.envelopes_max is from 1 to {}", limits.mailbox_envelopes_max);
            return Err(Error::refused(ErrorCode::BadRequest, detail));
        }
        let knock = request.kind == TokenKind::Knock;
        if request.uses.is_some_and(|uses| !knock || uses == 0 || uses > USES_MAX) {
            let detail = format!("$.uses is from 1 to {USES_MAX}, and a `knock` token's alone");
            return Err(Error::refused(ErrorCode::BadRequest, detail));
        }
        let item = TokenItem {
            hash: request.hash,
            kind: request.kind,
            expires_at,
            envelopes_max: request.envelopes_max,
            used: false,
            uses_left: request.uses,
        };
        match self.inner.store.add_token(session.account, item, limits.tokens_max, now).await? {
            TokenAdded::Added => Ok(AddTokenReply { hash: request.hash }),
            TokenAdded::Taken => Err(Error::refused(ErrorCode::TokenTaken, "mint a fresh token and register that")),
            TokenAdded::TooMany => {
                let detail = format!("the account holds {} tokens; revoke some first", limits.tokens_max);
                Err(Error::refused(ErrorCode::TooManyTokens, detail))
            }
        }
    }

    /// A page of the account's tokens.
    pub async fn list_tokens(&self, session: &Session, request: &ListTokensRequest) -> Result<ListTokensReply> {
        let limit = request.limit.unwrap_or(TOKENS_PAGE_MAX);
        if limit == 0 || limit > TOKENS_PAGE_MAX {
            return Err(Error::refused(ErrorCode::BadRequest, format!("$.limit is from 1 to {TOKENS_PAGE_MAX}")));
        }
        let page = self.inner.store.tokens(session.account, request.after, limit, self.now()).await?;
        Ok(ListTokensReply { tokens: page.tokens, more: page.more })
    }

    /// Deletes tokens; nobody sends by them from the reply on.
    pub async fn revoke_tokens(&self, session: &Session, request: &RevokeTokensRequest) -> Result<RevokedReply> {
        if request.hashes.is_empty() {
            return Err(Error::refused(ErrorCode::BadRequest, "$.hashes holds at least one"));
        }
        if request.hashes.len() as u64 > TOKENS_PAGE_MAX {
            return Err(Error::refused(ErrorCode::TooMany, format!("$.hashes holds at most {TOKENS_PAGE_MAX}")));
        }
        let revoked = self.inner.store.revoke_tokens(session.account, request.hashes.clone()).await?;
        Ok(RevokedReply { revoked })
    }
}
