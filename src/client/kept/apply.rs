//! What was read becomes the device's own: contacts come, change and go as the book says.

use std::collections::HashSet;

use super::super::Client;
use super::super::book::{Book, Here, Presence};
use super::super::doors::Knock;
use super::super::event::What;
use super::super::lists;
use super::super::state::{Contact, State};
use super::Answer;
use crate::protocol::{AccountId, EnvelopeId};

impl Client {
    /// Makes contacts, invites, the handle and settings those of the book. What of them the book does not know stays.
    pub(super) fn apply(&mut self) {
        let now = self.clock.now();
        let book = std::mem::take(&mut self.state.kept.book);
        if let Some(settings) = book.settings() {
            self.state.name.clone_from(&settings.name);
            if self.state.receipts != settings.receipts {
                self.state.set_receipts(settings.receipts);
            }
        }
        for (account, entry) in &book.contacts {
            match &entry.is {
                _ if *account == self.state.account => {}
                Presence::Gone(_) => self.forget_contact(account),
                Presence::Here(here) => self.take_over(account, here),
            }
        }
        self.state.tell_names_apart();
        self.state.invites.retain(|invite| !book.knows_invite(&invite.once));
        self.state.invites.extend(book.open_invites(now));
        let doors = &mut self.state.doors;
        doors.invites.retain(|invite| !book.knows_door(&invite.token));
        doors.invites.extend(book.open_doors(now));
        doors.blocked = book.blocked().collect();
        let is_blocked = |account: &AccountId| doors.blocked.iter().any(|blocked| blocked.account == *account);
        let is_answered = |knock: &Knock| knock.id.is_some_and(|id| book.was_answered(&id));
        doors.knocks.retain(|knock| !is_blocked(&knock.from.account) && !is_answered(knock));
        if let Some(handle) = book.handle() {
            doors.handle = handle.cloned();
        }
        self.state.kept.book = book;
    }

    fn take_over(&mut self, account: &AccountId, here: &Here) {
        let now = self.clock.now();
        let (label, way) = (here.label(), here.way());
        if !way.knocked {
            // Another device has answered.
            self.state.doors.knocks.retain(|knock| knock.from.account != *account);
        }
        let is_new = self.state.contact(account).is_none();
        if is_new {
            let added = Contact::new(label.name.clone(), *account, lists::none(), way.token.clone());
            self.state.contacts.push(added);
        }
        let Some(contact) = self.state.contact(account) else { return };
        contact.name.clone_from(&label.name);
        contact.live = label.live;
        contact.token = way.token.clone();
        let answered = way.ready && !contact.ready && !is_new;
        contact.ready = way.ready;
        contact.knocked = way.knocked;
        contact.mine.retain(|mine| !here.knows(&mine.hash));
        contact.mine.extend(here.mine());
        let forked = here.list.order() == contact.outline().order() && here.list.hash != contact.outline().hash;
        contact.newest = contact.newest.max(Some(here.list));
        if answered {
            let from = label.name.clone();
            self.state.tell(now, What::ContactReady { from });
        }
        if forked {
            self.tell_fork(account);
        }
    }
}

impl State {
    /// Notes in the book that a knock was accepted or declined here, so that no other device asks about it.
    pub(in super::super) fn note_answered(&mut self, knock: Option<EnvelopeId>, now: u64) {
        if let Some(knock) = knock {
            self.kept.book.answer(knock, now);
        }
    }

    /// Where another device has answered a hello already, this one does not.
    pub(super) fn yield_to(&mut self, theirs: &Book) {
        let device = self.device_id();
        let beaten = |answer: &Answer| {
            let by_another = theirs.closed_by(&answer.once).is_some_and(|by| by != device);
            by_another && theirs.has(&answer.account)
        };
        let (yielding, rest) = std::mem::take(&mut self.kept.answers).into_iter().partition::<Vec<_>, _>(beaten);
        self.kept.answers = rest;
        for answer in yielding {
            self.kept.book.retract(&answer.once, &answer.account);
            self.outbox.retain(|outgoing| outgoing.id != answer.welcome);
            self.revoking.push(answer.fresh);
            if let Some(contact) = self.contact(&answer.account) {
                contact.mine.retain(|mine| mine.hash != answer.fresh);
            }
        }
    }

    /// Two devices may have called two contacts by one name.
    fn tell_names_apart(&mut self) {
        let mut order: Vec<usize> = (0..self.contacts.len()).collect();
        order.sort_by_key(|at| self.contacts[*at].account);
        let mut taken = HashSet::new();
        for at in order {
            let name = self.contacts[at].name.clone();
            if taken.insert(name.clone()) {
                continue;
            }
            let free = |wish: &String| self.contacts.iter().all(|contact| contact.name != *wish);
            let numbered = (2..).map(|number| format!("{name}-{number}")).find(free).unwrap_or(name);
            taken.insert(numbered.clone());
            self.contacts[at].name = numbered;
        }
    }
}
