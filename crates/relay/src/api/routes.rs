//! The table of contents: every route with its method, what login it needs, and its handler.
//!
//! The table makes the filters, the `Allow` headers and the templates that the log shows. Handlers parse for themselves and
//! never reject: a filter's order would decide between 404 and 405 otherwise.

use std::panic::AssertUnwindSafe;

use bytes::Buf;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::path::FullPath;
use warp::reply::Response;

use super::error::{ApiError, json, yaml};
use super::extract::{self, Caller};
use super::{parked, stream, web};
use crate::protocol::accounts::DeletedReply;
use crate::protocol::handles::ReleaseHandleRequest;
use crate::protocol::slots::{DeleteSlotRequest, PUT_SLOT_BYTES_MAX, etag};
use crate::protocol::{ErrorCode, Limits};
use crate::service::stream::Received;
use crate::service::{Relay, Session};

/// One route.
pub struct Route {
    /// Its method; HEAD goes with GET.
    pub method: Method,
    /// Its path, which has no parameters: what two parties share travels in bodies.
    pub template: &'static str,
    /// What login it needs.
    pub auth: Auth,
    /// How large a body it takes.
    pub body: Body,
    handler: Handler,
}

/// How large a body a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// A few fields, or a page of token hashes.
    Small,
    /// A slot's content.
    Slot,
    /// A body for every device of an account.
    Send,
}

impl Body {
    /// The most bytes.
    pub fn bytes_max(self, limits: &Limits) -> u64 {
        match self {
            Self::None => 0,
            Self::Small => SMALL_BODY_BYTES_MAX.min(limits.request_bytes_max()),
            Self::Slot => PUT_SLOT_BYTES_MAX,
            Self::Send => limits.request_bytes_max(),
        }
    }
}

/// What login a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// None; one sent along is not looked at.
    Public,
    /// None, and one sent along is refused.
    Anonymous,
    /// A session.
    Session,
}

/// What a handler is given.
struct Call {
    relay: Relay,
    session: Option<Session>,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
    query: String,
    body: Vec<u8>,
}

type Handler = fn(Call) -> BoxFuture<'static, Result<Response, ApiError>>;

impl Call {
    fn session(&self) -> Result<&Session, ApiError> {
        self.session.as_ref().ok_or_else(|| ApiError::new(ErrorCode::NoSession, "log in first"))
    }
}

macro_rules! route {
    ($method:ident $template:literal $auth:ident $body:ident, |$call:ident| $handler:expr) => {
        Route {
            method: Method::$method,
            template: $template,
            auth: Auth::$auth,
            body: Body::$body,
            handler: |$call| async move { $handler }.boxed(),
        }
    };
}

