//! Who may do what: every route of the table, asked by everybody there is, over real sockets.
//!
//! A route that has no row in [`TABLE`] does not compile. Its row is one line: who may (`Anybody`, `Token` or `Session`) and
//! a request of the owner's about something of hers. What nobody, a stranger or a dead session gets follows from the kind.

use restante::api::ROUTES;
use restante::crypto::exchange;
use restante::protocol::auth::ChallengeReply;
use restante::protocol::keys::prekey_transcript;
use restante::protocol::{Bytes, DeliveryToken, Hash, SealingKey, SessionToken, Signature, SlotId};
use serde_json::{Value, json};

use Outcome::{May, No, Own};
use Who::{Bare, Expired, Garbage, Nobody, Owner, Revoked, Sender, Sibling, Stranger};

use crate::factor::{code, generate};
use crate::support::clock::ManualClock;
use crate::support::person::{Device, Person, challenge, login, prove, prove_at, send};
use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;
use crate::support::ws::{Ws, upgrade};

/// A row: a route, who may, and a request of the owner's.
struct Row {
    method: &'static str,
    template: &'static str,
    by: By,
    ask: fn(&World, Ask) -> Ask,
}

/// Who may.
enum By {
    /// Whoever asks gets this status, and what they send along as a login is not looked at.
    Anybody(u16),
    /// Who has a token gets this status, and nobody who says who they are.
    Token(u16),
    /// The owner's session gets this status; beside it the other device of the account, and another account.
    Session(u16, Outcome, Outcome),
    /// The same where a second factor, once it is on, must be shown first.
    Elevated(u16, Outcome, Outcome),
    /// A code of the second factor: the owner's session gets the first where it is off, the second where it is on; whoever
    /// else has a session, the first.
    Code(Outcome, Outcome),
    /// Whoever does not say who they are gets this status.
    Unnamed(u16),
    /// A stream: whoever asks gets it, and its first frame logs in.
    Stream,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The device whose request it is. Shows that the request is right.
    Owner,
    /// The same with the second factor on, in a session that has not shown it.
    Bare,
    /// Another device of the account.
    Sibling,
    /// Another account.
    Stranger,
    /// No login at all.
    Nobody,
    /// A bearer that is nobody's.
    Garbage,
    /// A session that has run out.
    Expired,
    /// A session that was revoked.
    Revoked,
    /// A contact, who has a delivery token and nothing else.
    Sender,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done.
    May(u16),
    /// Answered, for what is the asker's own: of the owner's nothing is shown or changed.
    Own(u16),
    /// Refused, and of the owner's nothing is changed.
    No(u16, &'static str),
}

const fn row(method: &'static str, template: &'static str, by: By, ask: fn(&World, Ask) -> Ask) -> Row {
    Row { method, template, by, ask }
}

use By::{Anybody, Code, Elevated, Session, Stream, Token, Unnamed};

/// In the order of `api::routes::ROUTES`.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("GET", "/healthz", Anybody(200), |_, ask| ask),
    row("GET", "/readyz", Anybody(200), |_, ask| ask),
    row("GET", "/v1/info", Anybody(200), |_, ask| ask),
    row("GET", "/v1/openapi.yaml", Anybody(200), |_, ask| ask),
    row("POST", "/v1/auth/challenge", Anybody(200), |world, ask| ask.json(&json!({"device": world.device().id()}))),
    row("POST", "/v1/auth/login", Anybody(200), |world, ask| ask.json(&world.login())),
    row("GET", "/v1/sessions", Session(200, May(200), Own(200)), |_, ask| ask),
    row("POST", "/v1/sessions/revoke", Session(200, May(200), Own(200)), |world, ask| ask.json(&json!({"device": world.device().id()}))),
    row("POST", "/v1/session/elevate", Code(No(409, "no_totp"), No(403, "code_refused")), |_, ask| ask.json(&json!({"code": "no code"}))),
    row("POST", "/v1/totp/generate", Elevated(200, May(200), Own(200)), |_, ask| ask.json(&json!({}))),
    row("POST", "/v1/totp/confirm", Code(No(409, "no_totp"), No(403, "elevation_needed")), |_, ask| ask.json(&json!({"code": "no code"}))),
    row("POST", "/v1/totp/remove", Elevated(200, May(200), Own(200)), |_, ask| ask.json(&json!({}))),
    row("POST", "/v1/accounts", Anybody(201), |world, ask| ask.json(&world.registration())),
    row("GET", "/v1/account", Session(200, May(200), Own(200)), |_, ask| ask),
    row("PUT", "/v1/account/device-list", Elevated(200, May(200), No(422, "bad_list")), |world, ask| ask.json(&world.next_list())),
    row("POST", "/v1/account/recover", Anybody(200), |world, ask| ask.json(&world.recovery())),
    row("POST", "/v1/account/delete", Elevated(200, No(401, "login_refused"), No(401, "login_refused")), |world, ask| ask.json(&world.farewell())),
    row("POST", "/v1/tokens", Session(200, May(200), No(409, "token_taken")), |world, ask| ask.json(&json!({"hash": world.token.hash(), "kind": "contact"}))),
    row("POST", "/v1/tokens/list", Session(200, May(200), Own(200)), |_, ask| ask.json(&json!({}))),
    row("POST", "/v1/tokens/revoke", Session(200, May(200), Own(200)), |world, ask| ask.json(&json!({"hashes": [world.token.hash()]}))),
    row("PUT", "/v1/keys", Session(200, No(422, "bad_signature"), No(422, "bad_signature")), |world, ask| ask.json(&world.prekey())),
    row("POST", "/v1/keys", Token(200), |world, ask| ask.json(&json!({"token": world.shown}))),
    row("PUT", "/v1/handle", Elevated(200, May(200), No(409, "handle_taken")), |world, ask| ask.json(&world.handle())),
    row("POST", "/v1/handle/release", Elevated(200, May(200), Own(200)), |_, ask| ask.json(&json!({}))),
    row("POST", "/v1/handles/lookup", Unnamed(200), |world, ask| ask.json(&json!({"hash": world.handle()["hash"]}))),
    row("POST", "/v1/envelopes", Token(202), |world, ask| ask.json(&world.owner.parcel(&world.shown, 2, 1_024))),
    row("GET", "/v1/envelopes", Session(200, Own(200), Own(200)), |_, ask| ask),
    row("POST", "/v1/envelopes/ack", Session(200, Own(200), No(400, "seq_not_given")), |_, ask| ask.json(&json!({"through": 1}))),
    row("GET", "/v1/slot", Session(200, May(200), No(404, "no_such_slot")), |_, ask| slot(ask)),
    row("PUT", "/v1/slot", Session(200, May(200), No(412, "slot_changed")), |_, ask| slot(ask).header("If-Match", "\"1\"").json(&content())),
    row("POST", "/v1/slot/delete", Session(200, May(200), Own(200)), |_, ask| slot(ask).json(&json!({}))),
    row("GET", "/v1/stream", Stream, |_, ask| ask),
];

