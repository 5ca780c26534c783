//! SQLite against the model: whatever is asked, in whatever order, both give the same answers.
//!
//! Seqs are compared by order alone: after a restart, or when the writer forgot a mailbox, SQLite's may skip.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::protocol::{HandleHash, Seq, TokenHash};
use restante::store::sqlite::{Settings, check};
use restante::store::{Acked, Successor};

use crate::support::bench::{Bench, Kind, NOW, Person, device_id, token};

#[derive(Debug, Clone)]
enum Op {
    Send { to: usize, token: u16, id: u64, bytes: usize },
    Ack { of: usize, device: usize, named: Vec<usize>, through: Option<usize> },
    AckGap { of: usize, device: usize },
    Hours(u64),
    Purge { unseen: bool },
    AddToken { of: usize, token: u16, kind: u8, uses: u64, hours: Option<u64>, envelopes_max: Option<u64> },
    Revoke { of: usize, tokens: Vec<u16> },
    Replace { of: usize, drop: bool, add: bool, epoch: bool },
    Delete { of: usize },
    PutHandle { of: usize, handle: u8 },
    ReleaseHandle { of: usize },
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let (person, token) = (0..2_usize, 0..4_u16);
    prop_oneof![
        12 => (person.clone(), token.clone(), 0..6_u64, prop_oneof![Just(10_usize), Just(400)])
            .prop_map(|(to, token, id, bytes)| Op::Send { to, token, id, bytes }),
        4 => (person.clone(), 0..3_usize, vec(0..5_usize, 0..3), option::of(0..3_usize))
            .prop_map(|(of, device, named, through)| Op::Ack { of, device, named, through }),
        1 => (person.clone(), 0..3_usize).prop_map(|(of, device)| Op::AckGap { of, device }),
        3 => (0..20_u64).prop_map(Op::Hours),
        2 => any::<bool>().prop_map(|unseen| Op::Purge { unseen }),
        4 => (person.clone(), token.clone(), (0..4_u8, 1..4_u64), option::of(1..30_u64), option::of(1..3_u64))
            .prop_map(|(of, token, (kind, uses), hours, envelopes_max)| Op::AddToken { of, token, kind, uses, hours, envelopes_max }),
        1 => (person.clone(), vec(token, 1..3)).prop_map(|(of, tokens)| Op::Revoke { of, tokens }),
        2 => (person.clone(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(of, drop, add, epoch)| Op::Replace { of, drop, add, epoch }),
        2 => (person.clone(), 0..6_u8).prop_map(|(of, handle)| Op::PutHandle { of, handle }),
        1 => person.clone().prop_map(|of| Op::ReleaseHandle { of }),
        1 => person.prop_map(|of| Op::Delete { of }),
        1 => Just(Op::Reopen),
    ]
}

/// Both stores, and what somebody outside knows of them.
struct Pair {
    benches: [Bench; 2],
    people: [Person; 2],
    now: u64,
    fresh: u8,
    /// Whether the writer still knows which token an envelope came by.
    shares: bool,
}

impl Pair {
    async fn new(set: impl Fn(&mut Settings), shares: bool) -> Self {
        let benches = [Bench::with(Kind::Sqlite, &set), Bench::with(Kind::Memory, &set)];
        let people = [Person::new(1, 2), Person::new(2, 1)];
        let pair = Self { benches, people, now: NOW, fresh: 10, shares };
        for person in &pair.people {
            pair.both(async |bench| bench.store.register(person.list(), None, false, NOW).await).await;
        }
        pair
    }

    /// Asks both, and compares.
    async fn both<T: PartialEq + std::fmt::Debug>(&self, ask: impl AsyncFn(&Bench) -> T) {
        let (sqlite, memory) = (ask(&self.benches[0]).await, ask(&self.benches[1]).await);
        assert_eq!(sqlite, memory, "SQLite to the left, the model to the right");
    }

