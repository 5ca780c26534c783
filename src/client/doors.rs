//! Knocks, as they come in: a stranger's first message, kept until the user says what becomes of it.
//!
//! A knock that is taken in asks the relay nothing. Only two kinds are answered at once, because the user said so before: by an
//! invite link that they gave out without wanting to be asked, and from somebody at whose door they knocked themselves.

use serde::{Deserialize, Serialize};

use super::Client;
use super::contacts::checked_name;
use super::content::Content;
use super::envelope::{Opened, Taken};
use super::error::{Error, Result};
use super::event::What;
use super::handle::{OwnHandle, checked_handle};
use super::lists::{self, Succession};
use super::peer_keys::is_signed;
use super::state::{Contact, Mine, Peer};
use crate::protocol::keys::Prekey;
use crate::protocol::{AccountId, DeliveryToken, DeviceId, EnvelopeId, SignedList, TokenHash};

/// What a profile remembers of doors: its own, and who stands before them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Doors {
    pub(crate) handle: Option<OwnHandle>,
    /// One that the relay was asked for, until it has answered.
    pub(crate) next_handle: Option<OwnHandle>,
    /// Links for several people.
    pub(crate) invites: Vec<OpenInvite>,
    /// Knocks that wait for a word, oldest first.
    pub(crate) knocks: Vec<Knock>,
    /// Numbers given to knocks.
    pub(crate) knocked: u64,
    pub(crate) blocked: Vec<Blocked>,
}

/// An invite link that several people may use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OpenInvite {
    pub(crate) token: TokenHash,
    /// What to call who comes by it, where it was said.
    pub(crate) name: Option<String>,
    pub(crate) uses: u64,
    /// How many knocked by it.
    pub(crate) came: u64,
    /// Whether the user is asked about each.
    pub(crate) ask: bool,
    pub(crate) expires_at: u64,
}

/// Who is not heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Blocked {
    pub(crate) account: AccountId,
    /// What they were called here, or called themselves.
    pub(crate) name: String,
}

/// Somebody who may become a contact: who they are, and how to answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Newcomer {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) list: SignedList,
    /// A contact token of theirs.
    pub(crate) token: DeliveryToken,
    pub(crate) peer: Peer,
    /// Prekeys of their devices, each signed by its own.
    pub(crate) prekeys: Vec<Prekey>,
}

/// A contact that was just made.
pub(super) struct Befriended {
    pub(super) name: String,
    /// The answer that is queued, and the token in it.
    pub(super) welcome: EnvelopeId,
    pub(super) fresh: TokenHash,
}

/// A knock that waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Knock {
    pub(crate) number: u64,
    /// The envelope's, by which the account's devices name it; none in knocks from before they did.
    #[serde(default)]
    pub(crate) id: Option<EnvelopeId>,
    pub(crate) at: u64,
    pub(crate) sent_at: u64,
    pub(crate) text: String,
    /// As they call themselves, where that can be a name.
    pub(crate) name: Option<String>,
    /// As they say they can be found; nobody has looked.
    pub(crate) handle: Option<String>,
    pub(crate) from: Newcomer,
}

impl Client {
    /// Keeps a knock, or answers it where the user said so before. Not opened where it is none, or not of who signed it.
    pub(super) async fn take_knock(&mut self, id: EnvelopeId, token: &TokenHash, opened: Opened) -> Result<Taken> {
        let plain = &opened.plain;
        let Content::Knock { text, name, handle, token: answer, device_list, prekeys, relay_key, .. } =
            Content::parse(&plain.content)
        else {
            return Ok(Taken::Unopened);
        };
        let Ok(list) = lists::verify(&device_list) else { return Ok(Taken::Unopened) };
        let is_theirs = list.account == plain.account && list.entry(&plain.device).is_some();
        if !is_theirs || relay_key != self.state.relay.key || list.account == self.state.account {
            return Ok(Taken::Unopened);
        }
        let now = self.clock.now();
        self.state.doors.knocks.retain(|knock| now < knock.at + KNOCK_SECS);
        if self.state.is_blocked(&list.account) {
            return Ok(Taken::In);
        }
        if self.state.kept.book.was_answered(&id) {
            // By another device.
            self.state.doors.knocks.retain(|knock| knock.from.account != list.account);
            return Ok(Taken::In);
        }
        let known = self.state.contact(&list.account).map(|known| (known.judge(&list), known.knocked));
        match known {
            Some((Succession::Older, _)) => return Ok(Taken::In),
            Some((Succession::Fork, _)) => {
                self.tell_fork(&list.account);
                return Ok(Taken::Unopened);
            }
            _ => {}
        }
        let mut peer = Peer::default();
        peer.take(plain, now);
        let mut prekeys: Vec<Prekey> = prekeys.into_iter().filter(|key| is_signed(&list.account, key)).collect();
        prekeys.retain(|key| list.entry(&key.device).is_some());
        let (account, device) = (plain.account, plain.device);
        let from = Newcomer { account, device, list: device_list, token: answer, peer, prekeys };
        let name = name.filter(|name| checked_name(name).is_ok());
        let invited = self.used_invite(token);
        let mutual = known.is_some_and(|(_, knocked)| knocked);
        match invited {
            Some((called, false)) => {
                let Befriended { name, .. } = self.befriend(from, called.as_deref().or(name.as_deref()), Vec::new()).await?;
                self.state.kept.book.answer(id, now);
                self.state.tell(now, What::ContactAdded { from: name, account });
            }
            _ if mutual => {
                // Their own answer is on its way by the token that went with our knock.
                let mut by = self.state.contact(&account).map(|known| known.mine.clone()).unwrap_or_default();
                by.iter_mut().for_each(|mine| mine.invite = true);
                let Befriended { name, .. } = self.befriend(from, None, by).await?;
                self.state.tell(now, What::ContactReady { from: name });
            }
            _ => {
                let handle = handle.filter(|handle| checked_handle(handle).is_ok());
                let text: String = text.chars().take(KNOCK_TEXT_BYTES_MAX).collect();
                let (number, id, sent_at) = (0, Some(id), plain.sent_at);
                self.keep_knock(Knock { number, id, at: now, sent_at, text, name, handle, from });
            }
        }
        Ok(Taken::In)
    }

