//! What rows mean, for the topics that read them: the kind of a token, the sum of an envelope, the gap of a mailbox.

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::mailbox::{Mailbox, Tag};
use crate::protocol::DeviceId;
use crate::protocol::tokens::TokenKind;

/// The schema allows 1 and 2.
pub(super) fn kind(byte: u8) -> TokenKind {
    if byte == TokenKind::Once.byte() { TokenKind::Once } else { TokenKind::Contact }
}

/// SHA-256 of everything that a row says, cut to 16 bytes.
pub(super) fn checksum(device: &DeviceId, seq: u64, expires_at: u64, tag: &Tag, wrap: &[u8], body: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(device.0);
    hash.update(seq.to_be_bytes());
    hash.update(expires_at.to_be_bytes());
    hash.update(tag);
    hash.update(wrap);
    hash.update(body);
    let full: [u8; 32] = hash.finalize().into();
    let mut cut = [0; 16];
    cut.copy_from_slice(&full[..16]);
    cut
}

/// So many went unread, the highest of them `through`.
pub(super) fn add_to_gap(connection: &Connection, mailbox: Mailbox, count: u64, through: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE devices
             SET gap_count = gap_count + ?2, gap_through = MAX(gap_through, ?3)
             WHERE mailbox = ?1 AND acked_through < ?3",
        )?
        .execute(params![mailbox, count, through])?;
    Ok(())
}
