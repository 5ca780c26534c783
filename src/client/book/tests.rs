//! The merge by its laws, and by what two devices do.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::state::tests::{contact, state};
use super::super::state::{Contact, Invite, Mine};
use super::*;
use crate::protocol::{Bytes, Hash, Signature};

fn device() -> impl Strategy<Value = DeviceId> {
    (1..3_u8).prop_map(|byte| DeviceId([byte; 32]))
}

fn stamped<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Stamped<T>> {
    (value, 1..3_u64, device()).prop_map(|(value, revision, device)| Stamped { value, revision, device })
}

fn list(version: u64) -> SignedList {
    let list = DeviceList { account: AccountId([1; 32]), epoch: 1, version, previous: Hash::ZERO, entries: vec![] };
    // A list of no device does not parse: orders by its bytes, as anything does that is no list.
    SignedList { list_key_certificate: Bytes(vec![]), list: Bytes(list.bytes()), signature: Signature([0; 64]) }
}

fn here() -> impl Strategy<Value = Presence> {
    let label = (0..2_u8, any::<bool>())
        .prop_map(|(name, typing)| Label { name: format!("n{name}"), live: LiveSettings { typing, presence: false } });
    let way =
        (0..2_u8, any::<bool>()).prop_map(|(byte, ready)| Way { token: DeliveryToken([byte; 32]), ready, knocked: !ready });
    let held = (any::<bool>(), option::of(0..3_u64)).prop_map(|(invite, gone)| Held { invite, gone });
    let mine = btree_map((0..3_u8).prop_map(|byte| TokenHash([byte; 32])), held, 0..3);
    (stamped(label), stamped(way), 1..3_u64, mine)
        .prop_map(|(label, way, version, mine)| Presence::Here(Box::new(Here { label, way, list: list(version), mine })))
}

fn book() -> impl Strategy<Value = Book> {
    let is = prop_oneof![3 => here(), 1 => (0..3_u64).prop_map(Presence::Gone)];
    let entry = (1..3_u32, is).prop_map(|(life, is)| Entry { life, is });
    let contacts = btree_map((0..3_u8).prop_map(|byte| AccountId([byte; 32])), entry, 0..4);
    let offer = (0..2_u8, option::of((0..3_u64, device()))).prop_map(|(name, closed)| {
        let (name, hash) = (Some(format!("i{name}")), TokenHash([0; 32]));
        Offer { invite: Invite { name, once: hash, contact: hash, expires_at: 9 }, closed }
    });
    let invites = btree_map((0..2_u8).prop_map(|byte| TokenHash([byte; 32])), offer, 0..3);
    let settings = (0..2_u8).prop_map(|name| Settings { name: Some(format!("s{name}")), receipts: Default::default() });
    (contacts, invites, option::of(stamped(settings))).prop_map(|(contacts, invites, settings)| Book {
        version: VERSION,
        contacts,
        invites,
        settings,
    })
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.json()))
    }
}

macro_rules! debug_as_json {
    ($($name:ident)*) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&String::from_utf8_lossy(&bytes(self)))
            }
        })*
    };
}

debug_as_json!(Entry Presence Here Label Way Held Offer Settings);

impl<T: std::fmt::Debug> std::fmt::Debug for Stamped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {} by {:?}", self.value, self.revision, self.device)
    }
}

proptest! {
    #[test]
    fn joining_is_commutative_associative_and_idempotent(one in book(), two in book(), three in book()) {
        let join = |ours: &Book, theirs: &Book| ours.clone().joined(theirs.clone());
        prop_assert_eq!(join(&one, &one), one.clone());
        prop_assert_eq!(join(&one, &two), join(&two, &one));
        prop_assert_eq!(join(&join(&one, &two), &three), join(&one, &join(&two, &three)));
        prop_assert_eq!(join(&join(&one, &two), &two), join(&one, &two));
    }

    #[test]
    fn a_book_reads_back_as_it_was_written(book in book()) {
        prop_assert_eq!(Book::parse(&book.json()), Some(book));
    }

    /// Whatever two devices do, in whatever order their books meet, they end with one; and what one of them added is in it.
    #[test]
    fn two_devices_end_with_one_book(steps in vec((0..2_usize, 0..6_u8, 0..3_u8), 1..24)) {
        let mut devices = [Device::new(1), Device::new(2)];
        for (at, (who, what, whom)) in steps.into_iter().enumerate() {
            devices[who].act(what, whom, at as u64);
            if what == 5 {
                let other = devices[1 - who].book.clone();
                devices[who].meet(other);
            }
        }
        for _ in 0..2 {
            for who in [0, 1] {
                let other = devices[1 - who].book.clone();
                devices[who].meet(other);
            }
        }
        prop_assert_eq!(&devices[0].book, &devices[1].book);
        prop_assert!(!devices[0].absorb(), "and what it has is what stands there");
        prop_assert!(!devices[1].absorb());
    }
}

/// A device that does by hand what a client does.
struct Device {
    id: DeviceId,
    contacts: Vec<Contact>,
    book: Book,
}

impl Device {
    fn new(byte: u8) -> Self {
        Self { id: DeviceId([byte; 32]), contacts: Vec::new(), book: Book::default() }
    }

