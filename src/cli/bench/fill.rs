//! Makes a relay's data full before it runs: accounts that can log in and be sent to, and envelopes that their devices can
//! open, as if they had registered and been sent to one by one.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use super::device::{Addressee, BODY_BYTES, Device, Packer, fresh_id};
use super::zipf::Random;
use crate::cli::output;
use crate::protocol::time::{DAY, HOUR, floor_hour};
use crate::protocol::tokens::TokenItem;
use crate::server::{Fill, NewList};

/// What lies in a relay.
pub(super) struct Filled {
    seed: [u8; 32],
    /// By number.
    pub(super) addressees: Vec<Addressee>,
    pub(super) envelopes: u64,
    /// Those among them that expire first, within [`SOON_SECS`] of the beginning.
    pub(super) soon: u64,
}

impl Filled {
    /// One of the devices.
    pub(super) fn device(&self, number: usize) -> Device {
        Device::of(&self.seed, number)
    }
}

/// Fills a data directory: so many envelopes, the same number for each mailbox but for the rest of the division.
///
/// Mailboxes come in blocks, and within one the envelopes in rounds: a round has one for each mailbox, in any order. So the
/// envelopes of a mailbox lie as far apart as those of people that are sent to by turns, and those that expire together came
/// together; but a block's part of the indices stays in memory, where a relay that fills in the course of days would write
/// a page for each send.
pub(super) fn fill(data: &Path, envelopes: u64, mailboxes: usize) -> anyhow::Result<Filled> {
    let began = Instant::now();
    let mut fill = Fill::begin(data)?;
    let (run, again) = (fresh_id(), fresh_id());
    let seed: [u8; 32] = [run.0, again.0].concat().try_into().ok().context("two ids have 32 bytes")?;
    let body = fresh_id().0.repeat(BODY_BYTES / 16);
    let rounds = envelopes.div_ceil(mailboxes as u64);
    let expiry = Expiry { now: fill.now(), rounds };
    let mut filled = Filled { seed, addressees: Vec::with_capacity(mailboxes), envelopes: 0, soon: 0 };
    let mut random = Random::new(0);
    for first in (0..mailboxes).step_by(BLOCK_MAILBOXES) {
        let mut block = Vec::new();
        for entry in block_of(&seed, first, BLOCK_MAILBOXES.min(mailboxes - first))? {
            let number = fill.account(&entry.list, &entry.token)?;
            filled.addressees.push(entry.addressee);
            let position = filled.addressees.len() as u64;
            let count = envelopes / mailboxes as u64 + u64::from(position <= envelopes % mailboxes as u64);
            block.push(Mailbox { number, count, packer: entry.packer });
        }
        for round in 0..rounds {
            random.shuffle(&mut block);
            for mailbox in block.iter().filter(|mailbox| round < mailbox.count) {
                let (tag, envelope) = mailbox.packer.pack(&body, expiry.of(round));
                fill.envelope(mailbox.number, round + 1, &tag, &envelope)?;
                filled.envelopes += 1;
                filled.soon += u64::from(expiry.is_soon(round));
            }
        }
        let (done, boxes, secs) = (filled.envelopes, filled.addressees.len(), began.elapsed().as_secs());
        output::say(&format!("filling: {done} of {envelopes} envelopes in {boxes} mailboxes after {secs} s"));
    }
    fill.finish()?;
    output::say(&format!("filled and on the disk after {} s", began.elapsed().as_secs()));
    Ok(filled)
}

/// When envelopes expire: the first tenth soon, the others by and by, in the order in which they came.
struct Expiry {
    now: u64,
    rounds: u64,
}

impl Expiry {
    fn is_soon(&self, round: u64) -> bool {
        round < self.rounds.div_ceil(10)
    }

    fn of(&self, round: u64) -> u64 {
        match self.is_soon(round) {
            true => floor_hour(self.now + SOON_SECS),
            false => floor_hour(self.now + DAY + round * 6 * DAY / self.rounds),
        }
    }
}

struct Mailbox {
    number: i64,
    count: u64,
    packer: Packer,
}

/// An account before it is written.
struct Entry {
    list: NewList,
    token: TokenItem,
    addressee: Addressee,
    packer: Packer,
}

/// Makes accounts on every core: four keys, three signatures and a key agreement each.
fn block_of(seed: &[u8; 32], first: usize, count: usize) -> anyhow::Result<Vec<Entry>> {
    let make = |number| {
        let device = Device::of(seed, number);
        let (list, token) = device.entry()?;
        anyhow::Ok(Entry { list, token, addressee: device.addressee(), packer: device.packer()? })
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<usize> = (first..first + count).collect();
    std::thread::scope(|scope| {
        let parts = numbers.chunks(count.div_ceil(threads));
        let makers: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().copied().map(make).collect::<anyhow::Result<Vec<_>>>())).collect();
        let mut made = Vec::with_capacity(count);
        for maker in makers {
            made.extend(maker.join().ok().context("an account could not be made")??);
        }
        Ok(made)
    })
}

/// Mailboxes filled together: some hundred MiB of keys, lists and pages.
const BLOCK_MAILBOXES: usize = 50_000;
/// What expires first does so after as long: a run is over by then.
pub(super) const SOON_SECS: u64 = 4 * HOUR;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_expires_soon_and_the_rest_within_the_week_in_order() {
        let expiry = Expiry { now: 500_000 * HOUR + 17, rounds: 10 };
        let expiries: Vec<u64> = (0..10).map(|round| expiry.of(round)).collect();
        assert_eq!((0..10).filter(|round| expiry.is_soon(*round)).count(), 1);
        assert_eq!(expiries[0], 500_004 * HOUR);
        assert!(expiries.is_sorted() && expiries[1] > expiry.now + DAY && expiries[9] < expiry.now + 7 * DAY);
        assert!(expiries.iter().all(|expiry| expiry % HOUR == 0));
        assert!(Expiry { now: 0, rounds: 1 }.is_soon(0));
    }
}