/// The build fails here, with its path, at a route that has no row, or stands elsewhere than its row does.
const EVERY_ROUTE_HAS_ITS_ROW_IN_TABLE: () = {
    let mut at = 0;
    while at < ROUTES.len() {
        if at == TABLE.len() || !same(ROUTES[at].template, TABLE[at].template) {
            // Add `row(METHOD, PATH, WHO MAY, the owner's request)` above, at the place that the route has in ROUTES.
            panic!("{}", ROUTES[at].template);
        }
        at += 1;
    }
    assert!(TABLE.len() == ROUTES.len(), "a row's route is gone from ROUTES");
};

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let (mut at, mut same) = (0, one.len() == other.len());
    while same && at < one.len() {
        same = one[at] == other[at];
        at += 1;
    }
    same
}

/// Those who are refused first, since they change nothing.
const EVERYBODY: [Who; 9] = [Nobody, Garbage, Expired, Revoked, Sender, Stranger, Sibling, Owner, Bare];

/// What somebody gets of a kind of route.
fn expected(by: &By, who: Who) -> Outcome {
    match (by, who) {
        (Anybody(status), _) => May(*status),
        (Token(status), Sender) => May(*status),
        (Token(_), Nobody) => No(404, "no_such_token"),
        (Token(_), _) => No(400, "anonymous_only"),
        (Unnamed(status), Nobody | Sender) => May(*status),
        (Unnamed(_), _) => No(400, "anonymous_only"),
        (Code(_, bare), Bare) => *bare,
        (Code(owner, _), Owner | Sibling | Stranger) => *owner,
        (Elevated(..), Bare) => No(403, "elevation_needed"),
        (Session(status, ..) | Elevated(status, ..), Owner | Bare) => May(*status),
        (Session(_, sibling, _) | Elevated(_, sibling, _), Sibling) => *sibling,
        (Session(_, _, stranger) | Elevated(_, _, stranger), Stranger) => *stranger,
        (Session(..) | Elevated(..) | Code(..), _) => No(401, "no_session"),
        (Stream, _) => May(101),
    }
}

/// About the slot that the owner has.
fn slot(ask: Ask) -> Ask {
    ask.header("Slot-Id", &SlotId([6; 32]).encode())
}

fn content() -> Value {
    json!({"content": Bytes(vec![6; 1_024])})
}

