//! The account key as 24 words: BIP-39, English, whose 32 bytes of entropy are the key's Ed25519 seed.
//!
//! They are shown once and kept nowhere. Who has them owns the account.

use std::fmt;

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use super::error::{Error, Result};
use crate::crypto::sign::KeyPair;

/// Twenty-four words. `Debug` does not print them; `Display` does, for the one time they are shown.
#[derive(Clone)]
pub struct Words(Zeroizing<String>);

impl Words {
    /// The words of an account key.
    pub(crate) fn of(key: &KeyPair) -> Self {
        let mnemonic = Mnemonic::from_entropy_in(Language::English, key.seed().as_slice()).expect("32 bytes are 24 words");
        Self(Zeroizing::new(mnemonic.to_string()))
    }

    /// Reads words as a person types them: any case, any white space.
    pub fn parse(text: &str) -> Result<Self> {
        let typed = Zeroizing::new(text.to_lowercase());
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &typed).map_err(|error| match error {
            bip39::Error::BadWordCount(count) => wrong(format!("there are {count} words")),
            bip39::Error::UnknownWord(index) => wrong(format!("word {} is not on the list", index + 1)),
            _ => wrong("the words do not fit together".into()),
        })?;
        if mnemonic.word_count() != COUNT {
            return Err(wrong(format!("there are {} words", mnemonic.word_count())));
        }
        Ok(Self(Zeroizing::new(mnemonic.to_string())))
    }

    /// The words in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }

    pub(crate) fn key(&self) -> KeyPair {
        let mnemonic = Mnemonic::parse_in_normalized(Language::English, &self.0).expect("they were parsed or made here");
        let (entropy, _) = mnemonic.to_entropy_array();
        let entropy = Zeroizing::new(entropy);
        let seed: &[u8; 32] = entropy[..32].try_into().expect("24 words are 32 bytes");
        KeyPair::from_seed(seed)
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({COUNT})")
    }
}

fn wrong(what: String) -> Error {
    Error::asked(format!("these are not an account's 24 words: {what}"), "type all 24, in their order, as `init` showed them")
}

const COUNT: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_the_key_back() {
        let key = KeyPair::generate();
        let words = Words::of(&key);
        assert_eq!(words.iter().count(), 24);
        let typed = format!("  {}\n", words.to_string().to_uppercase().replace(' ', "\n "));
        assert_eq!(Words::parse(&typed).expect("as typed").key().public(), key.public());
        assert_eq!(format!("{words:?}"), "Words(24)");
    }

    #[test]
    fn the_words_of_a_zero_seed_are_bip39s() {
        // BIP-39's own test vector for 32 zero bytes.
        let words = Words::of(&KeyPair::from_seed(&[0; 32]));
        assert_eq!(words.to_string(), format!("{}art", "abandon ".repeat(23)));
    }

    #[test]
    fn wrong_words_are_told_apart() {
        let say = |text: &str| Words::parse(text).expect_err("not words").to_string();
        assert!(say("abandon").contains("1 words"));
        assert!(say(&"zzz ".repeat(24)).contains("word 1 "));
        assert!(say(&"abandon ".repeat(24)).contains("fit together"));
        assert!(say(&format!("{}about", "abandon ".repeat(11))).contains("12 words"));
    }
}
