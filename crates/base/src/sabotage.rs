//! Builds that are broken on purpose, so that `tests/proof` shows each of its rungs to fail where it must. Compiled with the
//! feature `sabotage` only, which nothing enables; the environment's `RESTANTE_SABOTAGE` says which of these it is:
//!
//! | kind | what is broken | where |
//! |---|---|---|
//! | `answer_before_commit` | sends are answered while their commit is still to come | `store::sqlite::writer` |
//! | `synchronous_normal` | a commit does not wait for the disk | `store::sqlite::open` |
//! | `no_secure_delete` | deleted rows stay in their pages | `store::sqlite::open` |
//! | `residue_left` | rows that SQLite moved stay in their former pages | `store::sqlite::residue` |
//! | `seq_reused` | a mailbox that is loaded goes on behind what waits | `store::sqlite::memory` |
//! | `foreign_ack` | an acknowledgement goes to the mailbox made before | `store::sqlite::envelopes` |
//! | `checksum_unchecked` | a row is delivered as it lies there | `store::sqlite::rows` |
//! | `upgrade_in_pieces` | an upgrade is many transactions | `store::sqlite::open` |
//! | `jump_believed` | a wall clock that jumped is followed | `service::clock` |
//! | `deadlines_ignored` | a connection is waited for, however long it takes | `server::connection` |
//! | `verify_not_strict` | signatures with an `R` of small order verify | `crypto::sign` |

use std::sync::OnceLock;

/// Whether this process is broken in that way.
pub fn on(kind: &str) -> bool {
    static KIND: OnceLock<String> = OnceLock::new();
    KIND.get_or_init(|| std::env::var("RESTANTE_SABOTAGE").unwrap_or_default()) == kind
}
