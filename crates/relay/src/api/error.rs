//! Replies: JSON, and the problem that a refusal becomes. Every reply of the relay is made here, with the same headers.

use serde::Serialize;
use warp::http::{HeaderName, HeaderValue, Response as HttpResponse, StatusCode, header};
use warp::reply::Response;

use crate::protocol::{ErrorCode, Problem};
use crate::service::Error;

/// A refusal on its way to becoming a reply.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, String)>,
}

impl ApiError {
    /// A refusal of this floor.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), headers: Vec::new() }
    }

    /// With this header.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// After which the connection ends, because the rest of the request is not read.
    pub fn close(self) -> Self {
        self.header(header::CONNECTION, "close")
    }

    /// Code and detail, for a stream.
    pub fn parts(self) -> (ErrorCode, String) {
        (self.problem.code, self.problem.detail)
    }

    /// The reply.
    pub fn reply(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = body(status, "application/problem+json", &self.problem);
        let headers = reply.headers_mut();
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        if let Some(secs) = self.problem.retry_after {
            set(header::RETRY_AFTER, secs.to_string());
        }
        for (name, value) in self.headers {
            set(name, value);
        }
        reply
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let mut problem = Problem::new(error.code(), sentence(&error));
        problem.retry_after = error.retry_after();
        if let Error::DeviceListChanged(list) | Error::DeviceListConflict(list) = error {
            problem.device_list = Some(list);
        }
        Self { problem: Box::new(problem), headers: Vec::new() }
    }
}

/// A reply with a JSON body.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    body(status, "application/json", value)
}

/// A reply that is YAML (RFC 9512).
pub(super) fn yaml(text: &'static str) -> Response {
    dressed(StatusCode::OK, Some("application/yaml"), text.as_bytes().to_vec())
}

/// A reply without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    dressed(status, None, Vec::new())
}

/// What a client is told. What went wrong inside stays inside.
pub(super) fn sentence(error: &Error) -> String {
    match error.code() {
        ErrorCode::Internal => "the relay cannot go on; it is being stopped".into(),
        ErrorCode::Busy => "the relay has too much to do at once; try again".into(),
        _ => error.to_string(),
    }
}

fn body(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response {
    dressed(status, Some(kind), serde_json::to_vec(value).unwrap_or_default())
}

fn dressed(status: StatusCode, kind: Option<&'static str>, bytes: Vec<u8>) -> Response {
    let mut reply = HttpResponse::new(bytes.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