    async fn apply(&mut self, op: &Op) {
        let now = self.now;
        match op {
            Op::Send { to, token: number, id, bytes } => {
                // A token of either, so that a send to the other's devices is tried too.
                let mut send = self.people[*to].send_by(token(7, *number), *id, *bytes);
                send.now = now;
                for envelope in &mut send.envelopes {
                    envelope.expires_at = now.div_ceil(3_600) * 3_600 + 36_000;
                }
                self.both(async |bench| bench.store.enqueue(send.clone()).await).await;
            }
            Op::Ack { of, device, named, through } => {
                let Some(device) = self.people[*of].devices.get(*device).copied() else { return };
                self.both(async |bench| {
                    let seqs = bench.seqs(device, 0).await;
                    let pick = |index: &usize| seqs.get(*index).copied().map(Seq);
                    let named = named.iter().filter_map(pick).collect();
                    bench.store.ack(device, named, through.as_ref().and_then(pick), now).await
                })
                .await;
            }
            Op::AckGap { of, device } => {
                let Some(device) = self.people[*of].devices.get(*device).copied() else { return };
                self.both(async |bench| match bench.waiting(device, now).await.gap {
                    Some(gap) => bench.store.ack(device, vec![gap.through], None, now).await,
                    None => Ok(Acked::Removed(0)),
                })
                .await;
            }
            Op::Hours(hours) => self.now += hours * 3_600,
            Op::Purge { unseen } => {
                let week = if *unseen { now / 604_800 } else { 0 };
                self.both(async |bench| bench.purge(now, week, now).await).await;
            }
            Op::AddToken { of, token: number, kind, uses, hours, envelopes_max } => {
                let item = TokenItem {
                    hash: token(7, *number),
                    kind: [TokenKind::Contact, TokenKind::Once, TokenKind::Knock, TokenKind::Knock][usize::from(*kind)],
                    expires_at: hours.map(|hours| now + hours * 3_600),
                    envelopes_max: envelopes_max.filter(|_| self.shares),
                    used: false,
                    uses_left: (*kind == 3).then_some(*uses),
                };
                let account = self.people[*of].account;
                self.both(async |bench| bench.store.add_token(account, item.clone(), 3, now).await).await;
            }
            Op::Revoke { of, tokens } => {
                let hashes: Vec<TokenHash> = tokens.iter().map(|number| token(7, *number)).collect();
                let account = self.people[*of].account;
                self.both(async |bench| bench.store.revoke_tokens(account, hashes.clone()).await).await;
            }
            Op::Replace { of, drop, add, epoch } => {
                let mut devices = self.people[*of].devices.clone();
                if *drop && devices.len() > 1 {
                    devices.remove(0);
                }
                if *add && devices.len() < 3 {
                    self.fresh += 1;
                    devices.push(device_id(*of as u8 + 1, self.fresh));
                }
                let mut next = self.people[*of].next(&devices);
                next.epoch += u32::from(*epoch);
                self.both(async |bench| bench.store.replace_list(next.list(), Successor::Next, now).await).await;
                self.people[*of] = next;
            }
            Op::Delete { of } => {
                let account = self.people[*of].account;
                self.both(async |bench| bench.store.delete_account(account).await).await;
                self.fresh += 1;
                let fresh = vec![device_id(*of as u8 + 1, self.fresh)];
                self.people[*of] = Person { devices: fresh, ..Person::new(*of as u8 + 1, 1) };
                let list = self.people[*of].list();
                self.both(async |bench| bench.store.register(list.clone(), None, false, now).await).await;
            }
            Op::PutHandle { of, handle } => {
                let (account, record) = (self.people[*of].account, vec![*of as u8; 1_024]);
                self.both(async |bench| {
                    bench.store.put_handle(account, HandleHash([*handle; 32]), record.clone(), now + HELD_SECS, now).await
                })
                .await;
            }
            Op::ReleaseHandle { of } => {
                let account = self.people[*of].account;
                self.both(async |bench| bench.store.release_handle(account, now + HELD_SECS, now).await).await;
            }
            Op::Reopen => {
                for bench in &mut self.benches {
                    bench.reopen().await;
                }
            }
        }
    }

    /// Everything that can be asked without changing anything.
    async fn compare(&self) {
        let now = self.now;
        for person in &self.people {
            for device in &person.devices {
                self.both(async |bench| {
                    let page = bench.waiting(*device, now).await;
                    let bodies: Vec<_> = page.envelopes.into_iter().map(|found| (found.expires_at, found.body)).collect();
                    (bodies, page.drained, page.gap.map(|gap| gap.count))
                })
                .await;
            }
            self.both(async |bench| {
                let account = bench.store.account(person.account, now).await.expect("answered");
                serde_json::to_string(&account).expect("it serializes")
            })
            .await;
            self.both(async |bench| bench.store.tokens(person.account, None, 10, now).await).await;
        }
        for handle in 0..6 {
            self.both(async |bench| bench.store.handle(HandleHash([handle; 32])).await).await;
        }
        for number in 0..4 {
            self.both(async |bench| bench.store.route(token(7, number), now).await).await;
        }
        self.both(async |bench| {
            let totals = bench.store.totals().await.expect("answered");
            (totals.accounts, totals.devices, totals.tokens, totals.envelopes, totals.envelope_bytes, totals.damaged)
        })
        .await;
    }
}

fn run(shares: bool, set: impl Fn(&mut Settings)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let by_hand = Config::default().cases;
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { by_hand } else { CASES };
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&vec(op(), 1..60), |ops| {
        runtime.block_on(async {
            let mut pair = Pair::new(&set, shares).await;
            for op in &ops {
                pair.apply(op).await;
                pair.compare().await;
            }
            pair.benches[0].store.close().await;
            let report = check(pair.benches[0].dir()).expect("it can be checked");
            assert!(report.good(), "{report:?}");
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn small_mailboxes_agree_with_the_model() {
    run(true, |settings| {
        settings.mailbox_envelopes_max = 7;
        settings.mailbox_bytes_max = 2_000;
        settings.knocks_token_max = 2;
        settings.knocks_max = 3;
        settings.repeats_secs = 3_600;
        settings.repeats_max = 5;
    });
}

#[test]
fn a_writer_that_forgets_every_mailbox_agrees_with_the_model() {
    // Shares are forgotten along, so no token has a bound and no mailbox comes near full.
    run(false, |settings| settings.mailbox_cache_max = 0);
}

/// So short that a few steps of the clock reach past it.
const HELD_SECS: u64 = 24 * 3_600;
/// Enough to meet every pair of neighbouring operations many times; `PROPTEST_CASES` asks for more.
const CASES: u32 = 32;
