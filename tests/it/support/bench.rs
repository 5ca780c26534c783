//! A store under test, and accounts and sends to put in it. Signatures are not: no store looks at them.

use std::path::Path;
use std::sync::Arc;

use restante::protocol::accounts::{DeviceEntry, DeviceList, ListKeyCertificate};
use restante::protocol::envelopes::ListName;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::protocol::{AccountId, Bytes, DeviceId, Hash, ListKey, SealingKey, Seq, Signature, SignedList, TokenHash};
use restante::store::sqlite::{Settings, SqliteStore};
use restante::store::{Enqueue, Enqueued, NewEnvelope, NewList, Registered, Store, TokenAdded, Waiting};

use super::memory_store::{MemoryLimits, MemoryStore};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Memory,
}

/// A store of either kind that can be closed and opened again.
pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    memory: Option<Arc<MemoryStore>>,
    settings: Settings,
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with(kind, |_| {})
    }

    /// With other settings than the defaults.
    pub(crate) fn with(kind: Kind, set: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut settings = Settings::new(dir.path().join("data"));
        set(&mut settings);
        let (store, memory): (Arc<dyn Store>, _) = match kind {
            Kind::Sqlite => (Arc::new(SqliteStore::open(settings.clone()).expect("a fresh database opens")), None),
            Kind::Memory => {
                let memory = Arc::new(MemoryStore::new(MemoryLimits {
                    mailbox_envelopes_max: settings.mailbox_envelopes_max,
                    mailbox_bytes_max: settings.mailbox_bytes_max,
                    knocks_token_max: settings.knocks_token_max,
                    knocks_max: settings.knocks_max,
                    repeats_secs: settings.repeats_secs,
                    repeats_max: settings.repeats_max,
                }));
                (Arc::clone(&memory) as Arc<dyn Store>, Some(memory))
            }
        };
        Self { store, memory, settings, dir }
    }

    /// Closes the store and opens it again: what lives in memory only is gone.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.open_again();
    }

    /// Opens a store that was closed.
    pub(crate) fn open_again(&mut self) {
        self.store = match &self.memory {
            Some(memory) => {
                let memory = Arc::new(memory.reopened());
                self.memory = Some(Arc::clone(&memory));
                memory
            }
            None => Arc::new(SqliteStore::open(self.settings.clone()).expect("its own database opens again")),
        };
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.settings.dir
    }

    /// A directory beside it.
    pub(crate) fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// Registers an account of so many devices, with one contact token without bounds.
    pub(crate) async fn account(&self, name: u8, devices: u8) -> Person {
        let person = Person::new(name, devices);
        let registered = self.store.register(person.list(), None, false, NOW).await;
        assert_eq!(registered, Ok(Registered::Created));
        self.token(&person, person.token, TokenKind::Contact, None, None).await;
        person
    }

    /// Registers a token.
    pub(crate) async fn token(
        &self,
        person: &Person,
        hash: TokenHash,
        kind: TokenKind,
        expires_at: Option<u64>,
        envelopes_max: Option<u64>,
    ) {
        let item = TokenItem { hash, kind, expires_at, envelopes_max, used: false, uses_left: None };
        assert_eq!(self.store.add_token(person.account, item, 10_000, NOW).await, Ok(TokenAdded::Added));
    }

    /// Sends, and expects the store not to fail.
    pub(crate) async fn send(&self, send: Enqueue) -> Enqueued {
        self.store.enqueue(send).await.expect("a send is answered")
    }

    /// The first page of what waits.
    pub(crate) async fn waiting(&self, device: DeviceId, now: u64) -> Waiting {
        self.store.waiting(device, Seq(0), 100, 1 << 20, now).await.expect("a read is answered")
    }

    /// The seqs of that page.
    pub(crate) async fn seqs(&self, device: DeviceId, now: u64) -> Vec<u64> {
        self.waiting(device, now).await.envelopes.iter().map(|envelope| envelope.seq.0).collect()
    }

    /// Purges until nothing is left, and gives how many envelopes went.
    pub(crate) async fn purge(&self, cutoff: u64, unseen_week: u64, now: u64) -> u64 {
        let mut envelopes = 0;
        loop {
            let slice = self.store.purge_slice(cutoff, unseen_week, now).await.expect("a slice is answered");
            envelopes += slice.envelopes;
            if slice.done {
                return envelopes;
            }
        }
    }
}

