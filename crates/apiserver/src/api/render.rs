//! How objects are shown: as they are, as rows of a Table, or as their metadata alone.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http::header::ACCEPT;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::Query;
use crate::kinds::{Served, convert_out};
use crate::status::Status;

/// What the caller wants to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects.
    Plain,
    /// A meta/v1 Table, as kubectl prints it.
    Table(Include),
    /// PartialObjectMetadata.
    Metadata,
}

/// What a Table's rows carry besides the cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

/// Chooses among what the `Accept` header names, in its order.
///
/// # Errors
/// 406 when nothing of it can be had.
pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Form, Status> {
    if !headers.contains_key(ACCEPT) {
        return Ok(Form::Plain);
    }
    let include = match query.text("includeObject") {
        "None" => Include::None,
        "" | "Metadata" => Include::Metadata,
        "Object" => Include::Object,
        other => return Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    };
    for range in ranges(headers) {
        match (range.form, range.group, range.version) {
            ("", ..) => return Ok(Form::Plain),
            ("Table", "meta.k8s.io", "v1") => return Ok(Form::Table(include)),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
                return Ok(Form::Metadata);
            }
            _ => {}
        }
    }
    Err(Status::not_acceptable(
        "only the following media types are accepted: application/json, application/json;as=Table;v=v1;g=meta.k8s.io",
    ))
}

/// A range of the `Accept` header that JSON falls into.
#[derive(Debug, Default)]
pub(crate) struct Range<'a> {
    /// The kind that the answer is to be (`as`); empty for what it is.
    pub(crate) form: &'a str,
    /// That kind's group (`g`).
    pub(crate) group: &'a str,
    /// That kind's version (`v`).
    pub(crate) version: &'a str,
}

/// The ranges of the `Accept` header that JSON falls into, in the caller's order.
pub(crate) fn ranges(headers: &HeaderMap) -> impl Iterator<Item = Range<'_>> {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|text| {
        let mut parts = text.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "application/*" | "*/*")) {
            return None;
        }
        let mut range = Range::default();
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => range.form = value,
                Some(("g", value)) => range.group = value,
                Some(("v", value)) => range.version = value,
                _ => {}
            }
        }
        Some(range)
    })
}

/// What ends a list.
pub(crate) const LIST_END: &[u8] = b"]}";

/// Shows objects of one kind in one form.
#[derive(Debug, Clone)]
pub(crate) struct Renderer {
    pub(crate) served: Served,
    pub(crate) form: Form,
}

impl Renderer {
    /// One object.
    pub(crate) fn object(&self, stored: &Bytes) -> Bytes {
        match self.form {
            // A custom resource is shown as its definition is now.
            Form::Plain if self.served.stored && self.served.kind.custom().is_none() => stored.clone(),
            Form::Plain => text(&self.converted(stored)),
            Form::Table(include) => {
                let object = self.converted(stored);
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                text(&self.table(vec![self.row(object, include)], metadata))
            }
            Form::Metadata => text(&metadata_only(&self.converted(stored))),
        }
    }

    /// A list; `metadata` is the list's.
    pub(crate) fn list<'a>(&self, stored: impl Iterator<Item = &'a Bytes>, metadata: &Value) -> Bytes {
        let mut out = self.list_start(metadata);
        for (index, json) in stored.enumerate() {
            self.list_item(json, index == 0, &mut out);
        }
        out.put_slice(LIST_END);
        out.freeze()
    }

    /// A list up to its first item. Items and [`LIST_END`] follow.
    pub(crate) fn list_start(&self, metadata: &Value) -> BytesMut {
        let (head, items) = match self.form {
            Form::Plain => {
                let kind = &self.served.kind.list_kind;
                let head = json!({"kind": kind, "apiVersion": self.api_version(), "metadata": metadata});
                (head, "items")
            }
            Form::Metadata => {
                let kind = "PartialObjectMetadataList";
                (json!({"kind": kind, "apiVersion": "meta.k8s.io/v1", "metadata": metadata}), "items")
            }
            Form::Table(_) => {
                let mut table = self.table(Vec::new(), metadata.clone());
                if let Some(table) = table.as_object_mut() {
                    table.shift_remove("rows");
                }
                (table, "rows")
            }
        };
        let mut out = BytesMut::from(head.to_string().as_bytes());
        // The head is an object: its last byte is the closing brace.
        out.truncate(out.len() - 1);
        out.put_slice(format!(",\"{items}\":[").as_bytes());
        out
    }

    /// One item of a list. Those that are shown as they are stored are copied: nothing is parsed.
    pub(crate) fn list_item(&self, stored: &Bytes, first: bool, out: &mut BytesMut) {
        if !first {
            out.put_u8(b',');
        }
        match self.form {
            Form::Plain | Form::Metadata => out.put_slice(&self.object(stored)),
            Form::Table(include) => out.put_slice(&text(&self.row(self.converted(stored), include))),
        }
    }

    /// An event of a watch, one line.
    pub(crate) fn event(&self, kind: &str, stored: &Bytes, out: &mut BytesMut) {
        let object = self.object(stored);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(&object);
        out.put_slice(b"}\n");
    }

    /// A bookmark: nothing but the revision, and that the objects sent so far are all there were.
    pub(crate) fn bookmark(&self, revision: u64, initial_events_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Plain => {
                json!({"kind": self.served.kind.kind, "apiVersion": self.api_version(), "metadata": metadata})
            }
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table(_) => self.table(Vec::new(), metadata),
        };
        let mut line = json!({"type": "BOOKMARK", "object": object}).to_string();
        line.push('\n');
        Bytes::from(line)
    }

    /// `v1`, `apps/v1`: as the path says.
    pub(crate) fn api_version(&self) -> String {
        self.served.api_version()
    }

    fn converted(&self, stored: &Bytes) -> Value {
        // We wrote it: it is JSON.
        let mut object = serde_json::from_slice(stored).unwrap_or(Value::Null);
        convert_out(&self.served.kind, &self.served.group, &self.served.version, &mut object);
        object
    }

    fn row(&self, object: Value, include: Include) -> Value {
        let cells = self.served.kind.row(&object, Timestamp::now());
        match include {
            Include::None => json!({"cells": cells}),
            Include::Metadata => json!({"cells": cells, "object": metadata_only(&object)}),
            Include::Object => json!({"cells": cells, "object": object}),
        }
    }

    fn table(&self, rows: Vec<Value>, metadata: Value) -> Value {
        let columns = self.served.kind.columns.iter();
        let columns: Vec<Value> = columns
            .map(|column| {
                json!({
                    "name": column.name, "type": column.kind, "format": column.format,
                    "description": column.description, "priority": column.priority,
                })
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": columns, "rows": rows,
        })
    }
}

fn metadata_only(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn text(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}
