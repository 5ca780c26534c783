//! What was read becomes the device's own: contacts come, change and go as the book says.

use std::collections::HashSet;

use super::super::Client;
use super::super::book::{Book, Here, Presence};
use super::super::event::What;
use super::super::lists;
use super::super::state::{Contact, State};
use super::Answer;
use crate::protocol::AccountId;

impl Client {
    /// Makes contacts, invites and settings those of the book. What of them the book does not know stays.
    pub(super) fn apply(&mut self) {
        let now = self.clock.now();
        let book = std::mem::take(&mut self.state.kept.book);
        if let Some(settings) = &book.settings {
            self.state.name.clone_from(&settings.value.name);
            if self.state.receipts != settings.value.receipts {
                self.state.set_receipts(settings.value.receipts);
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
        self.state.invites.retain(|invite| !book.invites.contains_key(&invite.once));
        self.state.invites.extend(book.open_invites(now).cloned());
        self.state.kept.book = book;
    }

    fn take_over(&mut self, account: &AccountId, here: &Here) {
        let now = self.clock.now();
        let (label, way) = (&here.label.value, &here.way.value);
        if !way.knocked {
            // Another device has answered.
            self.state.doors.knocks.retain(|knock| knock.from.account != *account);
        }
        let Some(contact) = self.state.contact(account) else {
            if lists::verify(&here.list).is_ok_and(|list| list.account == *account) {
                self.state.contacts.push(Contact {
                    name: label.name.clone(),
                    account: *account,
                    list: here.list.clone(),
                    token: way.token.clone(),
                    ready: way.ready,
                    knocked: way.knocked,
                    prekeys: Vec::new(),
                    mine: here.mine().collect(),
                    devices: Default::default(),
                    list_told: None,
                    fork_told: false,
                    behind_told: None,
                    receipts: Default::default(),
                    live: label.live,
                });
            }
            return;
        };
        contact.name.clone_from(&label.name);
        contact.live = label.live;
        contact.token = way.token.clone();
        let answered = way.ready && !contact.ready;
        contact.ready = way.ready;
        contact.knocked = way.knocked;
        contact.mine.retain(|mine| !here.knows(&mine.hash));
        contact.mine.extend(here.mine());
        if answered {
            let from = label.name.clone();
            self.state.tell(now, What::ContactReady { from });
        }
        // One that does not verify changes nothing; a fork is told there.
        self.learn(account, &here.list).ok();
    }
}

impl State {
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
