//! OpenAPI, as far as kubectl needs it: version 3 says that PATCH knows `fieldValidation`, so that kubectl leaves the
//! validation of manifests to the server. The schemas of the objects are not part of it.
//!
//! For a manifest of `kind: List` kubectl reads version 2 all the same (its QueryParamVerifierV3 never finds that kind),
//! looks up each item's schema there and validates what has one. A document without definitions leaves that, too, to the
//! server.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::http::{Answer, json, json_bytes};
use crate::kinds::{Registry, Served};
use crate::status::Status;

fn place(served: &Served) -> String {
    if served.group.is_empty() {
        format!("api/{}", served.version)
    } else {
        format!("apis/{}/{}", served.group, served.version)
    }
}

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
pub(super) fn version_2(headers: &HeaderMap) -> Result<Answer, Status> {
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
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.33.0"}, "paths": {}, "definitions": {},
    });
    Ok(json(StatusCode::OK, &document))
}

pub(super) fn index(registry: &Registry) -> Answer {
    let mut paths = Map::new();
    for served in registry.served() {
        let place = place(served);
        let url = format!("/openapi/v3/{place}");
        paths.insert(place, json!({"serverRelativeURL": url}));
    }
    json(StatusCode::OK, &json!({"paths": paths}))
}

pub(super) fn document(registry: &Registry, group: &str, version: &str) -> Result<Answer, Status> {
    let mut paths = Map::new();
    for served in registry.served_in(group, version) {
        let namespace = if served.kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{namespace}{}/{{name}}", place(served), served.kind.plural);
        paths.insert(path, item(served));
    }
    if paths.is_empty() {
        return Err(Status::unknown_path());
    }
    let document = json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths, "components": {"schemas": {}},
    });
    Ok(json(StatusCode::OK, &document))
}

fn item(served: &Served) -> Value {
    let text = json!({"type": "string", "uniqueItems": true});
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": text});
    let parameters: Vec<Value> =
        ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(parameter).collect();
    let kind = json!({"group": served.group, "kind": served.kind.kind, "version": served.version});
    json!({
        "patch": {
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
        },
    })
}
