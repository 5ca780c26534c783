//! The steps that a case is made of, and how often each comes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use restante::protocol::ErrorCode;
use restante::protocol::tokens::TokenKind;

use super::reference::Model;

/// One thing that somebody does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send {
        to: usize,
        token: u8,
        id: u8,
        size: usize,
        hours: Option<u16>,
        aim: Aim,
    },
    Poll {
        of: usize,
        device: u8,
        after: u8,
        limit: u64,
    },
    Ack {
        of: usize,
        device: u8,
        what: Acked,
    },
    AddToken {
        of: usize,
        token: u8,
        kind: TokenKind,
        hours: Option<u16>,
        envelopes_max: Option<u64>,
        uses: Option<u64>,
    },
    RevokeTokens {
        of: usize,
        tokens: Vec<u8>,
    },
    LogIn {
        of: usize,
        device: u8,
    },
    LogInBadly {
        of: usize,
        device: u8,
        how: BadLogin,
    },
    /// Of this device of the account, or all but the one that asks.
    EndSessions {
        of: usize,
        device: u8,
        whose: Option<u8>,
    },
    Register {
        of: usize,
        how: Registered,
    },
    Change {
        of: usize,
        how: Changed,
    },
    /// The account makes room for a fresh one.
    Delete {
        of: usize,
        badly: bool,
    },
    Advance {
        mins: u16,
    },
    /// The wall clock's alone.
    Jump {
        hours: i16,
    },
    Purge,
    Restart,
    Crash,
    Misfit(usize),
}

impl Step {
    /// What it is; a send that stores nothing, though it is taken, is a repeat.
    pub(super) fn name(&self, stored: bool) -> &'static str {
        match self {
            Self::Send { .. } if stored => "send",
            Self::Send { .. } => "repeat",
            Self::Poll { .. } => "poll",
            Self::Ack { what: Acked::Some(_) | Acked::Through(_), .. } => "acknowledge",
            Self::Ack { what: Acked::Gap, .. } => "acknowledge a gap",
            Self::Ack { what: Acked::Gone(_), .. } => "acknowledge again",
            Self::Ack { what: Acked::Anothers(_), .. } => "acknowledge another's",
            Self::Ack { .. } => "acknowledge badly",
            Self::AddToken { .. } => "add a token",
            Self::RevokeTokens { .. } => "revoke tokens",
            Self::LogIn { .. } => "log in",
            Self::LogInBadly { .. } => "log in badly",
            Self::EndSessions { .. } => "end sessions",
            Self::Register { .. } => "register",
            Self::Change { .. } => "change the list",
            Self::Delete { .. } => "delete",
            Self::Advance { .. } => "advance",
            Self::Jump { .. } => "jump",
            Self::Purge => "purge",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Misfit(_) => "misfit",
        }
    }

    /// Every name that there is.
    #[rustfmt::skip]
    pub(super) const NAMES: &[&str] = &[
        "send", "repeat", "poll", "acknowledge", "acknowledge a gap", "acknowledge again", "acknowledge another's", "acknowledge badly",
        "add a token", "revoke tokens", "log in", "log in badly", "end sessions", "register", "change the list", "delete",
        "advance", "jump", "purge", "restart", "crash", "misfit",
    ];
}

/// What a send is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    Right,
    /// The devices, by a list that is not theirs any more, or not yet.
    AnotherList,
    /// One device that is not in the list, too.
    TooManyDevices,
    Nobody,
}

