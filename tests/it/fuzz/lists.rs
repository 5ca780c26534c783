//! What must hold of every string of bytes that is read as a list key certificate, as a device list, or as both signed, judged
//! by a second reading of `docs/protocol.md` §5. The fuzz target `lists` compiles this very file.

use restante::crypto::sign;
use restante::protocol::accounts::NotAList;
use restante::protocol::{Bytes, DeviceList, Hash, ListKeyCertificate, Signature, SignedList, Transcript};

/// Panics where parser and rules differ. Gives whether anything was taken.
pub(crate) fn judge(bytes: &[u8]) -> bool {
    let list = DeviceList::parse(bytes);
    assert_eq!(list.is_ok(), is_a_list(bytes), "as a list: {:?}", list.as_ref().err());
    if let Ok(list) = &list {
        assert_eq!(list.bytes(), bytes, "a list has one form");
        assert_eq!(list.head().hash, Hash::of(bytes));
        assert_eq!(list.head().bytes()[..12], [&list.epoch.to_be_bytes()[..], &list.version.to_be_bytes()].concat());
    }
    let certificate = ListKeyCertificate::parse(bytes);
    let of_form = bytes.len() == 154 && bytes.starts_with(&Transcript::new("/list-key").bytes());
    assert_eq!(certificate.is_ok(), of_form, "as a certificate");
    if let Ok(certificate) = &certificate {
        assert_eq!(certificate.bytes(), bytes, "a certificate has one form");
    }
    list.is_ok() | certificate.is_ok() | signed(bytes)
}

/// A certificate, a signature, and the list behind them.
fn signed(bytes: &[u8]) -> bool {
    let Some((certificate, rest)) = bytes.split_at_checked(154) else { return false };
    let Some((signature, list)) = rest.split_first_chunk::<64>() else { return false };
    let signed = SignedList {
        list_key_certificate: Bytes(certificate.to_vec()),
        list: Bytes(list.to_vec()),
        signature: Signature(*signature),
    };
    let parsed = signed.parse();
    let (Ok(alone), Ok(listed)) = (ListKeyCertificate::parse(certificate), DeviceList::parse(list)) else {
        assert!(parsed.is_err(), "one of the two is not of its form");
        return false;
    };
    let together = alone.account == listed.account && alone.epoch == listed.epoch;
    match parsed {
        Err(refusal) => {
            assert!(!together && refusal == NotAList::Mismatch, "{refusal}");
            false
        }
        Ok((certificate, list)) => {
            assert!(together, "certificate and list are of one account and epoch");
            let claims = signed.claims(&certificate, &list);
            assert_eq!(claims.len(), 2 + list.entries.len(), "everything in it is signed for");
            claims.iter().all(|claim| sign::verify(&claim.key, &claim.message, &claim.signature.0).is_ok())
        }
    }
}

/// The rules, once more and in other words.
fn is_a_list(bytes: &[u8]) -> bool {
    const ENTRY: usize = 129;
    let purpose = Transcript::new("/list").bytes();
    let Some(fields) = bytes.strip_prefix(purpose.as_slice()) else { return false };
    // account, epoch, version, previous, n
    let Some((head, entries)) = fields.split_at_checked(32 + 4 + 8 + 32 + 1) else { return false };
    let version = u64::from_be_bytes(head[36..44].try_into().expect("eight bytes"));
    let count = usize::from(head[76]);
    let devices: Vec<&[u8]> = entries.chunks(ENTRY).map(|entry| &entry[..entry.len().min(32)]).collect();
    (1..1 << 53).contains(&version)
        && (1..=10).contains(&count)
        && entries.len() == count * ENTRY
        && devices.is_sorted_by(|one, other| one < other)
        && entries.chunks(ENTRY).all(|entry| [1, 3].contains(&entry[64]))
}
