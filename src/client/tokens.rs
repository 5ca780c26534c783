//! Delivery tokens: minted, kept in a small pool, revoked.
//!
//! A token for a contact is taken from a pool of registered, unused ones, and the pool is refilled hours later at a random
//! time: so that a relay cannot take a registration for the moment in which somebody made a contact. Only an empty pool
//! makes one be registered on the spot.

use reqwest::Method;

use super::Client;
use super::error::Result;
use crate::crypto::random;
use crate::protocol::auth::RevokedReply;
use crate::protocol::time::{DAY, HOUR};
use crate::protocol::tokens::{AddTokenReply, AddTokenRequest, RevokeTokensRequest, TOKENS_PAGE_MAX, TokenKind};
use crate::protocol::{DeliveryToken, TokenHash};

impl Client {
    /// A registered token that nobody has. The caller saves the state together with what it uses the token for.
    pub(super) async fn take_token(&mut self) -> Result<DeliveryToken> {
        let now = self.clock.now();
        if self.state.refill_at.is_none() {
            let delay = HOUR + u64::from_be_bytes(random::bytes()) % (DAY - HOUR);
            self.state.refill_at = Some(now + delay);
        }
        match self.state.pool.pop() {
            Some(token) => Ok(token),
            None => self.mint(TokenKind::Contact, None, None).await,
        }
    }

    /// Fills the pool up when its time has come, and tells the relay what to forget.
    pub(super) async fn tend_tokens(&mut self) -> Result<()> {
        let now = self.clock.now();
        if self.state.refill_at.is_some_and(|at| at <= now) {
            self.fill_pool().await?;
        }
        self.state.invites.retain(|invite| invite.expires_at > now);
        self.state.doors.invites.retain(|invite| invite.expires_at > now);
        self.send_revocations().await
    }

    /// Registers as many tokens as the pool lacks.
    pub(super) async fn fill_pool(&mut self) -> Result<()> {
        while self.state.pool.len() < POOL {
            let token = self.mint(TokenKind::Contact, None, None).await?;
            self.state.pool.push(token);
        }
        self.state.refill_at = None;
        self.save()
    }

    /// A fresh token, registered. One that is registered and then lost in a crash is of no use to anybody.
    pub(super) async fn mint(&mut self, kind: TokenKind, expires_at: Option<u64>, uses: Option<u64>) -> Result<DeliveryToken> {
        let token = DeliveryToken(random::bytes());
        let request = AddTokenRequest { hash: token.hash(), kind, expires_at, envelopes_max: None, uses };
        let _: AddTokenReply = self.authed(Method::POST, "/v1/tokens", Some(&request)).await?;
        Ok(token)
    }

    pub(super) async fn send_revocations(&mut self) -> Result<()> {
        while !self.state.revoking.is_empty() {
            let length = self.state.revoking.len().min(TOKENS_PAGE_MAX as usize);
            let hashes: Vec<TokenHash> = self.state.revoking[..length].to_vec();
            let _: RevokedReply = self.authed(Method::POST, "/v1/tokens/revoke", Some(&RevokeTokensRequest { hashes })).await?;
            self.state.revoking.drain(..length);
            self.save()?;
        }
        Ok(())
    }
}

/// Tokens kept ready.
pub(super) const POOL: usize = 4;
