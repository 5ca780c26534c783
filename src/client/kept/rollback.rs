//! A relay that was restored from an older backup shows older slots. They are refused, until its user says that it is so.

use super::super::Client;
use super::super::error::{Error, Result};
use super::Trouble;

impl Client {
    /// Takes the relay's older copy for what it has now, and writes this device's over it, often enough that no device that had
    /// seen the newer one finds an older version there. What stands in the older copy and not here is joined, as ever. False where
    /// the relay shows no older copy.
    pub async fn accept_rollback(&mut self) -> Result<bool> {
        let _lock = self.enter().await?;
        let now = self.clock.now();
        if !self.state.has_slot(now) {
            return Err(Error::asked("this relay keeps nothing for your devices", "there is nothing to be put right"));
        }
        self.state.absorb(now);
        let mut found = false;
        for at in 0..self.state.kept.parts.len() {
            found |= self.put_right(at).await?;
        }
        if found {
            self.state.kept.told.take_if(|told| *told == Trouble::RolledBack);
            self.state.kept.due_at = 0;
            self.save()?;
            self.bring_together(true).await?;
        }
        Ok(found)
    }

    /// The same of one slot.
    async fn put_right(&mut self, at: usize) -> Result<bool> {
        let (Some(slot), seen) = (self.state.slot(at), self.state.kept.seen(at)) else { return Ok(false) };
        let Some(book) = self.state.kept.book.cut(self.state.kept.parts.len()).into_iter().nth(at) else { return Ok(false) };
        let shown = self.read_slot(&slot.id).await?;
        let mut version = shown.as_ref().map_or(0, |reply| reply.version);
        if version >= seen {
            return Ok(false);
        }
        if seen - version > LOST_MAX {
            let what = format!("the relay lost {} versions of your own data at once", seen - version);
            return Err(Error::asked(what, "`restante client recover` with the 24 words begins anew there; contacts stay"));
        }
        let older = shown.and_then(|reply| slot.opened(reply.version, reply.content.as_slice()));
        if let Some(older) = older.and_then(|json| super::Book::parse(&json)) {
            self.state.kept.book = std::mem::take(&mut self.state.kept.book).joined(older);
        }
        while version <= seen {
            version += 1;
            let content = slot.locked(version, &book.json()).ok_or_else(too_large)?;
            if !self.write_slot(&slot.id, version, content).await? {
                return Err(Error::asked("another device writes at the same time", "try again in a moment"));
            }
        }
        self.state.kept.note(at, version, &book);
        self.save()?;
        Ok(true)
    }
}

fn too_large() -> Error {
    Error::Untrue("contacts and settings are too many for the slots")
}

/// So many versions are written over at most; a slot changes some ten times a day.
const LOST_MAX: u64 = 1_000;
