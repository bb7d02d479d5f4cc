//! Doors for fuzz targets: each takes any bytes, and panics only when there is a bug. `fuzz/` runs them for as long as
//! one likes, the tests here for a moment.
//!
//! The first byte chooses a kind, in the registry's order; where there are several forms, the second chooses one. What
//! follows is a client's. Beyond not panicking, what is accepted must be fit to be stored: it reads back as it was
//! written, and it may be written again without a change.

pub(crate) mod samples;
mod seeds;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Value, json};

pub use crate::api::fuzzing::{body, patch, request};
pub use seeds::seeds;

use crate::fields::{self, Author, Configuration};
use crate::kinds::{Kind, Node, Registry, convert_out, served_kinds};
use crate::selector::{LabelSelector, Selector};
use crate::store::labels_of;
use samples::WORLD;

/// Who writes.
const AUTHOR: Author<'static> =
    Author { manager: "fuzzer", api_version: "v1", subresource: "", time: "1970-01-01T00:00:00Z" };

/// A label selector, a line feed, a field selector; looked up in an object.
pub fn selectors(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let sample = WORLD.choose(*kind);
    let text = String::from_utf8_lossy(bytes);
    let (labels, fields) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(selector) = LabelSelector::parse(labels) {
        selector.matches(&labels_of(sample.object.to_string().as_bytes()));
    }
    if let Ok(selector) = Selector::parse(&sample.served.kind, labels, fields) {
        _ = (selector.is_empty(), selector.single_name());
    }
    if let Ok(object) = serde_json::from_str::<Value>(fields) {
        LabelSelector::of_object(&object).is_empty();
    }
}

/// Entries of `managedFields` (JSON): kept as they are, and an apply onto an object that has them.
pub fn managed_fields(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let Ok(entries) = serde_json::from_slice::<Value>(bytes) else { return };
    let sample = WORLD.choose(*kind);
    if let Some(kept) = fields::sent_or_kept(Some(entries.clone()), None, "") {
        let again = fields::sent_or_kept(Some(kept.clone()), None, "");
        assert_eq!(again, Some(kept), "entries that are not read as they were written");
    }
    let mut live = sample.object.clone();
    live["metadata"]["managedFields"] = entries;
    for force in [false, true] {
        let configuration = Configuration { object: &sample.object, force };
        _ = fields::apply(Node::root(&sample.served.kind), Some(&live), &configuration, &AUTHOR);
    }
}

/// A schema of a custom resource and an object of it: JSON, a line feed, JSON.
pub fn definition(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(schema) = serde_json::from_slice::<Value>(&bytes[..at]) else { return };
    let Ok(mut object) = serde_json::from_slice::<Value>(&bytes[at + 1..]) else { return };
    let Some(kind) = Registry::built_in().kind("apiextensions.k8s.io", "CustomResourceDefinition") else {
        return;
    };
    let Some(sample) = WORLD.samples.iter().find(|sample| Arc::ptr_eq(&sample.served.kind, kind)) else {
        return;
    };
    let mut definition = sample.object.clone();
    definition["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": schema});
    let status = definition["status"].clone();
    if kind.check_shape(&mut definition).is_err() || kind.prepare_create(&mut definition).is_err() {
        return;
    }
    definition["status"] = status;
    for served in served_kinds(&definition, true) {
        if served.kind.check_shape(&mut object).is_ok() && object.is_object() {
            write(&served.kind, object.clone());
        }
    }
}

/// The way of a decoded object into the store, and out of it.
pub(crate) fn write(kind: &Kind, sent: Value) {
    let unowned = kind.unowned(&sent);
    let mut object = sent;
    if kind.prepare_create(&mut object).is_err() {
        return;
    }
    let entries = fields::on_create(Node::root(kind), &object, &unowned, &AUTHOR);
    if kind.allocate(&mut object, None, &WORLD.context()).is_err() {
        return;
    }
    if let (Some(entries), Some(metadata)) = (entries, object.get_mut("metadata")) {
        metadata["managedFields"] = entries;
    }
    stored(kind, &object);
}

/// What is fit to be stored reads back, and may be written again.
pub(crate) fn stored(kind: &Kind, object: &Value) {
    let text = object.to_string();
    let read = serde_json::from_str::<Value>(&text);
    assert!(read.as_ref().is_ok_and(|read| read == object), "not what was stored: {read:?} of {text}");
    kind.row(object, WORLD.context().now);
    kind.next_generation(object, Some(object));
    for (group, version) in &kind.also {
        convert_out(kind, group, version, &mut object.clone());
    }
    let mut again = object.clone();
    let outcome = kind.prepare_update(&mut again, object);
    assert!(outcome.is_ok(), "refused when it is written again: {outcome:?}: {text}");
    assert_eq!(&again, object, "changed when it is written again");
    _ = kind.prepare_status_update(&mut again, object);
    drop(kind.prepare_delete(object, &WORLD.context()));
}
