//! The merge by its laws, and by what two devices do.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::lists::Outline;
use super::super::live::LiveSettings;
use super::super::state::Mine;
use super::super::state::tests::{contact, state};
use super::values::{Held, Label, Way};
use super::*;
use crate::protocol::DeliveryToken;

fn device() -> impl Strategy<Value = DeviceId> {
    (1..3_u8).prop_map(|byte| DeviceId([byte; 32]))
}

fn stamped<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Stamped<T>> {
    (value, 1..3_u64).prop_map(|(value, revision)| Stamped { value, revision })
}

fn here() -> impl Strategy<Value = Presence> {
    let label = (0..2_u8, any::<bool>())
        .prop_map(|(name, typing)| Label { name: format!("n{name}"), live: LiveSettings { typing, presence: false } });
    let way =
        (0..2_u8, any::<bool>()).prop_map(|(byte, ready)| Way { token: DeliveryToken([byte; 32]), ready, knocked: !ready });
    let held = (any::<bool>(), option::of(0..3_u64)).prop_map(|(invite, gone)| Held { invite, gone });
    let mine = btree_map((0..3_u8).prop_map(|byte| TokenHash([byte; 32])), held, 0..3);
    let list = (1..3_u64, 0..2_u8).prop_map(|(version, byte)| outline(version, byte));
    (stamped(label), stamped(way), list, mine)
        .prop_map(|(label, way, list, mine)| Presence::Here(Box::new(Here { label, way, list, mine })))
}

fn outline(version: u64, byte: u8) -> Outline {
    Outline { epoch: 1, version, hash: Hash([byte; 32]), devices: 1 }
}

fn people<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeMap<AccountId, T>> {
    btree_map((0..3_u8).prop_map(|byte| AccountId([byte; 32])), value, 0..4)
}

fn tokens<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeMap<TokenHash, T>> {
    btree_map((0..2_u8).prop_map(|byte| TokenHash([byte; 32])), value, 0..3)
}

fn book() -> impl Strategy<Value = Book> {
    let is = prop_oneof![3 => here(), 1 => (0..3_u64).prop_map(Presence::Gone)];
    let contacts = people((1..3_u64, is).prop_map(|(life, is)| Entry { life, is }));
    let invites = tokens((0..2_u8, option::of((0..3_u64, device()))).prop_map(|(name, closed)| {
        let name = Some(format!("i{name}"));
        Offer { name, contact: TokenHash([0; 32]), expires_at: 9, closed }
    }));
    let doors = tokens((0..2_u64, 0..3_u64, any::<bool>()).prop_map(|(uses, came, closed)| {
        let (name, ask, expires_at) = (None, false, 9);
        Door { name, uses, came, ask, expires_at, closed }
    }));
    let blocked = people((1..3_u64, option::of(0..2_u8), 0..3_u64).prop_map(|(revision, name, at)| {
        let lifted = if name.is_none() { Some(at) } else { None };
        Ban { revision, name: name.map(|name| format!("b{name}")), lifted }
    }));
    let answered = btree_map((0..3_u8).prop_map(|byte| EnvelopeId([byte; 16])), 0..3_u64, 0..3);
    let handle = option::of((0..2_u8).prop_map(handle));
    let settings = (0..2_u8).prop_map(|name| Settings { name: Some(format!("s{name}")), receipts: Default::default() });
    let registers = (option::of(stamped(handle)), option::of(stamped(settings)), 0..3_u64);
    (contacts, invites, doors, blocked, answered, registers).prop_map(
        |(contacts, invites, doors, blocked, answered, (handle, settings, more))| {
            let version = VERSION;
            Book { version, more, contacts, invites, doors, blocked, answered, handle, settings }
        },
    )
}