/// What an acknowledgement names.
#[derive(Debug, Clone)]
pub(super) enum Acked {
    Some(Vec<u8>),
    Through(u8),
    /// What is gone already.
    Gone(u8),
    Gap,
    /// What waits for another device.
    Anothers(u8),
    Beyond,
    Nothing,
    TooMany,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum BadLogin {
    /// One challenge, well signed, twice.
    Twice,
    /// After its minute.
    Late,
    AnothersKey,
    AnothersChallenge,
    /// By a device that is not in the list any more.
    Removed,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Registered {
    Again,
    AnotherList,
    DeviceOfAnother,
    BadProof,
    BadList,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Changed {
    Add,
    Drop(u8),
    /// The current list again.
    Not,
    /// A list that does not follow.
    Behind,
    /// A device of the other account, or one once removed.
    WithAnothers,
}

/// A request that is not what the protocol says, and the code for it.
pub(super) struct Misfit {
    pub(super) code: ErrorCode,
    /// `{session}` stands for one that is good.
    pub(super) request: &'static str,
}

impl Misfit {
    pub(super) fn at(at: usize) -> &'static Self {
        &MISFITS[at % MISFITS.len()]
    }
}

#[rustfmt::skip]
const MISFITS: &[Misfit] = &[
    Misfit { code: ErrorCode::NotFound, request: "GET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n" },
    Misfit { code: ErrorCode::MethodNotAllowed, request: "DELETE /v1/envelopes HTTP/1.1\r\nHost: a\r\n\r\n" },
    Misfit { code: ErrorCode::NoSession, request: "GET /v1/envelopes HTTP/1.1\r\nHost: a\r\n\r\n" },
    Misfit { code: ErrorCode::NoSession, request: "GET /v1/account HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer AAAA\r\n\r\n" },
    Misfit { code: ErrorCode::BadRequest, request: "GET /v1/envelopes?after=-1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\n\r\n" },
    Misfit { code: ErrorCode::BadRequest, request: "POST /v1/envelopes/ack HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"seqs\":[1.0]}" },
    Misfit { code: ErrorCode::AnonymousOnly, request: "POST /v1/envelopes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" },
    Misfit { code: ErrorCode::LengthRequired, request: "POST /v1/envelopes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
    Misfit { code: ErrorCode::TooLarge, request: "POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 70000\r\n\r\n" },
    Misfit { code: ErrorCode::UnsupportedMediaType, request: "POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}" },
    Misfit { code: ErrorCode::UpgradeRequired, request: "GET /v1/stream HTTP/1.1\r\nHost: a\r\n\r\n" },
    Misfit { code: ErrorCode::NoSuchToken, request: "POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 55\r\n\r\n{\"token\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}" },
    Misfit { code: ErrorCode::NoSuchHandle, request: "POST /v1/handles/lookup HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 54\r\n\r\n{\"hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}" },
    Misfit { code: ErrorCode::NoSuchSlot, request: "GET /v1/slot HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\nSlot-Id: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n\r\n" },
    Misfit { code: ErrorCode::NoTotp, request: "POST /v1/session/elevate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"code\":\"123456\"}" },
];

/// Any step, of two people.
pub(super) fn steps(model: &Model) -> BoxedStrategy<Step> {
    let (of, device, token) = (0..2_usize, 0..3_u8, 0..TOKENS);
    // Mostly one that is there, and the account's.
    let stray = (of.clone(), 0..TOKENS).boxed();
    let there: Vec<(usize, u8)> = model.tokens.iter().map(|(number, token)| (token.owner, *number)).collect();
    let aimed = if there.is_empty() { stray.clone() } else { select(there).boxed() };
    let to = prop_oneof![7 => aimed, 1 => stray.clone()];
    let size = prop_oneof![6 => Just(1_024_usize), 6 => Just(4_096), 4 => Just(16_384), 1 => Just(1_023), 1 => Just(16_385)];
    let aim = prop_oneof![16 => Just(Aim::Right), 1 => Just(Aim::AnotherList), 1 => Just(Aim::TooManyDevices), 1 => Just(Aim::Nobody)];
    let hours = prop_oneof![2 => Just(None), 6 => (1..12_u16).prop_map(Some), 1 => Just(Some(0)), 1 => Just(Some(168)), 1 => Just(Some(169))];
    let acked = prop_oneof![
        6 => vec(0..6_u8, 1..4).prop_map(Acked::Some),
        4 => (0..6_u8).prop_map(Acked::Through),
        2 => (0..20_u8).prop_map(Acked::Gone),
        3 => Just(Acked::Gap),
        3 => (0..3_u8).prop_map(Acked::Anothers),
        1 => Just(Acked::Beyond),
        1 => Just(Acked::Nothing),
        1 => Just(Acked::TooMany),
    ];
    let kind = prop_oneof![4 => Just(TokenKind::Contact), 2 => Just(TokenKind::Once), 2 => Just(TokenKind::Knock)];
    let lives = prop_oneof![6 => Just(None), 4 => (1..100_u16).prop_map(Some), 1 => Just(Some(0)), 1 => Just(Some(721))];
    let most = prop_oneof![6 => Just(None), 2 => (1..3_u64).prop_map(Some), 1 => Just(Some(0))];
    let uses = prop_oneof![6 => Just(None), 2 => (1..3_u64).prop_map(Some), 1 => Just(Some(0))];
    let bad_login = prop_oneof![
        Just(BadLogin::Twice),
        Just(BadLogin::Late),
        Just(BadLogin::AnothersKey),
        Just(BadLogin::AnothersChallenge),
        Just(BadLogin::Removed),
    ];
    let registered = prop_oneof![
        Just(Registered::Again),
        Just(Registered::AnotherList),
        Just(Registered::DeviceOfAnother),
        Just(Registered::BadProof),
        Just(Registered::BadList),
    ];
    let changed = prop_oneof![
        3 => Just(Changed::Add), 2 => (0..3_u8).prop_map(Changed::Drop), 1 => Just(Changed::Not), 1 => Just(Changed::Behind), 1 => Just(Changed::WithAnothers),
    ];
    let mins = prop_oneof![4 => 1..20_u16, 3 => 30..600_u16, 1 => 600..12_000_u16];
    let jump = prop_oneof![Just(1_i16), Just(-1), Just(24), Just(-24), Just(192), Just(-192)];
    prop_oneof![
        44 => (to, 0..IDS, size, hours, aim).prop_map(|((to, token), id, size, hours, aim)| Step::Send { to, token, id, size, hours, aim }),
        6 => (of.clone(), device.clone(), 0..6_u8, prop_oneof![4 => 1..5_u64, 1 => Just(0_u64), 1 => Just(101)])
            .prop_map(|(of, device, after, limit)| Step::Poll { of, device, after, limit }),
        20 => (of.clone(), device.clone(), acked).prop_map(|(of, device, what)| Step::Ack { of, device, what }),
        12 => (stray, kind, lives, most, uses)
            .prop_map(|((of, token), kind, hours, envelopes_max, uses)| Step::AddToken { of, token, kind, hours, envelopes_max, uses }),
        3 => (of.clone(), vec(token, 1..3)).prop_map(|(of, tokens)| Step::RevokeTokens { of, tokens }),
        2 => (of.clone(), device.clone()).prop_map(|(of, device)| Step::LogIn { of, device }),
        3 => (of.clone(), device.clone(), bad_login).prop_map(|(of, device, how)| Step::LogInBadly { of, device, how }),
        2 => (of.clone(), device.clone(), option::of(device)).prop_map(|(of, device, whose)| Step::EndSessions { of, device, whose }),
        2 => (of.clone(), registered).prop_map(|(of, how)| Step::Register { of, how }),
        3 => (of.clone(), changed).prop_map(|(of, how)| Step::Change { of, how }),
        1 => (of, any::<bool>()).prop_map(|(of, badly)| Step::Delete { of, badly }),
        8 => mins.prop_map(|mins| Step::Advance { mins }),
        1 => jump.prop_map(|hours| Step::Jump { hours }),
        4 => Just(Step::Purge),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        6 => (0..MISFITS.len()).prop_map(Step::Misfit),
    ]
    .boxed()
}

/// Tokens that there may be; more than an account may hold.
const TOKENS: u8 = 10;
/// Envelope ids, few enough for many repeats.
const IDS: u8 = 6;