#[tokio::test]
async fn everybody_gets_what_the_table_says() {
    let () = EVERY_ROUTE_HAS_ITS_ROW_IN_TABLE;
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let mut wrong = Vec::new();
    for (route, row) in ROUTES.iter().zip(TABLE) {
        assert_eq!(route.method.as_str(), row.method, "{}: the rows stand in the order of the routes", row.template);
        let mut reusable: Option<World<'_>> = None;
        for who in EVERYBODY {
            let world = match reusable.take() {
                Some(world) if who != Bare => world.shown_by(who),
                _ => World::new(&relay, &clock, who).await,
            };
            let (before, expected) = (world.snapshot().await, expected(&row.by, who));
            let line = format!("{} {}", row.method, row.template);
            let blank = if matches!(row.by, Stream) { upgrade() } else { ask(&line) };
            let blank = match world.bearer(who, &row.by) {
                Some(bearer) => blank.by(&bearer),
                None => blank,
            };
            let reply = relay.answer((row.ask)(&world, blank)).await;
            let mut got = match expected {
                May(_) => May(reply.status),
                Own(_) if world.is_shown(&reply) => May(reply.status),
                Own(_) => Own(reply.status),
                No(status, code) if (reply.status, reply.code().as_str()) == (status, code) => expected,
                No(..) => May(reply.status),
            };
            if !matches!(expected, May(_)) && world.snapshot().await != before {
                got = May(reply.status);
            }
            if got != expected {
                wrong.push(format!("{line} by {who:?}: expected {expected:?}, got {got:?}: {}", reply.code()));
            } else if row.method == "GET" || !matches!(got, May(_)) {
                reusable = Some(world);
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "who may do what is said by TABLE in tests/it/matrix.rs");
}

#[tokio::test]
async fn a_streams_first_frame_is_judged_like_a_requests_login() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    for who in EVERYBODY {
        let world = World::new(&relay, &clock, who).await;
        let before = world.snapshot().await;
        let mut ws = Ws::open(&relay).await;
        let Some(bearer) = world.bearer(who, &Session(200, May(200), Own(200))) else {
            ws.say(&json!({"type": "auth"})).await;
            assert_eq!(ws.end().await.1, 4400, "{who:?}");
            continue;
        };
        ws.say(&json!({"type": "auth", "session": bearer})).await;
        match expected(&Session(200, Own(200), Own(200)), who) {
            No(_, code) => {
                let (frames, close) = ws.end().await;
                assert_eq!((frames[0]["code"].as_str(), close), (Some(code), 4401), "{who:?}");
            }
            outcome => {
                assert_eq!(ws.hear().await["type"], "ready", "{who:?}");
                let first = ws.hear().await;
                let waits = who != Stranger;
                assert_eq!(first["type"], if waits { "envelope" } else { "drained" }, "{who:?} {outcome:?}: its own mailbox");
            }
        }
        assert_eq!(world.snapshot().await, before, "{who:?}");
    }
}

/// The owner, whose things are asked for, and everybody's logins.
struct World<'a> {
    relay: &'a TestRelay,
    owner: Person,
    /// The owner's token, with which something was sent to both of her devices.
    token: DeliveryToken,
    /// The token that who asks has; of those without one, one that is not good.
    shown: DeliveryToken,
    challenge: ChallengeReply,
    session: String,
    watch: String,
    sibling: String,
    stranger: String,
    expired: String,
    revoked: String,
}

impl<'a> World<'a> {
    async fn new(relay: &'a TestRelay, clock: &ManualClock, who: Who) -> Self {
        let (owner, stranger) = (Person::of(vec![Device::new(), Device::new()]), Person::new());
        let expired = owner.settle(relay).await;
        clock.advance(1_801);
        // Without one for so long the relay would not count as ready.
        relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
        let revoked = owner.login(relay).await;
        let session = owner.login(relay).await;
        let others = ask("POST /v1/sessions/revoke").by(&session).json(&json!({"all_others": true}));
        assert_eq!(relay.answer(others).await.ok(200)["revoked"], 1);
        let token = owner.token(relay, &session).await;
        send(relay, &owner.parcel(&token, 1, 1_024)).await.ok(202);
        relay.answer(ask("PUT /v1/handle").by(&session).json(&handle(&owner))).await.ok(200);
        let first = slot(ask("PUT /v1/slot")).by(&session).header("If-None-Match", "*").json(&content());
        relay.answer(first).await.ok(200);
        let session = if who == Bare { bare(relay, &owner, session).await } else { session };
        let world = Self {
            relay,
            shown: DeliveryToken([9; 32]),
            token,
            challenge: challenge(relay, &owner.devices[0].id()).await,
            watch: owner.login(relay).await,
            sibling: login(relay, &owner.devices[1]).await,
            stranger: stranger.settle(relay).await,
            session,
            expired,
            revoked,
            owner,
        };
        world.shown_by(who)
    }

    /// The same for somebody else.
    fn shown_by(self, who: Who) -> Self {
        let shown = if who == Sender { self.token.clone() } else { DeliveryToken([9; 32]) };
        Self { shown, ..self }
    }

