//! The admin socket's table of contents, a line a route. `curl --unix-socket restante-data/admin.sock http://relay/stats`
//! works too.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::{Json, Reply, WithStatus, json, with_status};
use warp::{Filter, body, get, path, post, query};

use super::{AccountName, NoticeCleared, NoticeText, PassName, PassRequest, PassRevoked, PurgeRequest};
use crate::protocol::{AccountId, ErrorCode, Problem};
use crate::service::{Error, Relay};

type Answer = WithStatus<Json>;

/// Everything an operator may ask of a running relay.
pub(super) fn routes(relay: Relay) -> BoxedFilter<(impl Reply,)> {
    let with_relay = warp::any().map(move || relay.clone());
    let call = |filter: BoxedFilter<()>| filter.and(with_relay.clone());
    let send = |filter: BoxedFilter<()>| call(filter).and(body::content_length_limit(BODY_BYTES_MAX)).and(body::bytes());

    let stats = call(path!("stats").and(get()).boxed()).then(stats).boxed();
    let info = call(path!("info").and(get()).boxed()).then(info).boxed();
    let rows = call(path!("rows").and(get()).boxed()).and(query()).then(rows).boxed();
    let purge = send(path!("purge").and(post()).boxed()).then(purge).boxed();
    let passes = call(path!("passes").and(get()).boxed()).then(passes).boxed();
    let create = send(path!("passes").and(post()).boxed()).then(create_pass).boxed();
    let revoke = send(path!("passes" / "revoke").and(post()).boxed()).then(revoke_pass).boxed();
    let set_notice = send(path!("notice").and(post()).boxed()).then(set_notice).boxed();
    let clear_notice = call(path!("notice" / "clear").and(post()).boxed()).then(clear_notice).boxed();

    let queries = stats.or(info).unify().or(rows).unify().or(passes).unify();
    let passes = create.or(revoke).unify();
    let notices = set_notice.or(clear_notice).unify();
    let list = call(path!("accounts").and(get()).boxed()).and(query()).then(accounts).boxed();
    let find = send(path!("accounts" / "find").and(post()).boxed()).then(account).boxed();
    let suspend = send(path!("accounts" / "suspend").and(post()).boxed()).then(suspend_account).boxed();
    let resume = send(path!("accounts" / "resume").and(post()).boxed()).then(resume_account).boxed();
    let delete = send(path!("accounts" / "delete").and(post()).boxed()).then(delete_account).boxed();
    let accounts = list.or(find).unify().or(suspend).unify().or(resume).unify().or(delete).unify();
    let queries = queries.or(accounts).unify();
    queries.or(purge).unify().or(passes).unify().or(notices).unify().boxed()
}

async fn stats(relay: Relay) -> Answer {
    answer(relay.stats().await)
}

async fn info(relay: Relay) -> Answer {
    answer(Ok(relay.info()))
}

#[derive(Deserialize)]
struct RowsQuery {
    limit: u64,
}

async fn rows(relay: Relay, query: RowsQuery) -> Answer {
    answer(relay.explain(query.limit).await)
}

async fn purge(relay: Relay, body: Bytes) -> Answer {
    match parse::<PurgeRequest>(&body) {
        Ok(request) => to_its_end(async move { relay.purge(request, |_| {}).await }).await,
        Err(refusal) => refusal,
    }
}

async fn passes(relay: Relay) -> Answer {
    answer(relay.passes().await)
}

async fn create_pass(relay: Relay, body: Bytes) -> Answer {
    match parse::<PassRequest>(&body) {
        Ok(request) => answer(relay.create_pass(request.uses, request.expires_in_secs).await),
        Err(refusal) => refusal,
    }
}

async fn revoke_pass(relay: Relay, body: Bytes) -> Answer {
    match parse::<PassName>(&body) {
        Ok(name) => answer(relay.revoke_pass(&name.pass).await.map(|revoked| PassRevoked { revoked })),
        Err(refusal) => refusal,
    }
}

#[derive(Deserialize)]
struct AccountsQuery {
    from: Option<AccountId>,
}

async fn accounts(relay: Relay, query: AccountsQuery) -> Answer {
    answer(relay.accounts(query.from).await)
}

async fn account(relay: Relay, body: Bytes) -> Answer {
    match parse::<AccountName>(&body) {
        Ok(name) => answer(relay.account_named(&name.account).await),
        Err(refusal) => refusal,
    }
}

async fn suspend_account(relay: Relay, body: Bytes) -> Answer {
    match parse::<AccountName>(&body) {
        Ok(name) => to_its_end(async move { relay.suspend_account(&name.account, true).await }).await,
        Err(refusal) => refusal,
    }
}

async fn resume_account(relay: Relay, body: Bytes) -> Answer {
    match parse::<AccountName>(&body) {
        Ok(name) => to_its_end(async move { relay.suspend_account(&name.account, false).await }).await,
        Err(refusal) => refusal,
    }
}

async fn delete_account(relay: Relay, body: Bytes) -> Answer {
    match parse::<AccountName>(&body) {
        Ok(name) => to_its_end(async move { relay.remove_account(&name.account).await }).await,
        Err(refusal) => refusal,
    }
}

async fn set_notice(relay: Relay, body: Bytes) -> Answer {
    match parse::<NoticeText>(&body) {
        Ok(notice) => to_its_end(async move { relay.set_notice(&notice.text).await }).await,
        Err(refusal) => refusal,
    }
}

async fn clear_notice(relay: Relay) -> Answer {
    to_its_end(async move { relay.clear_notice().await.map(|cleared| NoticeCleared { cleared }) }).await
}

/// Runs a call to its end also when the caller hangs up.
async fn to_its_end<T: serde::Serialize + Send + 'static>(
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Answer {
    match tokio::spawn(call).await {
        Ok(result) => answer(result),
        Err(_) => refuse(&Problem::new(ErrorCode::Internal, "the call broke off; the relay's log says why")),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body)
        .map_err(|_| refuse(&Problem::new(ErrorCode::BadRequest, "the body is not what this call takes")))
}

fn answer<T: serde::Serialize>(result: Result<T, Error>) -> Answer {
    match result {
        Ok(value) => with_status(json(&value), StatusCode::OK),
        Err(error) => refuse(&Problem::new(error.code(), error.to_string())),
    }
}

fn refuse(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_status(json(problem), status)
}

/// The longest request is a notice: 1,000 bytes are at most 3,000 as JSON.
const BODY_BYTES_MAX: u64 = 4_096;
