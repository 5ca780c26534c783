//! What a message says (`docs/protocol.md` §12.1): JSON with a `type`. The relay has no word for any of this.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::protocol::keys::Prekey;
use crate::protocol::{AccountId, DeliveryToken, EnvelopeId, RelayKey, SignedList};

/// The content of an opened message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Content {
    /// A message to read.
    Text {
        /// What it says.
        text: String,
    },
    /// The first message through an invite's `once` token: who I am, and a contact token of mine.
    Hello {
        /// How I call myself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// A contact token of mine.
        token: DeliveryToken,
        /// My current list.
        device_list: SignedList,
        /// Where I dial my relay.
        origin: String,
        /// My relay's name.
        relay_key: RelayKey,
    },
    /// A stranger's first message, by a knock token.
    Knock {
        /// What I say.
        text: String,
        /// How I call myself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// By which handle I can be found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<String>,
        /// A contact token of mine, for the answer.
        token: DeliveryToken,
        /// My current list.
        device_list: SignedList,
        /// Of devices in it, so that an answer can be sealed without a question.
        #[serde(default)]
        prekeys: Vec<Prekey>,
        /// Where I dial my relay.
        origin: String,
        /// My relay's name.
        relay_key: RelayKey,
    },
    /// The answer to a hello or a knock: a contact token in the place of the invite's.
    Welcome {
        /// From now on, send by this one.
        token: DeliveryToken,
    },
    /// My current signed list.
    List {
        /// To the byte.
        device_list: SignedList,
    },
    /// Between devices of one account: a text that I sent.
    Sent {
        /// To this account.
        to: AccountId,
        /// By this envelope.
        id: EnvelopeId,
        /// What it said.
        text: String,
        /// When.
        sent_at: u64,
    },
    /// Between devices of one account: the keys of a new epoch.
    Keys {
        /// Its list.
        device_list: SignedList,
        /// The seed of its list key.
        list_key: Secret,
        /// Its sync key.
        sync_key: Secret,
    },
    /// What a device is given that is being linked. Nothing else is sealed as this is.
    Grant {
        /// The account.
        account: AccountId,
        /// Its list, with the device in it.
        device_list: SignedList,
        /// The seed of its list key.
        list_key: Secret,
        /// Its sync key.
        sync_key: Secret,
        /// How the account calls itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// What became of your texts.
    Receipt {
        /// They are safe on a device of mine.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        delivered: Vec<EnvelopeId>,
        /// They were shown to me.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        read: Vec<EnvelopeId>,
    },
    /// Live: I am writing to you, or no longer.
    Typing {
        /// Which of the two.
        active: bool,
    },
    /// Live: I am here, or leaving.
    Presence {
        /// Which of the two.
        online: bool,
    },
    /// A type that this version does not know, or no JSON at all.
    #[serde(other)]
    Unknown,
}

impl Content {
    /// The bytes that are sealed.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a content has string keys only and serializes")
    }

    /// Whatever the bytes turn out to be.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_unknown_and_no_error() {
        assert!(matches!(Content::parse(br#"{"type":"text","text":"hi","later":1}"#), Content::Text { text } if text == "hi"));
        for strange in [&br#"{"type":"song","notes":3}"#[..], br#"{"type":"text"}"#, b"[]", b"\xff", b""] {
            assert!(matches!(Content::parse(strange), Content::Unknown));
        }
    }
}
