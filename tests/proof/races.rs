//! Everybody at once: what only one may win is won by one, a quota is exact, and what was revoked is over when the relay says
//! so. The count is how many rounds.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, ensure};
use restante::crypto::sign::KeyPair;
use restante::protocol::tokens::RevokeTokensRequest;
use serde_json::Value;

use crate::http::{Line, Told};
use crate::people::{Device, id_by};
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::world::World;
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir).set("LIMITS__MAILBOX_ENVELOPES_MAX", ENVELOPES_MAX);
    let relay = place.start()?;
    let mut lost = 0;
    for round in 0..plan.count {
        let race = |name| format!("round {round}, {name}");
        lost += quota(&relay, &mut random).with_context(|| race("a quota"))?;
        lost += revoked(&relay, &mut random).with_context(|| race("a revocation"))?;
        lost += registrations(&relay).with_context(|| race("registrations"))?;
        lost += logins(&relay).with_context(|| race("uses of one challenge"))?;
    }
    relay.stop()?;
    place.check()?;
    Ok(Outcome::Held(lost, format!("{} rounds of {CROWD} at once: as many won as may", plan.count)))
}

/// Full to the last place under parallel senders, freed once under parallel acknowledgements, and full again; the neighbour's
/// mailbox is left alone.
fn quota(relay: &Relay, random: &mut Random) -> anyhow::Result<u64> {
    let world = World::settle(relay, 2, CROWD)?;
    let sessions = world.log_in(relay)?;
    let mut line = Line::new(relay.address);
    for token in 0..5 {
        ensure!(world.boxes[0].send(&mut line, token, &id_by(random), 1_024)? == 202, "a send is refused");
    }
    let (mailbox, session) = (&world.boxes[1], &sessions[1]);
    // A token may hold as many as are still free, so a token's first fits while one is free beyond its own.
    let room = ENVELOPES_MAX - 1;
    let mut refused = 0;
    for _ in 0..2 {
        let ids: Vec<_> = (0..CROWD).map(|_| id_by(random)).collect();
        let statuses = together(relay, |at, line| mailbox.send(line, at, &ids[at], 1_024))?;
        let won = statuses.iter().filter(|status| **status == 202).count();
        ensure!(won == room, "{won} sends were accepted where there is room for {room}");
        ensure!(statuses.iter().all(|status| matches!(status, 202 | 429)), "sends were answered {statuses:?}");
        refused += (CROWD - won) as u64;
        let page = mailbox.receive(&mut line, session, 0, 0)?;
        let seqs: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).collect();
        ensure!(seqs.len() == room, "{} wait of {room} accepted", seqs.len());
        let removed: u64 = together(relay, |_, line| mailbox.acknowledge(line, session, &seqs, None))?.into_iter().sum();
        ensure!(removed == room as u64, "{removed} went of {room}, in {CROWD} acknowledgements at once");
    }
    world.audit(relay)?;
    Ok(refused)
}

/// Once a revocation is answered, no send that begins gets through.
fn revoked(relay: &Relay, random: &mut Random) -> anyhow::Result<u64> {
    let world = World::settle(relay, 1, 1)?;
    let (mailbox, session) = (&world.boxes[0], world.log_in(relay)?.remove(0));
    let (over, seeds) = (AtomicBool::new(false), random.fork());
    let hash = mailbox.device.tokens[0].hash();
    let refused = together(relay, |at, line| {
        if at == 0 {
            let page = mailbox.receive(line, &session, 5, 0)?;
            ensure_told(!page.envelopes.is_empty(), "nothing came before the revocation")?;
            let revoke = RevokeTokensRequest { hashes: vec![hash] };
            let _: Value = line.post("/v1/tokens/revoke", Some(&session), &revoke)?.expect(200)?;
            over.store(true, Ordering::SeqCst);
            return Ok(0);
        }
        let mut random = Random::new(seeds.clone().next() ^ at as u64);
        loop {
            let revoked = over.load(Ordering::SeqCst);
            match mailbox.send(line, 0, &id_by(&mut random), 1_024)? {
                404 => return Ok(1),
                202 | 429 if !revoked => {}
                status => return Err(anyhow::anyhow!("a send after the revocation was answered {status}").into()),
            }
        }
    })?;
    world.audit(relay)?;
    world.drain(relay)?;
    Ok(refused.into_iter().sum())
}

/// One account with many lists, and one device in many accounts: one registration wins.
fn registrations(relay: &Relay) -> anyhow::Result<u64> {
    let (account, key) = (KeyPair::generate(), KeyPair::generate());
    let rivals: [(&str, Vec<Device>); 2] = [
        ("account_exists", (0..CROWD).map(|_| Device::of(&account, &KeyPair::generate(), 1)).collect()),
        ("device_taken", (0..CROWD).map(|_| Device::of(&KeyPair::generate(), &key, 1)).collect()),
    ];
    for (code, devices) in &rivals {
        let mut line = Line::new(relay.address);
        let requests: Vec<_> = devices.iter().map(|device| device.registration(relay, &mut line)).collect::<Told<_>>()?;
        let replies = together(relay, |at, line| Ok(line.post("/v1/accounts", None, &requests[at])?))?;
        one(replies.iter().map(|reply| reply.status == 201), code)?;
        for reply in replies.iter().filter(|reply| reply.status != 201) {
            let problem: Value = reply.expect(409)?;
            ensure!(problem["code"] == **code, "the others get {}", problem["code"]);
        }
    }
    Ok(2 * (CROWD as u64 - 1))
}

/// One challenge, signed well, used by everybody.
fn logins(relay: &Relay) -> anyhow::Result<u64> {
    let mut device = Device::generate();
    device.settle(relay, 0)?;
    let request = device.login_by(relay, &mut Line::new(relay.address), |key, transcript| key.sign(transcript))?;
    let statuses = together(relay, |_, line| Ok(line.post("/v1/auth/login", None, &request)?.status))?;
    one(statuses.iter().map(|status| *status == 200), "login_refused")?;
    ensure!(statuses.iter().all(|status| matches!(status, 200 | 401)), "logins were answered {statuses:?}");
    Ok(CROWD as u64 - 1)
}

fn one(won: impl Iterator<Item = bool>, what: &str) -> anyhow::Result<()> {
    let won = won.filter(|won| *won).count();
    ensure!(won == 1, "{won} won where one may, and the others get {what}");
    Ok(())
}

fn ensure_told(holds: bool, what: &'static str) -> Told<()> {
    if holds { Ok(()) } else { Err(anyhow::anyhow!(what).into()) }
}

/// Everybody does this, each on a connection of its own, from one moment on.
fn together<T: Send>(relay: &Relay, act: impl Fn(usize, &mut Line) -> Told<T> + Sync) -> anyhow::Result<Vec<T>> {
    let start = Barrier::new(CROWD);
    let (start, act) = (&start, &act);
    thread::scope(|scope| {
        let racer = |at| {
            move || {
                let mut line = Line::new(relay.address);
                let open = line.port();
                start.wait();
                open?;
                act(at, &mut line)
            }
        };
        let racers: Vec<_> = (0..CROWD).map(|at| scope.spawn(racer(at))).collect();
        racers.into_iter().map(|racer| Ok(racer.join().expect("a racer panicked")?)).collect()
    })
}

const CROWD: usize = 64;
const ENVELOPES_MAX: usize = 50;
