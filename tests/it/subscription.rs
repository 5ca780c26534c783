//! The client's endless receiving: by a stream, through restarts and ended sessions, and by polls where streams do not pass.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante::client::{
    Client, Clock, Delivery, Heard, Live, LiveSettings, Options, Origin, ReceiptSettings, Receipts, Subscription, Way, What,
};
use restante::protocol::ErrorCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::raw::{ask, patiently};
use crate::support::relay::TestRelay;

/// Alice listens, Bob writes.
struct Two {
    alice: Client,
    bob: Client,
    ear: Subscription,
    _directory: TempDir,
}

impl Two {
    async fn at(origin: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut alice = person(origin, &directory.path().join("alice")).await;
        let mut bob = person(origin, &directory.path().join("bob")).await;
        let link = alice.invite(Some("bob")).await.expect("a link");
        bob.add("alice", &link).await.expect("added");
        let mut two = Self { alice, bob, ear: Subscription::new(), _directory: directory };
        assert!(matches!(two.heard().await, Heard::Events(events) if matches!(events[0].what, What::ContactAdded { .. })));
        two.shown().await;
        for event in two.bob.receive(0).await.expect("welcomed") {
            two.bob.shown(&event).await.expect("noted");
        }
        two
    }

    async fn heard(&mut self) -> Heard {
        patiently(self.ear.next(&mut self.alice)).await.expect("the ear stays open")
    }

    async fn shown(&mut self) {
        for event in self.alice.receive(0).await.expect("what waits to be shown") {
            self.alice.shown(&event).await.expect("noted");
        }
    }

    /// Texts until there are so many, each shown; and what else was heard.
    async fn texts(&mut self, count: usize) -> (Vec<String>, Vec<Heard>) {
        let (mut texts, mut others) = (Vec::new(), Vec::new());
        while texts.len() < count {
            match self.heard().await {
                Heard::Events(events) => {
                    for event in events {
                        if let What::Text { text, .. } = &event.what {
                            texts.push(text.clone());
                        }
                        self.alice.shown(&event).await.expect("noted");
                    }
                }
                other => others.push(other),
            }
        }
        (texts, others)
    }

    async fn write(&mut self, text: &str) {
        self.bob.send("alice", text).await.expect("accepted");
    }
}

async fn person(origin: &str, profile: &Path) -> Client {
    // The machine's time, by a clock of our own: by such a one nobody waits before word of typing goes out.
    let clock = Clock::from_fn(|| Clock::system().now());
    let options = Options { clock, ..Options::new(Origin::parse(origin).expect("an origin")) };
    Client::init(profile, options).await.expect("an account").0
}

/// A relay that comes back where it was.
async fn steady() -> TestRelay {
    let mut relay = TestRelay::start().await;
    relay.config.server.listen = relay.address.to_string();
    relay
}

#[tokio::test]
async fn messages_come_by_the_stream_and_are_acknowledged_by_it() {
    let relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    let off = ReceiptSettings { receipts: Receipts::Off, ..two.alice.receipts() };
    two.alice.set_receipts(off).await.expect("nothing of Alice's is to wait at the end");
    for round in 0..3 {
        two.write(&format!("one {round}")).await;
        two.write(&format!("two {round}")).await;
        let (texts, others) = two.texts(2).await;
        assert_eq!(texts, [format!("one {round}"), format!("two {round}")]);
        assert!(others.is_empty(), "{others:?}");
    }
    assert_eq!(two.ear.way(), Way::Stream);
    two.bob.acknowledge().await.expect("the welcome is forgotten");
    // Whatever was shown is acknowledged once the ear listens again; this brings the confirmation in.
    let waiting = async {
        while relay.relay.stats().await.expect("stats").totals.envelopes > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        heard = two.ear.next(&mut two.alice) => panic!("nothing was sent: {heard:?}"),
        () = patiently(waiting) => {}
    }
}

