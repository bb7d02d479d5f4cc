//! OpenAPI version 2, without a path and a definition.
//!
//! For a manifest of `kind: List` kubectl reads this version whatever version 3 says (its QueryParamVerifierV3 never finds
//! that kind), looks up each item's schema here and validates what has one. Without definitions it leaves that to the
//! server, as it does with everything else.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::document::RELEASE;
use crate::http::{Answer, json, json_bytes};
use crate::status::Status;

/// The media type of an `openapi.v2.Document` (gnostic) as kubectl asks for it.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The same in an answer, where Go's parser takes no `@`.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Entry 1 `swagger`: "2.0"; entry 2 `info`: entry 1 `title`: "Kubernetes", entry 2 `version`: "v1.33.0"; entry 8 `paths`,
/// empty.
const PROTOBUF_DOCUMENT: &[u8] = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.33.0\x42\x00";

/// Version 2: no path and no definition.
///
/// # Errors
/// 406 when neither protobuf nor JSON is accepted.
pub(in crate::api) fn version_2(headers: &HeaderMap) -> Result<Answer, Status> {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|line| line.split(',')).filter_map(|range| range.split(';').next());
    let protobuf = match types.find_map(|range| match range.trim() {
        PROTOBUF | PROTOBUF_ASKED => Some(true),
        "application/json" | "application/*" | "*/*" => Some(false),
        _ => None,
    }) {
        Some(protobuf) => protobuf,
        None if headers.contains_key(ACCEPT) => {
            return Err(Status::not_acceptable(format!(
                "only the following media types are accepted: application/json, {PROTOBUF}"
            )));
        }
        None => false,
    };
    if protobuf {
        let mut answer = json_bytes(StatusCode::OK, Bytes::from_static(PROTOBUF_DOCUMENT));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        return Ok(answer);
    }
    let document = json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": RELEASE}, "paths": {}, "definitions": {},
    });
    Ok(json(StatusCode::OK, &document))
}
