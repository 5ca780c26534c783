//! Everybody at once: the relay is killed with all streams open and started again on its data and port, while somebody goes
//! on sending. How long until all are back, and what the senders notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::crowd::pause;
use super::device::{Device, Online, WORKERS, register};
use super::figures::{Section, Times};
use super::http::{Address, Connection};
use super::latency::by_stream;
use super::machine::fit;
use super::post::{Letter, Post};
use super::relay::{Plan, Relay};
use super::socket::Socket;
use crate::cli::output;

/// What the devices share.
struct Crowd {
    at: Address,
    post: Arc<Post>,
    /// Logins at once.
    logins: Semaphore,
    /// Streams that are open now.
    open: AtomicUsize,
    /// Streams ever opened.
    opened: AtomicUsize,
}

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("reconnect");
    let count = fit(plan.devices.unwrap_or(DEVICES), "reconnect");
    let mut relay = Relay::start(plan, count).await?;
    let devices = register(&relay.at, count).await?;
    let post = Post::new(&relay.at, &devices);
    let crowd = Arc::new(Crowd {
        at: relay.at.clone(),
        post: Arc::clone(&post),
        logins: Semaphore::new(WORKERS),
        open: AtomicUsize::new(0),
        opened: AtomicUsize::new(0),
    });
    let mut tasks = JoinSet::new();
    devices.iter().for_each(|device| drop(tasks.spawn(Arc::clone(&crowd).live(Arc::clone(device)))));
    crowd.all(count, count).await?;

    let done = Arc::new(AtomicBool::new(false));
    let sender = {
        let (post, done, rate) = (Arc::clone(&post), Arc::clone(&done), (plan.rate / RATE_PART).max(1));
        let mut sender = JoinSet::new();
        sender.spawn(async move { post.pace(rate, SEND_PATIENCE, |_| !done.load(Ordering::Relaxed)).await });
        sender
    };
    let mut returns = Vec::new();
    for round in 1..=plan.rounds {
        output::say(&format!("reconnect: {count} streams, round {round} of {}", plan.rounds));
        // Sends in peace, for comparison.
        let calm = Instant::now();
        pause(CALM).await;
        let opened = crowd.opened.load(Ordering::SeqCst);
        let killed = Instant::now();
        relay.kill()?;
        relay.start_again()?;
        let listening = Instant::now();
        crowd.all(opened + count, count).await?;
        let back = Instant::now();
        section.round("outage", "s", (listening - killed).as_secs_f64());
        section.round("all_back_after_restart", "s", (back - listening).as_secs_f64());
        section.count("came_back", crowd.open.load(Ordering::SeqCst));
        returns.push([calm, killed, listening, back]);
    }
    done.store(true, Ordering::Relaxed);
    super::crowd::joined(sender).await?;
    post.settle().await?;
    section.count("devices", count);
    report(&post.letters(), &returns, &mut section);
    Ok(section)
}

fn report(letters: &[Letter], returns: &[[Instant; 4]], section: &mut Section) {
    for [calm, killed, listening, back] in returns {
        let spans = [
            (["send_p50_before", "send_p99_before"], calm..killed),
            (["send_p50_while_coming_back", "send_p99_while_coming_back"], listening..back),
            (["send_p50_begun_in_outage", "send_p99_begun_in_outage"], killed..listening),
        ];
        for ([p50, p99], span) in spans {
            let mut times = Times::default();
            let within = letters.iter().filter(|letter| span.contains(&&letter.begun));
            within.filter_map(|letter| letter.accepted).for_each(|time| times.add(time));
            section.round(p50, "ms", times.percentile(50));
            section.round(p99, "ms", times.percentile(99));
        }
    }
    let failed = letters.iter().filter(|letter| letter.accepted.is_none()).count();
    let delivered = letters.iter().filter(|letter| letter.delivered.is_some()).count();
    section.count("sent", letters.len());
    section.count("sends_tried_again", letters.iter().filter(|letter| letter.retries > 0).count());
    section.count("sends_failed_for_good", failed);
    section.count("delivered", delivered);
    section.count("delivered_again", letters.iter().map(|letter| letter.again).sum());
    section.must(failed == 0, || format!("{failed} sends failed for good"));
    section.must(delivered == letters.len(), || format!("{} sent, {delivered} delivered", letters.len()));
}

impl Crowd {
    /// A device that comes back whenever its stream ends.
    async fn live(self: Arc<Self>, device: Arc<Device>) {
        loop {
            if let Ok(open) = self.come_back(&device).await {
                self.opened.fetch_add(1, Ordering::SeqCst);
                self.open.fetch_add(1, Ordering::SeqCst);
                // The end of a stream is what this is about.
                let _ = by_stream(open, Arc::clone(&self.post)).await;
                self.open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Challenge and login on a connection of their own, then the stream on another, as the shipped client does it.
    async fn come_back(&self, device: &Arc<Device>) -> anyhow::Result<(Socket, Online)> {
        let session = {
            let _turn = self.logins.acquire().await?;
            let login = device.login(&mut Connection::new(&self.at), &self.at).await;
            if login.is_err() {
                pause(LOGIN_PAUSE).await;
            }
            login?
        };
        let socket = Socket::open(&self.at, &session).await;
        if socket.is_err() {
            pause(LOGIN_PAUSE).await;
        }
        Ok((socket?, Online { device: Arc::clone(device), session }))
    }

    /// Waits until so many streams were opened in all, and so many are open.
    async fn all(&self, opened: usize, open: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.opened.load(Ordering::SeqCst) < opened || self.open.load(Ordering::SeqCst) < open {
            let there = self.open.load(Ordering::SeqCst);
            ensure!(began.elapsed() < PATIENCE, "{there} of {open} streams are open after {} s", PATIENCE.as_secs());
            pause(LOOK).await;
        }
        Ok(())
    }
}

const DEVICES: usize = 10_000;
/// Of the plan's rate: this is not about the rate.
const RATE_PART: u64 = 10;
const CALM: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
const LOGIN_PAUSE: Duration = Duration::from_millis(50);
/// How long a send is tried again.
const SEND_PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(600);