    fn act(&mut self, what: u8, whom: u8, at: u64) {
        let account = AccountId([whom; 32]);
        let found = self.contacts.iter_mut().find(|contact| contact.account == account);
        match (what, found) {
            (0, None) => {
                let mut fresh = contact(&format!("c{whom}"), account);
                fresh.mine.push(Mine { hash: TokenHash([at as u8; 32]), invite: true });
                self.contacts.push(fresh);
            }
            (1, Some(contact)) => contact.name = format!("c{whom}-{at}"),
            (2, Some(contact)) => contact.token = DeliveryToken([at as u8; 32]),
            (3, Some(contact)) => {
                contact.mine.pop();
                contact.mine.push(Mine { hash: TokenHash([at as u8; 32]), invite: false });
            }
            (4, Some(_)) => self.contacts.retain(|contact| contact.account != account),
            _ => {}
        }
        self.absorb();
    }

    fn absorb(&mut self) -> bool {
        let settings = Settings { name: None, receipts: Default::default() };
        self.book.absorb(&Own { device: self.id, contacts: &self.contacts, invites: &[], settings }, 100)
    }

    fn meet(&mut self, other: Book) {
        self.book = self.book.clone().joined(other);
        self.contacts.clear();
        for (account, entry) in &self.book.contacts {
            if let Presence::Here(here) = &entry.is {
                let mut known = contact(&here.label.value.name, *account);
                (known.token, known.list) = (here.way.value.token.clone(), here.list.clone());
                known.mine = here.mine().collect();
                self.contacts.push(known);
            }
        }
    }
}

fn absorbed(book: &mut Book, device: u8, contacts: &[Contact], now: u64) -> bool {
    let settings = Settings { name: None, receipts: Default::default() };
    book.absorb(&Own { device: DeviceId([device; 32]), contacts, invites: &[], settings }, now)
}

const BOB: AccountId = AccountId([2; 32]);

#[test]
fn what_two_devices_change_at_once_of_one_contact_is_all_there() {
    let mut first = contact("bob", BOB);
    let mut book = Book::default();
    assert!(absorbed(&mut book, 1, &[first.clone()], 1));
    assert!(!absorbed(&mut book, 1, &[first.clone()], 2), "nothing new");
    let (mut ours, mut theirs, mut second) = (book.clone(), book, first.clone());
    first.name = "robert".into();
    first.mine.push(Mine { hash: TokenHash([1; 32]), invite: false });
    second.token = DeliveryToken([9; 32]);
    second.mine.push(Mine { hash: TokenHash([2; 32]), invite: false });
    assert!(absorbed(&mut ours, 1, &[first], 3) && absorbed(&mut theirs, 2, &[second], 3));
    let joined = ours.joined(theirs);
    let Some(Entry { is: Presence::Here(here), .. }) = joined.contacts.get(&BOB) else { panic!("he is there") };
    assert_eq!(here.label.value.name, "robert");
    assert_eq!(here.way.value.token, DeliveryToken([9; 32]));
    assert_eq!(here.mine().map(|mine| mine.hash.0[0]).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn who_was_revoked_stays_so_until_made_anew_and_is_forgotten_after_a_month() {
    let bob = contact("bob", BOB);
    let mut book = Book::default();
    absorbed(&mut book, 1, std::slice::from_ref(&bob), 1);
    let mut other = book.clone();
    for number in 0..9 {
        let mut busy = bob.clone();
        busy.name = format!("bob{number}");
        absorbed(&mut other, 2, &[busy], 2);
    }
    absorbed(&mut book, 1, &[], 3);
    let mut joined = book.joined(other.clone());
    assert!(!joined.has(&BOB), "however often he was renamed meanwhile");
    absorbed(&mut joined, 1, std::slice::from_ref(&bob), 4);
    assert!(joined.clone().joined(other).has(&BOB), "a new life");
    absorbed(&mut joined, 1, &[], 5);
    assert!(!absorbed(&mut joined, 1, &[], 4 + GONE_SECS));
    assert!(absorbed(&mut joined, 1, &[], 5 + GONE_SECS));
    assert!(joined.contacts.is_empty());
}

#[test]
fn an_invite_is_closed_by_the_first_who_did() {
    let invite = Invite { name: None, once: TokenHash([1; 32]), contact: TokenHash([2; 32]), expires_at: 100 };
    let closed = |closed| {
        let mut book = Book::default();
        book.invites.insert(invite.once, Offer { invite: invite.clone(), closed });
        book
    };
    let (open, early, late) = (closed(None), closed(Some((5, DeviceId([9; 32])))), closed(Some((6, DeviceId([1; 32])))));
    assert_eq!(open.open_invites(99).count(), 1);
    assert_eq!(open.open_invites(100).count(), 0);
    let joined = late.joined(early).joined(open);
    assert_eq!(joined.closed_by(&invite.once), Some(DeviceId([9; 32])));
    assert_eq!(joined.open_invites(1).count(), 0);
}

#[test]
fn a_book_of_another_version_is_not_read() {
    let json = String::from_utf8(Book::default().json().to_vec()).expect("JSON");
    assert!(Book::parse(json.as_bytes()).is_some_and(|book| book.is_empty()));
    assert!(Book::parse(json.replace("\"version\":1", "\"version\":2").as_bytes()).is_none());
    assert!(Book::parse(b"[]").is_none());
}

#[test]
fn a_state_without_a_name_says_nothing_of_settings() {
    let state = state();
    let mut book = Book::default();
    let settings = Settings { name: state.name.clone(), receipts: state.receipts };
    let own = Own { device: state.device_id(), contacts: &state.contacts, invites: &state.invites, settings };
    assert!(!book.absorb(&own, 1) && book.is_empty());
}
