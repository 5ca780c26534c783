//! Links for several people, and such as ask first.

use restante::client::{Door, InviteOptions, Link};
use restante::protocol::ErrorCode;

use super::{Street, all, said, write_both_ways};

#[tokio::test]
async fn a_link_for_two_lets_two_in_and_refuses_the_third() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    let (mut carol, mut dora) = (street.person("carol").await, street.person("dora").await);
    let options = InviteOptions { uses: 2, secs: 2 * 86_400, ..InviteOptions::default() };
    let link: Link = alice.invite_with(options).await.expect("a link").to_string().parse().expect("a link");
    assert!(matches!(link.door, Door::Knock(_)));
    bob.add_saying("alice", &link, "hello").await.expect("knocked");
    assert!(bob.contacts()[0].knocked);
    assert_eq!(said(&all(&mut alice).await), ["added bob"]);
    assert_eq!((alice.invites()[0].came, alice.invites()[0].uses), (1, 2));
    carol.add("alice", &link).await.expect("knocked");
    let refused = dora.add("alice", &link).await.expect_err("used up");
    assert_eq!(refused.code(), Some(ErrorCode::NoSuchToken));
    assert!(dora.contacts().is_empty());
    assert_eq!(said(&all(&mut alice).await), ["added carol"]);
    assert!(alice.invites().is_empty(), "closed");
    for (name, guest) in [("bob", &mut bob), ("carol", &mut carol)] {
        assert_eq!(said(&all(guest).await), ["ready alice"]);
        write_both_ways((&mut alice, "alice"), (guest, name)).await;
    }
    all(&mut alice).await;
    assert_eq!(alice.account().await.expect("an account").tokens, 4 + 2 - 2, "the pool gave two, and the link's is gone");
}

#[tokio::test]
async fn a_link_may_ask_and_be_taken_back() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    let mut carol = street.person("carol").await;
    let asking = InviteOptions { ask: true, name: Some("guest".into()), ..InviteOptions::default() };
    let link = alice.invite_with(asking).await.expect("a link");
    bob.add_saying("alice", &link, "hello").await.expect("knocked");
    assert_eq!(said(&all(&mut alice).await), ["knock 1 bob - -: hello"]);
    alice.accept("1", None).await.expect("accepted");

    let single = alice.invite(Some("carol")).await.expect("a link");
    let open = alice.invite_with(InviteOptions { uses: 5, ..InviteOptions::default() }).await.expect("a link");
    let listed = alice.invites();
    assert_eq!(listed.len(), 2);
    assert!(alice.revoke_invites(Some("00000000")).await.is_err());
    let id = &listed.iter().find(|invite| invite.uses == 5).expect("the open one").id;
    assert_eq!(alice.revoke_invites(Some(id)).await.expect("revoked"), 1);
    assert_eq!(carol.add("alice", &open).await.expect_err("taken back").code(), Some(ErrorCode::NoSuchToken));
    assert_eq!(alice.revoke_invites(None).await.expect("revoked"), 1);
    assert_eq!(carol.add("alice", &single).await.expect_err("taken back").code(), Some(ErrorCode::NoSuchToken));
    assert!(carol.contacts().is_empty() && alice.invites().is_empty());
    for options in [
        InviteOptions { uses: 0, ..InviteOptions::default() },
        InviteOptions { uses: 1_001, ..InviteOptions::default() },
        InviteOptions { secs: 31 * 86_400, ..InviteOptions::default() },
        InviteOptions { name: Some("bob".into()), ..InviteOptions::default() },
    ] {
        assert!(alice.invite_with(options.clone()).await.is_err(), "{options:?}");
    }
}
