//! Between our types and SQLite's: ids are blobs of one length, and every integer of ours fits 63 bits.

use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};

use crate::protocol::tokens::TokenKind;
use crate::protocol::{Bytes, SignedList};

/// SQLite's integers are signed; nothing that the relay keeps comes near the end.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A column that was written from a `u64`.
pub(super) fn uint(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

/// The same, where it may be absent.
pub(super) fn uint_or_none(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)?.map_or(Ok(None), |_| uint(row, column).map(Some))
}

/// A blob of exactly `N` bytes.
pub(super) fn blob<const N: usize>(row: &Row<'_>, column: usize) -> Result<[u8; N]> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|_| wrong_length(column))?;
    bytes.try_into().map_err(|_| wrong_length(column))
}

/// The same, where it may be absent.
pub(super) fn blob_or_none<const N: usize>(row: &Row<'_>, column: usize) -> Result<Option<[u8; N]>> {
    if row.get_ref(column)?.data_type() == Type::Null { Ok(None) } else { blob(row, column).map(Some) }
}

/// What a token allows, as it is written: the byte that stands in a wrap.
pub(super) fn kind(row: &Row<'_>, column: usize) -> Result<TokenKind> {
    match row.get::<_, i64>(column)? {
        1 => Ok(TokenKind::Contact),
        2 => Ok(TokenKind::Once),
        3 => Ok(TokenKind::Knock),
        other => Err(Error::IntegralValueOutOfRange(column, other)),
    }
}

/// Three columns from `first` on: certificate, list, signature.
pub(super) fn signed_list(row: &Row<'_>, first: usize) -> Result<SignedList> {
    Ok(SignedList {
        list_key_certificate: Bytes(row.get(first)?),
        list: Bytes(row.get(first + 1)?),
        signature: crate::protocol::Signature(blob(row, first + 2)?),
    })
}

fn wrong_length(column: usize) -> Error {
    Error::FromSqlConversionFailure(column, Type::Blob, "a blob of another length".into())
}
