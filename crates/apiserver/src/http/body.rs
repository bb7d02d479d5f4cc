//! Bodies of requests.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::status::Status;

/// Most bytes of a body; the limit of Kubernetes.
pub const BODY_LIMIT: usize = 3 << 20;

/// Reads the whole body.
///
/// # Errors
/// 413 when it is too large, 400 when the connection breaks.
pub async fn read_body(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(BODY_LIMIT)),
        Err(error) => Err(Status::bad_request(format!("the body cannot be read: {error}"))),
    }
}
