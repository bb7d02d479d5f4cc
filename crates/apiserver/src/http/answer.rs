//! Answers: JSON bodies, errors, streams.

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::status::Status;

/// What can break off a body that is being sent.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// An answer.
pub type Answer = Response<Body>;

/// An answer with a JSON value.
pub fn json(code: StatusCode, value: &Value) -> Answer {
    json_bytes(code, Bytes::from(value.to_string()))
}

/// An answer with JSON text.
pub fn json_bytes(code: StatusCode, text: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer with JSON text that comes in pieces; an error breaks it off.
pub fn json_stream(pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Answer {
    let mut answer = Response::new(StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An error as an answer.
pub fn status_answer(status: &Status) -> Answer {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json(code, &status.to_value());
    if let Some(seconds) =
        status.details.as_ref().map(|details| details.retry_after_seconds).filter(|s| *s > 0)
    {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}
