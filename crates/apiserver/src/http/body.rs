//! Bodies of requests.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::status::Status;

/// Most bytes of a body; the limit of Kubernetes.
const BODY_LIMIT: usize = 3 << 20;
/// Most bytes of a body that is too large which are read and thrown away: a caller who is still sending when the
/// connection is closed may never see the answer.
const DISCARD_LIMIT: usize = 32 << 20;

/// Reads the whole body.
///
/// # Errors
/// 413 when it is too large, 400 when the connection breaks.
pub async fn read_body(mut body: Incoming) -> Result<Bytes, Status> {
    let mut out = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body cannot be read: {error}")))?;
        // Trailers say nothing to us.
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total > DISCARD_LIMIT {
            break;
        }
        if total <= BODY_LIMIT {
            out.extend_from_slice(&data);
        }
    }
    if total > BODY_LIMIT { Err(Status::too_large(BODY_LIMIT)) } else { Ok(out.freeze()) }
}
