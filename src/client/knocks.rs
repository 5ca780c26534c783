//! Knocking at somebody's door, and answering those who knock at ours.

use super::Client;
use super::content::Content;
use super::doors::{Befriended, KNOCK_SECS, KNOCK_TEXT_BYTES_MAX};
use super::error::{Error, Result};
use super::handle::Entrance;
use super::http::Lane;
use super::lists::{self, Succession};
use super::message::KNOCK_CONTENT_BYTES_MAX;
use super::sent::problem_of;
use super::state::{Contact, Mine};
use crate::protocol::AccountId;
use crate::protocol::keys::{KeysReply, KeysRequest};

/// A knock that waits for a word, to be shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KnockInfo {
    /// By which it is named; it stays while the knock waits.
    pub number: u64,
    /// When it came, Unix seconds.
    pub at: u64,
    /// How they call themselves.
    pub name: Option<String>,
    /// By which handle they say that they can be found; nobody has looked.
    pub handle: Option<String>,
    /// Their account.
    pub account: AccountId,
    /// What they are called here, where they are a contact already and begin anew.
    pub known_as: Option<String>,
    /// As they wrote it: unfiltered, control characters too.
    pub text: String,
}

impl Client {
    /// Knocks at the door of who has a handle. They are a pending contact from then on, called `name` or as the handle; the
    /// contact is ready once they have accepted. Gives the name.
    pub async fn knock(&mut self, handle: &str, text: &str, name: Option<&str>) -> Result<String> {
        let name = name.unwrap_or(handle);
        drop(self.enter().await?);
        self.refuse_taken(name)?;
        refuse_long(text)?;
        let entrance = self.find(handle).await?;
        let _lock = self.enter().await?;
        self.knock_at(&entrance, name, text).await?;
        Ok(name.to_string())
    }

    /// Knocks where a handle's record or a link leads. Call it with the lock held.
    pub(super) async fn knock_at(&mut self, entrance: &Entrance, name: &str, text: &str) -> Result<()> {
        self.refuse_taken(name)?;
        refuse_long(text)?;
        let account = entrance.account;
        self.refuse_known(&account)?;
        let request = KeysRequest { token: entrance.token.clone() };
        let keys: KeysReply = self.http.post(Lane::Anonymous, "/v1/keys", &request).await?;
        if lists::verify(&keys.device_list)?.account != account {
            return Err(Error::Untrue("the relay shows another account's devices in the place of whose door it is"));
        }
        let token = self.take_token().await?;
        let knock = Content::Knock {
            text: text.to_string(),
            name: self.state.name.clone(),
            handle: self.handle().map(str::to_string),
            token: token.clone(),
            device_list: self.state.device_list.clone(),
            prekeys: self.state.published_prekey(self.clock.now()).into_iter().collect(),
            origin: self.http.origin().to_string(),
            relay_key: self.state.relay.key,
        };
        let over = knock.bytes().len().saturating_sub(KNOCK_CONTENT_BYTES_MAX);
        if over > 0 {
            self.state.pool.push(token);
            self.save()?;
            return Err(Error::asked(format!("the knock is {over} bytes too long"), "say less for a beginning"));
        }
        let mine = vec![Mine { hash: token.hash(), invite: false }];
        let pending = Contact::new(name.to_string(), account, keys.device_list, entrance.token.clone());
        self.state.contacts.push(Contact { knocked: true, mine, ..pending });
        let id = self.state.queue(account, knock, Some(entrance.token.clone()));
        self.save()?;
        let problems = self.flush(Some(account)).await?;
        let queued = self.state.outgoing(&id).is_some();
        if !problems.is_empty() && !queued {
            self.forget_contact(&account);
            self.save()?;
        }
        self.keep_later().await;
        if problems.is_empty() {
            return Ok(());
        }
        Err(problem_of(id, name, problems, queued))
    }

    /// Knocks that wait for a word, oldest first. Asks nobody.
    pub fn knocks(&self) -> Vec<KnockInfo> {
        let now = self.clock.now();
        let waiting = self.state.doors.knocks.iter().filter(|knock| now < knock.at + KNOCK_SECS);
        let known_as = |account| {
            let known = self.state.contacts.iter().find(|contact| contact.account == account);
            known.map(|known| known.name.clone())
        };
        waiting
            .map(|knock| KnockInfo {
                number: knock.number,
                at: knock.at,
                name: knock.name.clone(),
                handle: knock.handle.clone(),
                account: knock.from.account,
                known_as: known_as(knock.from.account),
                text: knock.text.clone(),
            })
            .collect()
    }

    /// Makes who knocked a contact, and answers. `which` is the number, or a name that only one of them has; `name` is what to
    /// call them here. Gives the name; `Err(Queued)` means that they are a contact, and hear of it later.
    pub async fn accept(&mut self, which: &str, name: Option<&str>) -> Result<String> {
        let _lock = self.enter().await?;
        let knock = self.state.doors.knocks[self.which_knock(which)?].clone();
        let (account, list) = (knock.from.account, lists::verify(&knock.from.list)?);
        let known = self.state.contact(&account).map(|known| known.judge(&list));
        match (known, name) {
            (Some(Succession::Older | Succession::Fork), _) => {
                return Err(Error::Untrue("the knock is of other devices than the contact has now; let them knock again"));
            }
            (Some(_), Some(_)) => {
                return Err(Error::asked("they are a contact already, and keep their name", "leave the name out"));
            }
            (None, Some(name)) => self.refuse_taken(name)?,
            (_, None) => {}
        }
        let name = name.or(knock.name.as_deref()).or(knock.handle.as_deref()).map(str::to_string);
        let Befriended { name, welcome, .. } = self.befriend(knock.from, name.as_deref(), Vec::new()).await?;
        self.state.note_answered(knock.id, self.clock.now());
        self.save()?;
        let problems = self.flush(Some(account)).await?;
        self.keep_later().await;
        self.send_revocations().await.ok();
        if problems.is_empty() {
            return Ok(name);
        }
        Err(problem_of(welcome, &name, problems, self.state.outgoing(&welcome).is_some()))
    }

