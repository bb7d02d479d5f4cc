//! Doors for fuzz targets to what clients send; see [`crate::fuzzing`].

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::body::{decode, finish};
use super::bounds::time_limit;
use super::list_options::ListOptions;
use super::options::{DeleteOptions, FieldValidation, WriteOptions, Writing};
use super::patch::Patch;
use super::render::negotiate;
use super::target::{Route, proxied_path};
use super::{apply, meta, target};
use crate::access::Attributes;
use crate::fields::{self, Author, Configuration};
use crate::fuzzing::samples::{Sample, WORLD};
use crate::fuzzing::{stored, write};
use crate::http::Query;
use crate::kinds::{Node, convert_out};

const BODIES: [&str; 3] = ["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

/// A body of a kind: byte 1 chooses among JSON, protobuf and YAML.
pub fn body(bytes: &[u8]) {
    let Some(([kind, form], bytes)) = bytes.split_first_chunk() else { return };
    let (sample, body) = (WORLD.choose(*kind), Bytes::copy_from_slice(bytes));
    _ = DeleteOptions::parse(&Query::default(), &body);
    let media = BODIES.get(usize::from(*form)).copied().unwrap_or(BODIES[2]);
    let decoded = decode(&content_type(media), &body, &sample.served, FieldValidation::Warn);
    let Ok(mut decoded) = decoded else { return };
    let namespace = if sample.served.kind.namespaced { "default" } else { "" };
    meta::on_create(&mut decoded.object, &sample.served.kind, namespace, WORLD.context().now);
    write(&sample.served.kind, decoded.object);
}

/// A patch of an object: byte 1 chooses among JSON patch, merge patch, strategic merge patch and apply.
pub fn patch(bytes: &[u8]) {
    let Some(([kind, form], bytes)) = bytes.split_first_chunk() else { return };
    let (sample, body) = (WORLD.choose(*kind), Bytes::copy_from_slice(bytes));
    let kind = &sample.served.kind;
    let Some(old) = made(sample) else { return };
    let Some(media) = PATCHES.get(usize::from(*form)) else {
        let Ok((object, twice)) = apply::read(&body) else { return };
        let Ok(decoded) = finish(object, twice, &sample.served, FieldValidation::Warn) else { return };
        let author =
            Author { manager: "a", api_version: "v1", subresource: "", time: "1970-01-01T00:00:00Z" };
        let configuration = Configuration { object: &decoded.object, force: true };
        if let Ok(applied) = fields::apply(Node::root(kind), Some(&old), &configuration, &author) {
            updated(sample, applied.object, &old);
        }
        return;
    };
    let Ok((patch, twice)) = Patch::parse(&content_type(media), &body) else { return };
    if matches!(patch, Patch::Strategic(_)) && kind.custom().is_some() {
        return;
    }
    let mut shown = old.clone();
    convert_out(kind, &sample.served.group, &sample.served.version, &mut shown);
    let Ok(patched) = patch.apply(kind, &shown) else { return };
    let Ok(decoded) = finish(patched, twice, &sample.served, FieldValidation::Strict) else { return };
    updated(sample, decoded.object, &old);
}

/// A request's line: path and query, and all that is read from them.
pub fn request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let query = Query::parse(query);
    for method in [Method::GET, Method::POST, Method::DELETE] {
        Attributes::of(&method, path, &query);
    }
    _ = (proxied_path(path), time_limit(&query), WriteOptions::parse(&query, Writing::Create));
    _ = (DeleteOptions::parse(&query, &Bytes::new()), negotiate(&HeaderMap::new(), &query));
    if let Some(Route::Objects(found)) = Route::parse(path, &WORLD.registry) {
        _ = (found.key(), found.only_namespace(), target::is_watch(&query));
        _ = ListOptions::parse(&query, &found.served.kind, &found.resource());
    }
}

/// The sample as it is stored.
fn made(sample: &Sample) -> Option<serde_json::Value> {
    let decoded = finish(sample.object.clone(), Vec::new(), &sample.served, FieldValidation::Warn).ok()?;
    let mut object = decoded.object;
    let namespace = if sample.served.kind.namespaced { "default" } else { "" };
    meta::on_create(&mut object, &sample.served.kind, namespace, WORLD.context().now);
    sample.served.kind.prepare_create(&mut object).ok()?;
    Some(object)
}

/// The way of a patched object into the store.
fn updated(sample: &Sample, mut new: serde_json::Value, old: &serde_json::Value) {
    let kind = &sample.served.kind;
    meta::on_update(&mut new, old);
    if kind.prepare_update(&mut new, old).is_ok()
        && kind.allocate(&mut new, Some(old), &WORLD.context()).is_ok()
    {
        stored(kind, &new);
    }
}

fn content_type(media: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))])
}
