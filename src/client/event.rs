//! What a client tells its user: messages, and what happened to contacts.

use serde::{Deserialize, Serialize};

use crate::protocol::{AccountId, DeviceId, EnvelopeId};

/// Something to show. It is on the profile's disk until [`Client::shown`](super::Client::shown) says that it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Its place among this profile's events; never reused.
    pub number: u64,
    /// When it was received, Unix seconds.
    pub at: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What somebody does right now; kept nowhere, and to be forgotten by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Live {
    /// The contact is writing to us. Forget it after 10 seconds.
    Typing {
        /// The contact's name here.
        from: String,
        /// False: no longer.
        active: bool,
    },
    /// The contact is there. Forget it after 150 seconds.
    Presence {
        /// The contact's name here.
        from: String,
        /// False: leaving.
        online: bool,
    },
}

/// What happened.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A message to read.
    Text {
        /// The contact's name here.
        from: String,
        /// The contact's account.
        account: AccountId,
        /// The device that sent it.
        device: DeviceId,
        /// The envelope's id, which a receipt names; none in events from before there were receipts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<EnvelopeId>,
        /// The sender's clock.
        sent_at: u64,
        /// As the sender wrote it: unfiltered, control characters too.
        text: String,
    },
    /// Somebody said hello or knocked through an invite, and is a contact now.
    ContactAdded {
        /// The contact's name here.
        from: String,
        /// The account.
        account: AccountId,
    },
    /// Somebody knocks, and waits for a word.
    Knock {
        /// The number by which [`accept`](super::Client::accept), `decline` and `block` name it.
        knock: u64,
        /// How they call themselves.
        name: Option<String>,
        /// By which handle they say that they can be found; nobody has looked.
        handle: Option<String>,
        /// What they are called here, where they are a contact already and begin anew.
        known_as: Option<String>,
        /// The account.
        account: AccountId,
        /// As they wrote it: unfiltered, control characters too.
        text: String,
    },
    /// The contact answered our hello or knock with a token of our own.
    ContactReady {
        /// The contact's name here.
        from: String,
    },
    /// The contact's device list changed.
    DevicesChanged {
        /// The contact's name here.
        from: String,
        /// Devices that came.
        added: usize,
        /// Devices that went.
        removed: usize,
    },
    /// A text that another device of the own account sent.
    SentElsewhere {
        /// The contact's name here, or its account where it is none here.
        to: String,
        /// Their account.
        account: AccountId,
        /// The device that sent it.
        device: DeviceId,
        /// The envelope's id.
        id: EnvelopeId,
        /// That device's clock.
        sent_at: u64,
        /// As it was written there: unfiltered, control characters too.
        text: String,
    },
    /// The relay shows an older list of the contact's devices than the contact itself, or than it showed before.
    ListBehind {
        /// The contact's name here.
        from: String,
    },
    /// The own account's device list changed, and this device did not do it.
    OwnDevicesChanged {
        /// Devices that came.
        added: usize,
        /// Devices that went.
        removed: usize,
    },
    /// This device was removed from its account.
    Removed,
    /// Two lists of one version were signed for the own account. Nothing was changed.
    OwnFork,
    /// The relay shows an older list of the own devices than a contact knows, or than it showed before.
    OwnListBehind,
    /// Two lists of one version were signed for the contact. Nothing was changed.
    Fork {
        /// The contact's name here.
        from: String,
    },
    /// A message of a type that this version does not know.
    Unknown {
        /// The contact's name here.
        from: String,
    },
    /// Messages of the contact that are missing for longer than a relay keeps them.
    NeverArrived {
        /// The contact's name here.
        from: String,
        /// How many.
        count: u64,
    },
    /// Envelopes that expired at the relay before they were fetched, or were damaged there.
    Gap {
        /// How many.
        count: u64,
    },
    /// Envelopes that no key of this device opens, or whose sender is not who the token was for.
    Unopened {
        /// How many.
        count: u64,
    },
    /// The relay gives out places again that it gave before: it lost data, or was put back to an older copy.
    RelayWentBack,
    /// The relay shows an older copy of what this account's devices keep together, and it was refused.
    SlotRolledBack,
    /// What the relay shows as what this account's devices keep together does not open, or a newer version wrote it.
    SlotUnreadable,
    /// Contacts and settings are too many to be kept together: other devices, and a recovery, do not get what is new.
    SlotTooLarge,
    /// What the relay's operator says to everybody. It is signed with the relay's key.
    Notice {
        /// As the operator wrote it: lines, but no other control characters.
        text: String,
        /// When, by the relay's clock.
        set_at: u64,
    },
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Text { text, .. } => return write!(f, "Text({} bytes)", text.len()),
            Self::Knock { text, .. } => return write!(f, "Knock({} bytes)", text.len()),
            Self::ContactAdded { .. } => "ContactAdded",
            Self::ContactReady { .. } => "ContactReady",
            Self::DevicesChanged { .. } => "DevicesChanged",
            Self::SentElsewhere { text, .. } => return write!(f, "SentElsewhere({} bytes)", text.len()),
            Self::ListBehind { .. } => "ListBehind",
            Self::OwnDevicesChanged { .. } => "OwnDevicesChanged",
            Self::Removed => "Removed",
            Self::OwnFork => "OwnFork",
            Self::OwnListBehind => "OwnListBehind",
            Self::Fork { .. } => "Fork",
            Self::Unknown { .. } => "Unknown",
            Self::NeverArrived { .. } => "NeverArrived",
            Self::Gap { .. } => "Gap",
            Self::Unopened { .. } => "Unopened",
            Self::RelayWentBack => "RelayWentBack",
            Self::SlotRolledBack => "SlotRolledBack",
            Self::SlotUnreadable => "SlotUnreadable",
            Self::SlotTooLarge => "SlotTooLarge",
            Self::Notice { text, .. } => return write!(f, "Notice({} bytes)", text.len()),
        };
        f.write_str(name)
    }
}