    /// Forgets a knock. Who knocked is not told, and may knock again. Gives what they called themselves, or the number.
    pub async fn decline(&mut self, which: &str) -> Result<String> {
        let _lock = self.enter().await?;
        let at = self.which_knock(which)?;
        let knock = self.state.doors.knocks.remove(at);
        self.state.note_answered(knock.id, self.clock.now());
        self.save()?;
        self.keep_later().await;
        Ok(knock.name.or(knock.handle).unwrap_or_else(|| knock.number.to_string()))
    }

    /// Refuses to knock at the door of somebody who is known already.
    fn refuse_known(&mut self, account: &AccountId) -> Result<()> {
        if *account == self.state.account {
            return Err(Error::asked("that is your own door", "give your handle to those who are to write to you"));
        }
        if self.state.is_blocked(account) {
            return Err(Error::asked("you have blocked them", "`restante client unblock` takes that back"));
        }
        if let Some(knock) = self.state.doors.knocks.iter().find(|knock| knock.from.account == *account) {
            let what = format!("they are waiting at your own door, with knock {}", knock.number);
            return Err(Error::asked(what, "`restante client accept` lets them in"));
        }
        match self.state.contact(account) {
            Some(known) if known.knocked => Err(Error::asked(
                format!("{} was knocked at already, and has not answered", known.name),
                "`revoke` that contact first to knock once more",
            )),
            Some(known) => Err(Error::asked(
                format!("they are {}, a contact already", known.name),
                "`revoke` that contact first if the two of you begin anew",
            )),
            None => Ok(()),
        }
    }
}

fn refuse_long(text: &str) -> Result<()> {
    if text.len() > KNOCK_TEXT_BYTES_MAX {
        let what = format!("a knock says at most {KNOCK_TEXT_BYTES_MAX} bytes, and this is {}", text.len());
        return Err(Error::asked(what, "say the rest once they have let you in"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::keys::Prekey;
    use crate::protocol::{
        Bytes, DeliveryToken, DeviceEntry, DeviceId, DeviceList, Hash, RelayKey, SealingKey, Signature, SignedList,
    };

    /// The account of what fits that `docs/protocol.md` §12.1 gives.
    #[test]
    fn a_knock_of_an_account_with_ten_devices_fits_into_its_one_size() {
        let entry = |device: u8| {
            let (device, sealing_key) = (DeviceId([device; 32]), SealingKey([1; 32]));
            DeviceEntry { device, sealing_key, suites: 1, signature: Signature([2; 64]) }
        };
        let entries = (0..10).map(entry).collect();
        let (account, previous) = (AccountId([1; 32]), Hash([3; 32]));
        let list = DeviceList { account, epoch: 1, version: (1 << 53) - 1, previous, entries }.bytes();
        let device_list =
            SignedList { list_key_certificate: Bytes(vec![4; 154]), list: Bytes(list), signature: Signature([5; 64]) };
        let (prekey, signature) = (SealingKey([6; 32]), Signature([7; 64]));
        let prekey = Prekey { device: DeviceId([0; 32]), prekey, expires_at: 9_999_999_999, signature };
        let (list_bytes, prekey_bytes) = (written(&device_list), written(&prekey));
        let knock = |text: String, prekeys| Content::Knock {
            text,
            name: Some("ü".repeat(64)),
            handle: Some("z".repeat(32)),
            token: DeliveryToken([8; 32]),
            device_list: device_list.clone(),
            prekeys,
            origin: format!("https://{}:65535", "r".repeat(150)),
            relay_key: RelayKey([9; 32]),
        };
        assert_eq!((list_bytes, prekey_bytes), (2_191, 236));
        let longest = knock("x".repeat(KNOCK_TEXT_BYTES_MAX), vec![prekey.clone()]).bytes().len();
        assert!(longest <= KNOCK_CONTENT_BYTES_MAX, "{longest} of {KNOCK_CONTENT_BYTES_MAX}");
        let all = knock(String::new(), vec![prekey; 10]).bytes().len();
        assert!(all > KNOCK_CONTENT_BYTES_MAX, "{all}: not everybody's prekeys");
        let shortest = Content::Knock {
            text: String::new(),
            name: None,
            handle: None,
            token: DeliveryToken([8; 32]),
            device_list: SignedList { list: Bytes(vec![0; 224]), ..device_list.clone() },
            prekeys: Vec::new(),
            origin: "unix:/s".into(),
            relay_key: RelayKey([9; 32]),
        };
        let size = super::super::message::body_size(shortest.bytes().len());
        assert_eq!(size, Some(4_096), "none is so short that it would take the smaller size");
    }

    fn written(value: &impl serde::Serialize) -> usize {
        serde_json::to_vec(value).expect("written").len()
    }
}
