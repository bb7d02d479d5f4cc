//! Entity tags (RFC 9110 8.8.3): documents that clients keep are not sent twice.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::http::{Answer, json_bytes};
use crate::status::Status;

/// SHA-256 of a document's text, in capital hexadecimal digits.
pub(super) fn hash(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The answer with its tag; 304 without a body when the caller has it already.
///
/// # Errors
/// 500 when the hash cannot stand in a header.
pub(super) fn tagged(mut answer: Answer, hash: &str, headers: &HeaderMap) -> Result<Answer, Status> {
    let tag = format!("\"{hash}\"");
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|line| line.split(',')).map(|known| known.trim().trim_start_matches("W/"));
    if known.any(|known| known == tag || known == "*") {
        let kept = std::mem::take(answer.headers_mut());
        answer = json_bytes(StatusCode::NOT_MODIFIED, Bytes::new());
        *answer.headers_mut() = kept;
        answer.headers_mut().remove(CONTENT_ENCODING);
    }
    answer.headers_mut().insert(ETAG, HeaderValue::try_from(tag).map_err(Status::internal)?);
    Ok(answer)
}