#[tokio::test]
async fn a_restart_of_the_relay_loses_and_repeats_nothing() {
    let mut relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    let (mut heard, mut troubles, mut backs) = (Vec::new(), 0, 0);
    for round in 0..3 {
        two.write(&format!("before {round}")).await;
        let (texts, _) = two.texts(1).await;
        heard.extend(texts);
        relay = relay.restart().await;
        two.write(&format!("after {round}")).await;
        let (texts, others) = two.texts(1).await;
        heard.extend(texts);
        troubles += others.iter().filter(|other| matches!(other, Heard::Trouble(_))).count();
        backs += others.iter().filter(|other| matches!(other, Heard::Back)).count();
    }
    let expected: Vec<String> = (0..3).flat_map(|round| [format!("before {round}"), format!("after {round}")]).collect();
    assert_eq!(heard, expected);
    assert_eq!((troubles, backs), (3, 3), "each is said once");
    assert_eq!(two.ear.way(), Way::Stream);
}

#[tokio::test]
async fn a_session_that_ended_is_begun_again() {
    let relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    let other = Client::open(two.alice.directory()).await;
    other.expect("the same device").logout().await.expect("every session of the device is ended");
    two.write("still there?").await;
    let (texts, _) = two.texts(1).await;
    assert_eq!(texts, ["still there?"]);
}

#[tokio::test]
async fn who_is_superseded_does_not_come_back() {
    let relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    let mut other = Client::open(two.alice.directory()).await.expect("the same device");
    other.receive(0).await.expect("a newer poll");
    let error = patiently(two.ear.next(&mut two.alice)).await.expect_err("the older ends");
    assert_eq!(error.code(), Some(ErrorCode::Superseded));
}

#[tokio::test]
async fn receipts_that_are_due_go_out_while_it_listens() {
    let relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    let at_once = ReceiptSettings { receipts: Receipts::Read, delay_secs: (0, 0) };
    two.alice.set_receipts(at_once).await.expect("set");
    two.write("read me").await;
    two.texts(1).await;
    let read = async {
        while !matches!(two.bob.sent().last().map(|sent| &sent.state), Some(Delivery::Read { .. })) {
            two.bob.receive(1).await.expect("received");
        }
    };
    tokio::select! {
        heard = two.ear.next(&mut two.alice) => panic!("nothing was sent: {heard:?}"),
        () = patiently(read) => {}
    }
}

#[tokio::test]
async fn what_a_contact_does_right_now_is_heard() {
    let relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    two.bob.set_live("alice", LiveSettings { typing: true, presence: true }).await.expect("set");
    // What comes by the stream shows that it is open.
    two.write("hello").await;
    two.texts(1).await;
    two.bob.typing("alice", true).await.expect("sent");
    let heard = two.heard().await;
    assert!(matches!(&heard, Heard::Live(Live::Typing { from, active: true }) if from == "bob"), "{heard:?}");
    // A stream that opens tells those who may know.
    let mut other_ear = Subscription::new();
    let heard = tokio::select! {
        heard = two.ear.next(&mut two.alice) => heard.expect("the ear stays open"),
        heard = patiently(other_ear.next(&mut two.bob)) => panic!("nobody wrote to Bob: {heard:?}"),
    };
    assert!(matches!(&heard, Heard::Live(Live::Presence { from, online: true }) if from == "bob"), "{heard:?}");
}

/// A proxy that knows nothing of upgrades.
async fn proxy(to: SocketAddr, listener: TcpListener) {
    loop {
        let Ok((from, _)) = listener.accept().await else { return };
        let Ok(to) = TcpStream::connect(to).await else { return };
        tokio::spawn(async move {
            let ((mut from, mut back), (mut replies, mut to)) = (from.into_split(), to.into_split());
            let replying = tokio::spawn(async move { tokio::io::copy(&mut replies, &mut back).await });
            let mut bytes = vec![0; 65_536];
            while let Ok(length) = from.read(&mut bytes).await
                && length > 0
            {
                let text = String::from_utf8_lossy(&bytes[..length]);
                let text = text.replace("upgrade: websocket\r\n", "").replace("connection: Upgrade\r\n", "");
                if to.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
            replying.abort();
        });
    }
}

#[tokio::test]
async fn where_streams_do_not_pass_it_polls_and_says_so_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let relay = TestRelay::with(|config| config.server.origins = vec![origin.clone()]).await;
    let proxying = tokio::spawn(proxy(relay.address, listener));
    let host = ask("GET /v1/info").bytes();
    relay.raw(&host).await.expect("a reply").refused(421, "wrong_host");

    let directory = TempDir::new().expect("a directory");
    let mut alice = person(&origin, &directory.path().join("alice")).await;
    let mut bob = person(&origin, &directory.path().join("bob")).await;
    let link = alice.invite(Some("bob")).await.expect("a link");
    bob.add("alice", &link).await.expect("added");
    let mut two = Two { alice, bob, ear: Subscription::new(), _directory: directory };
    assert!(matches!(two.heard().await, Heard::FellBack(Way::LongPoll)));
    for text in ["one", "two"] {
        two.write(text).await;
        let (texts, others) = two.texts(1).await;
        assert_eq!(texts, [text]);
        assert!(others.is_empty(), "{others:?}");
    }
    assert_eq!(two.ear.way(), Way::LongPoll);
    proxying.abort();
}

