//! The admin socket's table of contents, a line a route. `curl --unix-socket restante-data/admin.sock http://relay/stats`
//! works too.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::{Json, Reply, WithStatus, json, with_status};
use warp::{Filter, body, get, path, post, query};

use super::{PassName, PassRequest, PassRevoked, PurgeRequest};
use crate::protocol::{ErrorCode, Problem};
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

    let queries = stats.or(info).unify().or(rows).unify().or(passes).unify();
    queries.or(purge).unify().or(create).unify().or(revoke).unify().boxed()
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

/// Runs to its end also when the caller hangs up: a purge half done is only done again.
async fn purge(relay: Relay, body: Bytes) -> Answer {
    let request: PurgeRequest = match parse(&body) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let purge = tokio::spawn(async move { relay.purge(request, |_| {}).await });
    match purge.await {
        Ok(report) => answer(report),
        Err(_) => refuse(&Problem::new(ErrorCode::Internal, "the purge broke off; the relay's log says why")),
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

/// The longest request is a pass's code in a few words of JSON.
const BODY_BYTES_MAX: u64 = 4_096;