/// An account with its devices and its current list.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) account: AccountId,
    pub(crate) devices: Vec<DeviceId>,
    pub(crate) token: TokenHash,
    pub(crate) epoch: u32,
    pub(crate) version: u64,
    pub(crate) previous: Hash,
}

impl Person {
    pub(crate) fn new(name: u8, devices: u8) -> Self {
        Self {
            account: AccountId([name; 32]),
            devices: (0..devices).map(|device| device_id(name, device)).collect(),
            token: token(name, 0),
            epoch: 1,
            version: 1,
            previous: Hash::ZERO,
        }
    }

    /// The list that the fields describe.
    pub(crate) fn list(&self) -> NewList {
        let entries = self.devices.iter().map(|device| DeviceEntry {
            device: *device,
            sealing_key: SealingKey(device.0),
            suites: 1,
            signature: Signature([1; 64]),
        });
        let mut entries: Vec<DeviceEntry> = entries.collect();
        entries.sort_by_key(|entry| entry.device);
        let (account, epoch, signature) = (self.account, self.epoch, Signature([2; 64]));
        let list = DeviceList { account, epoch, version: self.version, previous: self.previous, entries };
        let certificate = ListKeyCertificate { account, epoch, list_key: ListKey([3; 32]), signature };
        let signed = SignedList {
            list_key_certificate: Bytes(certificate.bytes()),
            list: Bytes(list.bytes()),
            signature: Signature([4; 64]),
        };
        NewList { signed, list }
    }

    /// The list that follows, of other devices.
    pub(crate) fn next(&self, devices: &[DeviceId]) -> Self {
        let previous = self.list().signed.hash();
        Self { devices: devices.to_vec(), version: self.version + 1, previous, ..self.clone() }
    }

    pub(crate) fn list_name(&self) -> ListName {
        ListName { epoch: self.epoch, version: self.version }
    }

    /// A send by the account's token, of 100 bytes to each device, for one day.
    pub(crate) fn send(&self, id: u64) -> Enqueue {
        self.send_by(self.token, id, 100)
    }

    pub(crate) fn send_by(&self, token: TokenHash, id: u64, bytes: usize) -> Enqueue {
        let mut repeat_tag = [0; 16];
        repeat_tag[..8].copy_from_slice(&id.to_be_bytes());
        repeat_tag[8..].copy_from_slice(&token.0[..8]);
        let envelopes = self.devices.iter().map(|device| NewEnvelope {
            device: *device,
            expires_at: NOW + DAY,
            wrap: vec![7; 44],
            body: body(id, bytes),
        });
        let once_tag = repeat_tag.map(|byte| !byte);
        Enqueue { token, repeat_tag, once_tag, list: self.list_name(), envelopes: envelopes.collect(), now: NOW }
    }
}

/// A body that says whose it is, all along.
pub(crate) fn body(id: u64, bytes: usize) -> Vec<u8> {
    format!("<body {id:08}>").into_bytes().into_iter().cycle().take(bytes).collect()
}

pub(crate) fn device_id(name: u8, device: u8) -> DeviceId {
    let mut bytes = [name; 32];
    bytes[0] = device;
    DeviceId(bytes)
}

pub(crate) fn token(name: u8, number: u16) -> TokenHash {
    let mut bytes = [name; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    TokenHash(bytes)
}

/// The outcome of a send that every device got.
pub(crate) fn queued() -> Enqueued {
    Enqueued::Queued { full: Vec::new() }
}

/// A time on the full hour.
pub(crate) const NOW: u64 = 500_000 * 3_600;
pub(crate) const DAY: u64 = 86_400;
