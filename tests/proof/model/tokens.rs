//! The reference's delivery tokens.

use restante::protocol::ErrorCode::{self, *};
use restante::protocol::time::HOUR;
use restante::protocol::tokens::{ONCE_SECS_MAX, TokenKind};

use super::reference::{Model, Said};
use crate::by_hand::{MAILBOX_ENVELOPES_MAX, TOKENS_MAX};

/// One that is registered, expired or not.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) owner: usize,
    pub(super) kind: TokenKind,
    pub(super) expires_at: Option<u64>,
    pub(super) envelopes_max: Option<u64>,
    pub(super) uses: Option<u64>,
    pub(super) uses_left: Option<u64>,
    pub(super) used_by: Option<u8>,
}

impl Token {
    /// What everybody has at the beginning.
    pub(super) fn of(owner: usize) -> Self {
        let kind = TokenKind::Contact;
        Self { owner, kind, expires_at: None, envelopes_max: None, uses: None, uses_left: None, used_by: None }
    }
}

impl Model {
    pub(super) fn add_token(
        &mut self,
        of: usize,
        token: u8,
        kind: TokenKind,
        hours: Option<u16>,
        envelopes_max: Option<u64>,
        uses: Option<u64>,
    ) -> Result<Said, ErrorCode> {
        let (now, expires_at) = (self.now, hours.map(|hours| self.now + u64::from(hours) * HOUR));
        let once = kind == TokenKind::Once;
        if expires_at.map_or(once, |at| at <= now || (once && at > now + ONCE_SECS_MAX)) {
            return Err(BadExpiry);
        }
        if envelopes_max.is_some_and(|max| !(1..=MAILBOX_ENVELOPES_MAX).contains(&max)) {
            return Err(BadRequest);
        }
        if uses.is_some_and(|uses| kind != TokenKind::Knock || uses == 0) {
            return Err(BadRequest);
        }
        let expires_at = expires_at.map(|at| at.next_multiple_of(HOUR));
        let good = |token: &Token| token.expires_at.is_none_or(|at| now < at);
        if let Some(known) = self.tokens.get(&token).filter(|token| good(token)) {
            let same = (known.owner, known.kind, known.expires_at, known.envelopes_max, known.uses)
                == (of, kind, expires_at, envelopes_max, uses);
            return if same { Ok(Said::Done) } else { Err(TokenTaken) };
        }
        if self.tokens.values().filter(|token| token.owner == of && good(token)).count() as u64 >= TOKENS_MAX {
            return Err(TooManyTokens);
        }
        let new = Token { owner: of, kind, expires_at, envelopes_max, uses, uses_left: uses, used_by: None };
        self.tokens.insert(token, new);
        Ok(Said::Done)
    }
}
