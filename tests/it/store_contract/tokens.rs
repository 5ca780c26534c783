//! Delivery tokens: registering, paging, revoking, and where they lead.

use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::store::{Enqueued, TokenAdded, TokenPage};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, Person, queued, token};

on_every_store! {
    a_token_is_repeated_alike_or_taken
    an_account_holds_so_many_live_tokens
    tokens_page_by_hash
    a_revoked_token_leads_nowhere_from_the_answer_on
    only_the_owner_revokes
    a_route_ends_with_its_expiry
    an_expired_tokens_hash_may_be_registered_again
    a_refused_token_changes_nothing
}

fn item(number: u16) -> TokenItem {
    TokenItem {
        hash: token(1, number),
        kind: TokenKind::Contact,
        expires_at: None,
        envelopes_max: None,
        used: false,
        uses_left: None,
    }
}

async fn a_token_is_repeated_alike_or_taken(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    let first = TokenItem { expires_at: Some(NOW + DAY), envelopes_max: Some(5), ..item(1) };
    let add = async |person: &Person, item: &TokenItem| bench.store.add_token(person.account, item.clone(), 2, NOW).await;
    assert_eq!(add(&alice, &first).await, Ok(TokenAdded::Added));
    assert_eq!(add(&alice, &first).await, Ok(TokenAdded::Added), "also where there is no room for another");
    for other in [
        TokenItem { kind: TokenKind::Once, ..first.clone() },
        TokenItem { expires_at: Some(NOW + 2 * DAY), ..first.clone() },
        TokenItem { expires_at: None, ..first.clone() },
        TokenItem { envelopes_max: Some(6), ..first.clone() },
        TokenItem { envelopes_max: None, ..first.clone() },
    ] {
        assert_eq!(add(&alice, &other).await, Ok(TokenAdded::Taken));
    }
    assert_eq!(add(&bob, &first).await, Ok(TokenAdded::Taken));
}

async fn an_account_holds_so_many_live_tokens(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let short = TokenItem { expires_at: Some(NOW + DAY), ..item(1) };
    assert_eq!(bench.store.add_token(alice.account, short, 2, NOW).await, Ok(TokenAdded::Added));
    assert_eq!(bench.store.add_token(alice.account, item(2), 2, NOW + DAY - 1).await, Ok(TokenAdded::TooMany));
    assert_eq!(bench.store.add_token(alice.account, item(2), 2, NOW + DAY).await, Ok(TokenAdded::Added));
    assert_eq!(bench.store.revoke_tokens(alice.account, vec![token(1, 2)]).await, Ok(1));
    assert_eq!(bench.store.add_token(alice.account, item(3), 2, NOW + DAY).await, Ok(TokenAdded::Added));
}

async fn tokens_page_by_hash(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    bench.account(2, 1).await;
    for number in [4, 2, 3, 1] {
        bench.token(&alice, token(1, number), TokenKind::Contact, None, None).await;
    }
    bench.token(&alice, token(1, 5), TokenKind::Once, Some(NOW + DAY), Some(1)).await;
    let page = async |after: Option<u16>, limit, now| {
        let after = after.map(|number| token(1, number));
        let TokenPage { tokens, more } = bench.store.tokens(alice.account, after, limit, now).await.expect("a page");
        (tokens.iter().map(|token| u16::from_be_bytes([token.hash.0[0], token.hash.0[1]])).collect::<Vec<_>>(), more)
    };
    assert_eq!(page(None, 3, NOW).await, (vec![0, 1, 2], true));
    assert_eq!(page(Some(2), 3, NOW).await, (vec![3, 4, 5], false));
    assert_eq!(page(Some(2), 2, NOW).await, (vec![3, 4], true));
    assert_eq!(page(Some(2), 2, NOW + DAY).await, (vec![3, 4], false), "an expired one is left out");
    assert_eq!(page(Some(5), 2, NOW).await, (vec![], false));
    let full = bench.store.tokens(alice.account, Some(token(1, 4)), 1, NOW).await.expect("a page").tokens;
    let expected = TokenItem { kind: TokenKind::Once, expires_at: Some(NOW + DAY), envelopes_max: Some(1), ..item(5) };
    assert_eq!(full, [expected]);
}

async fn a_revoked_token_leads_nowhere_from_the_answer_on(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    // Asked twice, so that a cache has it.
    for _ in 0..2 {
        assert!(bench.store.route(alice.token, NOW).await.expect("answered").is_some());
    }
    assert_eq!(bench.store.revoke_tokens(alice.account, vec![alice.token, token(1, 99)]).await, Ok(1));
    assert_eq!(bench.store.route(alice.token, NOW).await, Ok(None));
    assert_eq!(bench.send(alice.send(1)).await, Enqueued::NoSuchToken);
    assert_eq!(bench.store.revoke_tokens(alice.account, vec![alice.token]).await, Ok(0));
    bench.token(&alice, alice.token, TokenKind::Contact, None, None).await;
    assert!(bench.store.route(alice.token, NOW).await.expect("answered").is_some());
    assert_eq!(bench.send(alice.send(1)).await, queued());
}

async fn only_the_owner_revokes(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    assert_eq!(bench.store.revoke_tokens(bob.account, vec![alice.token]).await, Ok(0));
    assert!(bench.store.route(alice.token, NOW).await.expect("answered").is_some());
}

async fn a_route_ends_with_its_expiry(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    bench.token(&alice, token(1, 1), TokenKind::Contact, Some(NOW + DAY), None).await;
    for (now, there) in [(NOW, true), (NOW + DAY - 1, true), (NOW + DAY, false)] {
        let route = bench.store.route(token(1, 1), now).await.expect("answered");
        assert_eq!(route.is_some(), there, "{now}");
    }
    let route = bench.store.route(alice.token, NOW).await.expect("answered").expect("there");
    assert_eq!((route.account, route.kind, route.list), (alice.account, TokenKind::Contact, alice.list_name()));
    assert_eq!(route.devices[0].sealing_key.0, alice.devices[0].0);
    assert_eq!(bench.store.route(token(9, 9), NOW).await, Ok(None));
}

async fn an_expired_tokens_hash_may_be_registered_again(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    bench.token(&alice, token(1, 1), TokenKind::Once, Some(NOW + DAY), None).await;
    assert_eq!(bench.store.add_token(bob.account, item(1), 9, NOW + DAY - 1).await, Ok(TokenAdded::Taken));
    assert_eq!(bench.store.add_token(bob.account, item(1), 9, NOW + DAY).await, Ok(TokenAdded::Added));
    assert_eq!(bench.store.route(token(1, 1), NOW).await.expect("answered").expect("there").account, bob.account);
}

/// An expired token was deleted before its account was found to be full, and the refusal committed that.
async fn a_refused_token_changes_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let short = TokenItem { expires_at: Some(NOW + DAY), ..item(1) };
    assert_eq!(bench.store.add_token(alice.account, short, 2, NOW).await, Ok(TokenAdded::Added));
    assert_eq!(bench.store.add_token(alice.account, item(2), 2, NOW + DAY).await, Ok(TokenAdded::Added));
    assert_eq!(bench.store.add_token(alice.account, item(1), 2, NOW + DAY).await, Ok(TokenAdded::TooMany));
    assert_eq!(bench.store.totals().await.expect("answered").tokens, 3, "the expired one still waits for the purge");
}