/// Every route there is.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route!(GET "/healthz" Public None, |_call| Ok(json(StatusCode::OK, &serde_json::json!({"alive": true})))),
    route!(GET "/readyz" Public None, |call| {
        let readiness = call.relay.ready().await;
        Ok(json(if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &readiness))
    }),
    route!(GET "/v1/info" Public None, |call| ok(&call.relay.info())),
    route!(GET "/v1/openapi.yaml" Public None, |_call| Ok(yaml(OPENAPI))),
    route!(POST "/v1/auth/challenge" Public Small, |call| ok(&call.relay.challenge(&extract::json(&call.body)?, call.caller.0)?)),
    route!(POST "/v1/auth/login" Public Small, |call| ok(&call.relay.login(&extract::json(&call.body)?, call.caller.0).await?)),
    route!(GET "/v1/sessions" Session None, |call| ok(&call.relay.sessions(call.session()?))),
    route!(POST "/v1/sessions/revoke" Session Small, |call| ok(&call.relay.revoke_sessions(call.session()?, &extract::json(&call.body)?)?)),
    route!(POST "/v1/session/elevate" Session Small, |call| ok(&call.relay.elevate(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/totp/generate" Session Small, |call| ok(&call.relay.generate_totp(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/totp/confirm" Session Small, |call| ok(&call.relay.confirm_totp(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/totp/remove" Session Small, |call| ok(&call.relay.remove_totp(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/accounts" Public Small, |call| {
        Ok(json(StatusCode::CREATED, &call.relay.register(&extract::json(&call.body)?, call.caller.0).await?))
    }),
    route!(GET "/v1/account" Session None, |call| ok(&call.relay.account(call.session()?).await?)),
    route!(PUT "/v1/account/device-list" Session Small, |call| ok(&call.relay.put_list(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/account/recover" Public Small, |call| ok(&call.relay.recover(&extract::json(&call.body)?, call.caller.0).await?)),
    route!(POST "/v1/account/delete" Session Small, |call| ok(&call.relay.delete_account(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/tokens" Session Small, |call| ok(&call.relay.add_token(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/tokens/list" Session Small, |call| ok(&call.relay.list_tokens(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/tokens/revoke" Session Small, |call| ok(&call.relay.revoke_tokens(call.session()?, &extract::json(&call.body)?).await?)),
    route!(PUT "/v1/keys" Session Small, |call| ok(&call.relay.put_key(call.session()?, &extract::json(&call.body)?).await?)),
    route!(POST "/v1/keys" Anonymous Small, |call| ok(&call.relay.keys(&extract::json(&call.body)?).await?)),
    route!(PUT "/v1/handle" Session Small, |call| ok(&call.relay.put_handle(call.session()?, extract::json(&call.body)?).await?)),
    route!(POST "/v1/handle/release" Session Small, |call| {
        let ReleaseHandleRequest {} = extract::json(&call.body)?;
        ok(&call.relay.release_handle(call.session()?).await?)
    }),
    route!(POST "/v1/handles/lookup" Anonymous Small, |call| {
        ok(&call.relay.lookup_handle(&extract::json(&call.body)?, call.caller.0).await?)
    }),
    route!(POST "/v1/envelopes" Anonymous Send, |call| {
        Ok(json(StatusCode::ACCEPTED, &call.relay.send(extract::json(&call.body)?, call.caller.0).await?))
    }),
    route!(GET "/v1/envelopes" Session None, |call| {
        match call.relay.receive(call.session()?, extract::receive_query(&call.query)?).await? {
            Received::Page(page) => ok(&page),
            Received::Nothing(poll) => Ok(parked::reply(settled("/v1/envelopes", async { ok(&poll.page().await?) }))),
        }
    }),
    route!(POST "/v1/envelopes/ack" Session Small, |call| ok(&call.relay.ack_beside_stream(call.session()?, extract::json(&call.body)?).await?)),
    route!(GET "/v1/slot" Session None, |call| {
        let slot = call.relay.slot(call.session()?, extract::slot_id(&call.headers)?).await?;
        tagged(slot.version, &slot)
    }),
    route!(PUT "/v1/slot" Session Slot, |call| {
        let (slot, version) = (extract::slot_id(&call.headers)?, extract::slot_condition(&call.headers)?);
        let put = call.relay.put_slot(call.session()?, slot, version, extract::json(&call.body)?).await?;
        tagged(put.version, &put)
    }),
    route!(POST "/v1/slot/delete" Session Small, |call| {
        let slot = extract::slot_id(&call.headers)?;
        let DeleteSlotRequest {} = extract::json(&call.body)?;
        ok(&DeletedReply { deleted: call.relay.delete_slot(call.session()?, slot).await? })
    }),
    route!(GET "/v1/stream" Public None, |call| {
        web::may_stream(&call.relay, &call.headers)?;
        stream::upgrade(&call.method, &call.headers)
    }),
];

/// The template of a request's path, for the log; none for a path that is nobody's.
pub fn template(path: &str) -> &'static str {
    ROUTES.iter().find(|route| route.template == path).map_or("-", |route| route.template)
}

/// The methods that a path takes, as `Allow` lists them; none for a path that is nobody's.
pub(super) fn methods(path: &str) -> Option<String> {
    let mut methods: Vec<&str> =
        ROUTES.iter().filter(|route| route.template == path).map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    (!methods.is_empty()).then(|| methods.join(", "))
}

/// All routes as one filter, which never rejects. One and not a chain of them: a request that is tried against forty filters
/// in turn costs more by that than by all that it wants.
pub fn routes(relay: &Relay) -> BoxedFilter<(Response,)> {
    let relay = relay.clone();
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::optional::<Caller>())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, headers, query, caller: Option<Caller>, body| {
            let relay = relay.clone();
            async move {
                match find(&method, path.as_str()) {
                    Some(route) => answer(relay, route, (method, headers), query, caller.unwrap_or_default(), body).await,
                    None => elsewhere(path.as_str()),
                }
            }
        })
        .boxed()
}

/// The route of a method and a path.
fn find(method: &Method, path: &str) -> Option<&'static Route> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    ROUTES.iter().find(|route| route.template == path && route.method == *method)
}

async fn answer<B: Buf, E>(
    relay: Relay,
    route: &'static Route,
    (method, headers): (Method, HeaderMap),
    query: String,
    caller: Caller,
    stream: impl Stream<Item = Result<B, E>>,
) -> Response {
    let handled = async move {
        let session = extract::session(&relay, route, &headers)?;
        let body = extract::body(&relay, route, &headers, stream).await?;
        if route.template != "/v1/envelopes" || route.method != Method::GET {
            extract::no_query(&query)?;
        }
        (route.handler)(Call { relay, session, caller, method, headers, query, body }).await
    };
    settled(route.template, handled).await
}

/// The reply that a handler comes to, however it ends.
async fn settled(template: &'static str, handled: impl Future<Output = Result<Response, ApiError>>) -> Response {
    // A panic in a handler is this request's misfortune alone.
    let outcome = AssertUnwindSafe(handled).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(route = template, "a handler panicked");
        Err(ApiError::new(ErrorCode::Internal, "the relay failed at this request"))
    });
    outcome.unwrap_or_else(ApiError::reply)
}

/// What is no route: 404, or 405 where another method would do.
fn elsewhere(path: &str) -> Response {
    let error = match methods(path) {
        None => {
            ApiError::new(ErrorCode::NotFound, "there is nothing here; every path is under /v1, without a slash at its end")
        }
        Some(methods) => {
            let detail = format!("this path takes {methods}");
            ApiError::new(ErrorCode::MethodNotAllowed, detail).header(header::ALLOW, methods)
        }
    };
    error.reply()
}

fn ok(value: &impl serde::Serialize) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, value))
}

/// With the version of a slot as its entity tag.
fn tagged(version: u64, value: &impl serde::Serialize) -> Result<Response, ApiError> {
    let mut reply = json(StatusCode::OK, value);
    if let Ok(tag) = HeaderValue::from_str(&etag(version)) {
        reply.headers_mut().insert(header::ETAG, tag);
    }
    Ok(reply)
}

/// The routes for programs: hand-written, and held against [`ROUTES`] by a test.
pub const OPENAPI: &str = include_str!("openapi.yaml");
/// 1,000 token hashes are 46,000 characters.
const SMALL_BODY_BYTES_MAX: u64 = 65_536;
