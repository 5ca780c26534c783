//! Replies that are waited for. A long poll that finds nothing is answered with a placeholder that carries the wait for the
//! real reply, so that whoever holds the connection can wait without holding all of it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use warp::reply::Response;

/// In a placeholder's extensions, which only take what can be cloned: the wait for the real reply. Dropping it gives the
/// wait up.
#[derive(Clone)]
pub struct Parked(Arc<Mutex<Option<BoxFuture<'static, Response>>>>);

/// A placeholder for a reply that is waited for.
pub(super) fn reply(wait: impl Future<Output = Response> + Send + 'static) -> Response {
    let mut reply = Response::default();
    reply.extensions_mut().insert(Parked(Arc::new(Mutex::new(Some(wait.boxed())))));
    reply
}

/// The wait that a reply is a placeholder for; none of a reply that is one.
pub fn wait(reply: &mut Response) -> Option<BoxFuture<'static, Response>> {
    let parked = reply.extensions_mut().remove::<Parked>()?;
    parked.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}
