//! Several devices of one account: what is derived and hashed for them (`docs/protocol.md` §12.4). The relay has no word for
//! any of this.

use super::bytes::{AccountId, DeviceId, Transcript};

/// HKDF `info` of the sync key of an epoch.
pub fn sync_key_info(account: &AccountId, epoch: u32) -> Vec<u8> {
    Transcript::new("/sync-key").fixed(account).u32(epoch).bytes()
}

/// HKDF `info` of the own token.
pub fn own_token_info(account: &AccountId) -> Vec<u8> {
    Transcript::new("/own-token").fixed(account).bytes()
}

/// HPKE `info`, and the name of the PSK, of the grant that a linked device gets.
pub fn link_info(account: &AccountId, device: &DeviceId) -> Vec<u8> {
    Transcript::new("/link").fixed(account).fixed(device).bytes()
}

/// The account's digits, to be compared: six groups of five.
pub fn digits(account: &AccountId) -> String {
    let hash = Transcript::new("/digits").fixed(account).sha256();
    let group = |five: &[u8]| five.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) % 100_000;
    let groups: Vec<String> = hash.0[..30].chunks(5).map(|five| format!("{:05}", group(five))).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_six_groups_of_five() {
        let digits = digits(&AccountId([1; 32]));
        let groups: Vec<&str> = digits.split(' ').collect();
        assert_eq!(groups.len(), 6);
        assert!(groups.iter().all(|group| group.len() == 5 && group.bytes().all(|byte| byte.is_ascii_digit())), "{digits}");
        assert_ne!(digits, super::digits(&AccountId([2; 32])));
    }
}
