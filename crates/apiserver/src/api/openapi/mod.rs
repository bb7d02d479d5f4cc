//! OpenAPI: what the kinds look like and what can be asked of them, for `kubectl explain`, for kubectl's patches, and for
//! generated clients.
//!
//! ```text
//! kinds::Components (schemas) ─┐
//! operations, parameters      ─┴─► document (one group and version) ─► Documents (written once, kept compressed)
//! ```

mod document;
mod operations;
mod parameters;
#[cfg(test)]
mod tests;
mod version_2;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, EXPIRES, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

pub(super) use version_2::version_2;

use super::tags::{hash, tagged};
use crate::http::{Answer, Query, json_bytes};
use crate::kinds::{Kind, Registry};
use crate::status::Status;
pub(super) use document::place;
use document::write;

/// How long a document of a known hash may be kept: as Kubernetes, a year.
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A document as it is kept.
#[derive(Debug)]
struct Document {
    /// What it was written of; when the kinds have changed it is written anew.
    kinds: Vec<Arc<Kind>>,
    /// SHA-256 of the text, in capital hexadecimal digits.
    hash: String,
    /// The text, compressed: kubectl asks for it so, and it takes a fraction of the memory.
    compressed: Bytes,
}

/// The documents, each written when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Documents(Mutex<BTreeMap<(String, String), Arc<Document>>>);

impl Documents {
    fn document(&self, registry: &Registry, group: &str, version: &str) -> Result<Arc<Document>, Status> {
        let kinds: Vec<Arc<Kind>> =
            registry.served_in(group, version).map(|served| Arc::clone(&served.kind)).collect();
        let key = (group.to_owned(), version.to_owned());
        // One at a time: whoever comes second finds the document written.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept.get(&key)
            && document.kinds.len() == kinds.len()
            && document.kinds.iter().zip(&kinds).all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
        {
            return Ok(Arc::clone(document));
        }
        let Some(value) = write(registry, group, version) else {
            kept.remove(&key);
            return Err(Status::unknown_path());
        };
        let text = value.to_string();
        let document = Arc::new(Document {
            kinds,
            hash: hash(text.as_bytes()),
            compressed: compressed(text.as_bytes()).map_err(Status::internal)?,
        });
        kept.insert(key, Arc::clone(&document));
        Ok(document)
    }

    /// The list of documents.
    ///
    /// # Errors
    /// 500 when a document cannot be written.
    pub(super) fn index(&self, registry: &Registry, headers: &HeaderMap) -> Result<Answer, Status> {
        let mut paths = Map::new();
        for served in registry.served() {
            let place = place(&served.group, &served.version);
            if paths.contains_key(&place) {
                continue;
            }
            let document = self.document(registry, &served.group, &served.version)?;
            let url = format!("/openapi/v3/{place}?hash={}", document.hash);
            paths.insert(place, json!({"serverRelativeURL": url}));
        }
        let text = json!({"paths": paths}).to_string();
        let tag = hash(text.as_bytes());
        tagged(json_bytes(StatusCode::OK, text.into()), &tag, headers)
    }

    /// One document. With the hash that the index names it may be kept for ever; with another one the caller is sent on
    /// (`kube-openapi/pkg/handler3`).
    ///
    /// # Errors
    /// 404 when nothing is served there, 406 when the caller does not take JSON.
    pub(super) fn answer(
        &self,
        registry: &Registry,
        (group, version): (&str, &str),
        headers: &HeaderMap,
        query: &Query,
    ) -> Result<Answer, Status> {
        if !takes_json(headers) {
            return Err(Status::not_acceptable(
                "only the following media types are accepted: application/json",
            ));
        }
        let document = self.document(registry, group, version)?;
        let asked = query.text("hash");
        if !asked.is_empty() && asked != document.hash {
            let url = format!("/openapi/v3/{}?hash={}", place(group, version), document.hash);
            let mut answer = json_bytes(StatusCode::MOVED_PERMANENTLY, Bytes::new());
            answer.headers_mut().insert(LOCATION, HeaderValue::try_from(url).map_err(Status::internal)?);
            return Ok(answer);
        }
        let mut answer = if takes_compressed(headers) {
            let mut answer = json_bytes(StatusCode::OK, document.compressed.clone());
            answer.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            json_bytes(StatusCode::OK, plain(&document.compressed).map_err(Status::internal)?)
        };
        let out = answer.headers_mut();
        out.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if !asked.is_empty() {
            out.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            let until = (Timestamp::now() + LIFETIME).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            out.insert(EXPIRES, HeaderValue::try_from(until).map_err(Status::internal)?);
        }
        tagged(answer, &document.hash, headers)
    }
}

fn takes_json(headers: &HeaderMap) -> bool {
    let mut ranges = items(headers, ACCEPT).peekable();
    ranges.peek().is_none()
        || ranges.any(|range| matches!(range, "application/json" | "application/*" | "*/*"))
}

fn takes_compressed(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            name.trim() == "gzip" && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
        })
}

/// The values of a header that is a list, without their parameters.
fn items(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|range| range.split(';').next()).map(str::trim)
}

fn compressed(text: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish().map(Bytes::from)
}

fn plain(compressed: &[u8]) -> std::io::Result<Bytes> {
    let mut out = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut out)?;
    Ok(Bytes::from(out))
}