fn handle(byte: u8) -> OwnHandle {
    OwnHandle { name: format!("h{byte}"), token: DeliveryToken([byte; 32]) }
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

debug_as_json!(Entry Presence Here Label Way Held Offer Door Ban Settings);

impl<T: std::fmt::Debug> std::fmt::Debug for Stamped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {}", self.value, self.revision)
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

    #[test]
    fn the_parts_of_a_book_are_the_whole(book in book(), parts in 1..4_usize) {
        let cut = book.cut(parts);
        prop_assert_eq!(cut.len(), parts);
        prop_assert_eq!(cut[0].parts(), parts, "the first says how many there are");
        let whole = cut.iter().rev().cloned().fold(Book::default(), Book::joined);
        prop_assert_eq!(whole, Book { more: parts as u64 - 1, ..book.clone() });
        // Of an earlier cut into fewer parts, which lies about still, nothing comes back.
        let early = book.cut(1).remove(0);
        prop_assert_eq!(cut.into_iter().fold(early, Book::joined).contacts, book.contacts);
    }

    /// Whatever two devices do, in whatever order their books meet, they end with one; and what one of them added is in it.
    #[test]
    fn two_devices_end_with_one_book(steps in vec((0..2_usize, 0..10_u8, 0..3_u8), 1..24)) {
        let mut devices = [Device::new(1), Device::new(2)];
        for (at, (who, what, whom)) in steps.into_iter().enumerate() {
            devices[who].act(what, whom, at as u64);
            if what == 9 {
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
    blocked: Vec<Blocked>,
    doors: Vec<OpenInvite>,
    handle: Option<OwnHandle>,
    book: Book,
}

impl Device {
    fn new(byte: u8) -> Self {
        let (contacts, blocked, doors) = Default::default();
        Self { id: DeviceId([byte; 32]), contacts, blocked, doors, handle: None, book: Book::default() }
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
            (5, _) if self.blocked.iter().all(|blocked| blocked.account != account) => {
                self.blocked.push(Blocked { account, name: format!("b{at}") });
            }
            (5, _) => self.blocked.retain(|blocked| blocked.account != account),
            (6, _) => self.handle = if whom == 0 { None } else { Some(handle(at as u8)) },
            (7, _) if at.is_multiple_of(2) => self.doors.push(OpenInvite {
                token: TokenHash([at as u8; 32]),
                name: None,
                uses: 3,
                came: 0,
                ask: whom == 0,
                expires_at: 1_000,
            }),
            (7, _) => drop(self.doors.pop()),
            (8, _) => self.book.answer(EnvelopeId([whom; 16]), at),
            _ => {}
        }
        self.absorb();
    }

    fn absorb(&mut self) -> bool {
        let settings = Settings { name: None, receipts: Default::default() };
        let (doors, blocked, handle) = (&self.doors, &self.blocked, self.handle.as_ref());
        let own = Own { device: self.id, contacts: &self.contacts, invites: &[], doors, blocked, handle, settings };
        self.book.absorb(&own, 100)
    }

    fn meet(&mut self, other: Book) {
        self.book = self.book.clone().joined(other);
        self.contacts.clear();
        for (account, entry) in &self.book.contacts {
            if let Presence::Here(here) = &entry.is {
                let mut known = contact(&here.label().name, *account);
                (known.token, known.newest) = (here.way().token.clone(), Some(here.list));
                known.mine = here.mine().collect();
                self.contacts.push(known);
            }
        }
        self.blocked = self.book.blocked().collect();
        self.doors = self.book.open_doors(100).collect();
        if let Some(handle) = self.book.handle() {
            self.handle = handle.cloned();
        }
    }
}

fn absorbed(book: &mut Book, device: u8, contacts: &[Contact], now: u64) -> bool {
    let settings = Settings { name: None, receipts: Default::default() };
    let device = DeviceId([device; 32]);
    book.absorb(&Own { device, contacts, invites: &[], doors: &[], blocked: &[], handle: None, settings }, now)
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
    assert_eq!(here.label().name, "robert");
    assert_eq!(here.way().token, DeliveryToken([9; 32]));
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
    assert!(!absorbed(&mut joined, 1, &[], 5 + GONE_SECS), "nothing is written because a mark is old");
    joined.prune(4 + GONE_SECS);
    assert!(!joined.contacts.is_empty());
    joined.prune(5 + GONE_SECS);
    assert!(joined.contacts.is_empty());
}

#[test]
fn of_block_and_unblock_at_once_the_later_counts_and_of_two_the_block() {
    let blocked = Blocked { account: BOB, name: "bob".into() };
    let with = |book: &Book, blocked: &[Blocked]| {
        let (mut book, settings) = (book.clone(), Settings { name: None, receipts: Default::default() });
        let (device, contacts, invites, doors) = (DeviceId([1; 32]), &[], &[], &[]);
        book.absorb(&Own { device, contacts, invites, doors, blocked, handle: None, settings }, 1);
        book
    };
    let once = with(&Book::default(), std::slice::from_ref(&blocked));
    let lifted = with(&once, &[]);
    assert_eq!(once.clone().joined(lifted.clone()).blocked().count(), 0, "lifted after it was laid");
    let twice = with(&lifted, std::slice::from_ref(&blocked));
    assert_eq!(twice.clone().joined(with(&lifted, &[])).blocked().collect::<Vec<_>>(), [blocked]);
    let mut at_once = lifted.clone();
    at_once.blocked.insert(BOB, Ban { revision: 2, name: Some("bob".into()), lifted: None });
    assert_eq!(lifted.joined(at_once).blocked().count(), 1);
    let mut old = with(&once, &[]);
    old.prune(1 + GONE_SECS);
    assert!(old.blocked.is_empty());
}

#[test]
fn of_answered_knocks_the_newest_are_known() {
    let mut book = Book::default();
    for number in 0..200_u8 {
        book.answer(EnvelopeId([number; 16]), 1_000 + u64::from(number));
    }
    book.prune(2_000);
    assert_eq!(book.answered.len(), ANSWERED_MAX);
    assert!(book.was_answered(&EnvelopeId([199; 16])) && !book.was_answered(&EnvelopeId([71; 16])));
    book.prune(1_199 + GONE_SECS);
    assert!(book.is_empty());
}

#[test]
fn an_invite_is_closed_by_the_first_who_did() {
    let invite = Invite { name: None, once: TokenHash([1; 32]), contact: TokenHash([2; 32]), expires_at: 100 };
    let closed = |closed| {
        let mut book = Book::default();
        book.invites.insert(invite.once, Offer { closed, ..Offer::of(&invite) });
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
    assert!(Book::parse(json.replace("\"version\":2", "\"version\":3").as_bytes()).is_none());
    assert!(Book::parse(b"[]").is_none());
}

#[test]
fn a_state_without_a_name_says_nothing_of_settings() {
    let state = state();
    let mut book = Book::default();
    let settings = Settings { name: state.name.clone(), receipts: state.receipts };
    let (doors, blocked, handle) = (&state.doors.invites, &state.doors.blocked, state.doors.handle.as_ref());
    let (device, contacts, invites) = (state.device_id(), &state.contacts, &state.invites);
    let own = Own { device, contacts, invites, doors, blocked, handle, settings };
    assert!(!book.absorb(&own, 1) && book.is_empty());
}