    /// What somebody shows for a login.
    fn bearer(&self, who: Who, by: &By) -> Option<String> {
        match who {
            Owner | Bare => Some(self.session.clone()),
            Sibling => Some(self.sibling.clone()),
            Stranger => Some(self.stranger.clone()),
            Nobody => None,
            Garbage => Some(SessionToken([7; 32]).encode()),
            Expired => Some(self.expired.clone()),
            Revoked => Some(self.revoked.clone()),
            // Where a token is asked for it stands in the body; elsewhere it is tried as a session.
            Sender if matches!(by, Token(_) | Unnamed(_)) => None,
            Sender => Some(SessionToken(self.token.0).encode()),
        }
    }

    fn device(&self) -> &Device {
        &self.owner.devices[0]
    }

    /// Everything that the relay tells the owner of what is hers.
    async fn snapshot(&self) -> Vec<Value> {
        let mut told = Vec::new();
        for line in ["GET /v1/account", "GET /v1/envelopes"] {
            told.push(self.relay.answer(ask(line).by(&self.watch)).await.ok(200));
        }
        let tokens = ask("POST /v1/tokens/list").by(&self.watch).json(&json!({}));
        told.push(self.relay.answer(tokens).await.ok(200));
        let sessions = self.relay.answer(ask("GET /v1/sessions").by(&self.watch)).await.ok(200);
        told.push(json!(sessions["sessions"].as_array().map(Vec::len)));
        // What an acknowledgement takes from the sibling's own mailbox is the sibling's.
        if let Some(devices) = told[0]["devices"].as_array_mut() {
            devices.retain(|device| device["device"] == json!(self.device().id()));
        }
        told
    }

    /// Whether a reply names anything of the owner's.
    fn is_shown(&self, reply: &Reply) -> bool {
        let text = String::from_utf8_lossy(&reply.body);
        let devices = self.owner.devices.iter().map(|device| device.id().encode());
        devices.chain([self.owner.id().encode(), self.token.hash().encode()]).any(|name| text.contains(&name))
    }

    fn login(&self) -> Value {
        let signature = prove(self.relay, &self.challenge, self.device(), |proof| proof.login());
        json!({"device": self.device().id(), "challenge": self.challenge.challenge, "signature": signature})
    }

    fn registration(&self) -> Value {
        let hash = self.owner.list.hash();
        let signature = prove(self.relay, &self.challenge, self.device(), |proof| proof.register(&hash));
        let mut request = json!({"device_list": self.owner.list, "signature": signature});
        request["device"] = json!(self.device().id());
        request["challenge"] = json!(self.challenge.challenge);
        request
    }

    /// The list that adds a device.
    fn next_list(&self) -> Value {
        let mut more = self.owner.clone();
        more.devices.push(Device::new());
        json!({"device_list": more.next()})
    }

    fn recovery(&self) -> Value {
        let list = self.owner.signed(2, 1, Hash::ZERO);
        let (account, key) = (self.owner.id(), &self.owner.account);
        let recover = |proof: &restante::protocol::auth::Proof<'_>| proof.recover(&account, &list.hash());
        let signature = prove_at(&self.relay.origin(), &self.challenge, self.device(), key, recover);
        let (device, challenge) = (self.device().id(), &self.challenge.challenge);
        json!({"device": device, "challenge": challenge, "device_list": list, "account_signature": signature})
    }

    /// The account's end, signed by the owner's device.
    fn farewell(&self) -> Value {
        let account = self.owner.id();
        let signature = prove(self.relay, &self.challenge, self.device(), |proof| proof.delete_account(&account));
        json!({"challenge": self.challenge.challenge, "signature": signature})
    }

    fn handle(&self) -> Value {
        handle(&self.owner)
    }

    fn prekey(&self) -> Value {
        let (prekey, expires_at) = (SealingKey(exchange::KeyPair::generate().public()), self.relay.relay.now() + 86_400);
        let transcript = prekey_transcript(&self.owner.id(), &self.device().id(), &prekey, expires_at);
        json!({"prekey": prekey, "expires_at": expires_at, "signature": Signature(self.device().key.sign(&transcript))})
    }
}

/// The handle that somebody has: of nobody else, and with no name behind it.
fn handle(owner: &Person) -> Value {
    json!({"hash": Hash::of(owner.id().as_ref()), "record": Bytes(vec![5; 1_024])})
}

/// A session of the owner's first device that has not shown the second factor, which is on.
async fn bare(relay: &TestRelay, owner: &Person, session: String) -> String {
    let secret = generate(relay, &session).await;
    let confirm = ask("POST /v1/totp/confirm").by(&session).json(&json!({"code": code(relay, &secret, 0)}));
    relay.answer(confirm).await.ok(200);
    owner.login(relay).await
}