#[tokio::test]
async fn a_notice_is_heard_once_however_often_the_stream_begins() {
    let mut relay = steady().await;
    let mut two = Two::at(&relay.origin()).await;
    relay.relay.set_notice("down on Sunday").await.expect("a notice");
    let Heard::Events(events) = two.heard().await else { panic!("an event is due") };
    assert!(matches!(&events[0].what, What::Notice { text, .. } if text == "down on Sunday"));
    two.shown().await;
    relay = relay.restart().await;
    two.write("after").await;
    let (texts, others) = two.texts(1).await;
    assert_eq!(texts, ["after"]);
    assert!(!others.iter().any(|other| matches!(other, Heard::Events(_))));
    relay.stop().await;
}

/// Passes bytes on, until a machine sleeps: what was open then stays open, and nothing passes on it any more.
async fn nap(to: SocketAddr, listener: TcpListener, naps: watch::Receiver<u32>) {
    loop {
        let Ok((mut from, _)) = listener.accept().await else { return };
        let mut naps = naps.clone();
        naps.mark_unchanged();
        tokio::spawn(async move {
            let Ok(mut to) = TcpStream::connect(to).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                _ = naps.changed() => std::future::pending().await,
            }
        });
    }
}

/// A laptop is shut for an hour: no byte says that its stream is dead, and its session is over. When it is opened again what
/// came meanwhile is there, each message once.
#[tokio::test]
async fn a_machine_that_slept_misses_and_repeats_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let relay = TestRelay::with(|config| config.server.origins = vec![origin.clone()]).await;
    let (sleep, naps) = watch::channel(0);
    let tunnel = tokio::spawn(nap(relay.address, listener, naps));
    let mut two = Two::at(&origin).await;
    let slept = Arc::new(AtomicU64::new(0));
    let clock = {
        let slept = Arc::clone(&slept);
        Clock::from_fn(move || Clock::system().now() + slept.load(Ordering::SeqCst))
    };
    two.alice = Client::open_with(two.alice.directory(), clock).await.expect("the same device");
    // A receipt that is due makes it look at the clock every second, not every 15.
    let soon = ReceiptSettings { receipts: Receipts::Read, delay_secs: (1, 1) };
    two.alice.set_receipts(soon).await.expect("set");
    two.write("good night").await;
    assert_eq!(two.texts(1).await.0, ["good night"]);

    sleep.send(1).expect("a tunnel");
    slept.store(3_600, Ordering::SeqCst);
    Client::open(two.alice.directory()).await.expect("the same device").logout().await.expect("its sessions are over");
    two.bob = Client::open(two.bob.directory()).await.expect("a device that did not sleep");
    two.write("one").await;
    two.write("two").await;
    let (texts, others) = two.texts(2).await;
    assert_eq!(texts, ["one", "two"]);
    assert!(!others.iter().any(|other| matches!(other, Heard::Events(_) | Heard::FellBack(_))), "{others:?}");
    assert_eq!(two.ear.way(), Way::Stream);
    two.alice.acknowledge().await.expect("acknowledged");
    assert!(two.alice.receive(0).await.expect("nothing more").is_empty());
    tunnel.abort();
}