    /// The name and the `ask` of the invite that a token stood in, which has one use less; without any left it is closed.
    fn used_invite(&mut self, token: &TokenHash) -> Option<(Option<String>, bool)> {
        let invites = &mut self.state.doors.invites;
        let at = invites.iter().position(|invite| invite.token == *token)?;
        invites[at].came += 1;
        let said = (invites[at].name.clone(), invites[at].ask);
        if invites[at].came >= invites[at].uses {
            self.state.revoking.push(invites.remove(at).token);
        }
        Some(said)
    }

    /// Puts a knock with the others. One of the same account takes the place of an older; where there is no room, it goes.
    fn keep_knock(&mut self, mut knock: Knock) {
        let (now, account) = (knock.at, knock.from.account);
        let doors = &mut self.state.doors;
        let before = doors.knocks.iter().position(|known| known.from.account == account);
        if before.is_none() && doors.knocks.len() >= KNOCKS_MAX {
            return;
        }
        let before = before.map(|at| doors.knocks.remove(at));
        let said = before.as_ref().is_some_and(|before| before.text == knock.text);
        doors.knocked += 1;
        knock.number = before.map_or(doors.knocked, |before| before.number);
        let (number, name, handle, text) = (knock.number, knock.name.clone(), knock.handle.clone(), knock.text.clone());
        doors.knocks.push(knock);
        if said {
            return;
        }
        let known_as = self.state.contact(&account).map(|contact| contact.name.clone());
        self.state.tell(now, What::Knock { knock: number, name, handle, known_as, account, text });
    }

    /// Makes somebody a contact whose token and list have come, and answers with a token of their own. `by` are tokens of ours
    /// that they go on holding. Somebody who is a contact keeps name and settings, and every other token they had ends.
    pub(super) async fn befriend(&mut self, from: Newcomer, wish: Option<&str>, by: Vec<Mine>) -> Result<Befriended> {
        let fresh = self.take_token().await?;
        let name = match self.state.contact(&from.account) {
            Some(known) => known.name.clone(),
            None => self.free_name(wish),
        };
        let (mut receipts, mut live) = Default::default();
        if let Some(before) = self.state.contact(&from.account) {
            (receipts, live) = (std::mem::take(&mut before.receipts), before.live);
            let stays = |hash: &TokenHash| by.iter().any(|mine| mine.hash == *hash);
            let hashes: Vec<TokenHash> = before.mine.iter().map(|mine| mine.hash).filter(|hash| !stays(hash)).collect();
            self.state.revoking.extend(hashes);
            self.state.contacts.retain(|contact| contact.account != from.account);
        }
        let mut mine = by;
        mine.push(Mine { hash: fresh.hash(), invite: false });
        self.state.doors.knocks.retain(|knock| knock.from.account != from.account);
        // A knock of ours is answered by theirs.
        self.state.outbox.retain(|outgoing| outgoing.to != from.account || outgoing.token.is_none());
        let befriended = Contact::new(name.clone(), from.account, from.list, from.token);
        let (prekeys, devices) = (from.prekeys, [(from.device, from.peer)].into());
        self.state.contacts.push(Contact { ready: true, prekeys, mine, devices, receipts, live, ..befriended });
        let hash = fresh.hash();
        let welcome = self.state.queue(from.account, Content::Welcome { token: fresh }, None);
        Ok(Befriended { name, welcome, fresh: hash })
    }

    /// The place of the knock that is meant by its number, or by a name or handle that one knock alone has.
    pub(super) fn which_knock(&self, which: &str) -> Result<usize> {
        let knocks = &self.state.doors.knocks;
        if let Ok(number) = which.parse::<u64>()
            && let Some(at) = knocks.iter().position(|knock| knock.number == number)
        {
            return Ok(at);
        }
        let is_meant = |knock: &Knock| knock.name.as_deref() == Some(which) || knock.handle.as_deref() == Some(which);
        let meant: Vec<usize> = (0..knocks.len()).filter(|at| is_meant(&knocks[*at])).collect();
        match meant[..] {
            [at] => Ok(at),
            [] => Err(Error::asked(format!("nobody called {which} waits at the door"), "`restante client knocks` lists them")),
            _ => Err(Error::asked(format!("{} at the door are called {which}", meant.len()), "say which by its number")),
        }
    }
}

/// A knock is forgotten after so long.
pub(super) const KNOCK_SECS: u64 = 30 * crate::protocol::time::DAY;
/// Knocks that wait for a word; the relay keeps as many.
pub(super) const KNOCKS_MAX: usize = 256;
/// The longest text of a knock. With lists of ten devices, and names as long as may be, it still fits into 4,096 bytes.
pub(super) const KNOCK_TEXT_BYTES_MAX: usize = 500;
