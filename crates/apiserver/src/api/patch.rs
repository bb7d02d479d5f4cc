//! Patch: JSON patch (RFC 6902), JSON merge patch (RFC 7386) and Kubernetes' strategic merge patch.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::body::{finish, media_type, parse};
use super::meta;
use super::options::WriteOptions;
use super::render::{Renderer, negotiate};
use super::target::Target;
use super::write::with_warnings;
use super::writer::{Ownership, Write};
use super::{Api, Call, apply, operations};
use crate::http::{Answer, json_bytes};
use crate::kinds::{Kind, convert_out, strategic_merge};
use crate::status::Status;

/// A patch, read.
pub(super) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// Reads the body; also gives the fields that stand twice in it.
    pub(super) fn parse(headers: &HeaderMap, body: &bytes::Bytes) -> Result<(Self, Vec<String>), Status> {
        let bad =
            |detail: &dyn std::fmt::Display| Status::bad_request(format!("error decoding patch: {detail}"));
        let object = |body| {
            let (value, duplicates) = parse(body).map_err(|error| bad(&error.message))?;
            if value.is_object() { Ok((value, duplicates)) } else { Err(bad(&"it is not an object")) }
        };
        match media_type(headers) {
            "application/json-patch+json" => {
                let patch = serde_json::from_slice(body).map_err(|error| bad(&error))?;
                Ok((Self::Json(patch), Vec::new()))
            }
            "application/merge-patch+json" => object(body).map(|(value, twice)| (Self::Merge(value), twice)),
            "application/strategic-merge-patch+json" => {
                object(body).map(|(value, twice)| (Self::Strategic(value), twice))
            }
            other => Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
            ))),
        }
    }

    /// The object with the patch applied; `kind` knows how its lists merge.
    pub(super) fn apply(&self, kind: &Kind, object: &Value) -> Result<Value, Status> {
        let mut patched = object.clone();
        match self {
            Self::Json(patch) => operations::apply(&mut patched, patch)?,
            Self::Merge(patch) => json_patch::merge(&mut patched, patch),
            Self::Strategic(patch) => patched = strategic_merge(kind, object, patch)?,
        }
        Ok(patched)
    }
}

impl Api {
    pub(super) async fn patch(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        if media_type(&call.headers) == apply::MEDIA_TYPE {
            return self.apply(target, call).await;
        }
        let kind = &target.served.kind;
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = WriteOptions::parse_patch(&call.query, media_type(&call.headers))?;
        let write = Write::new(target, &call.headers, &options);
        let (patch, duplicates) = Patch::parse(&call.headers, &call.body)?;
        if matches!(patch, Patch::Strategic(_)) && kind.custom().is_some() {
            return Err(Status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        let mut warnings = Vec::new();
        let modified = self
            .modify(target, options.dry_run, |old, record| {
                let mut shown = old.clone();
                convert_out(kind, &target.served.group, &target.served.version, &mut shown);
                let patched = patch.apply(kind, &shown)?;
                let decoded = finish(patched, duplicates.clone(), &target.served, options.field_validation)?;
                meta::check_path(&decoded.object, kind, &target.namespace, &target.name)?;
                warnings = decoded.warnings;
                self.updated(&write, decoded.object, Ownership::Difference, old, record)
            })
            .await?;
        let answer = json_bytes(StatusCode::OK, renderer.object(&modified.record.json));
        Ok(with_warnings(answer, &warnings))
    }
}
