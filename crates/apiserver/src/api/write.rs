//! Create and update.

use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::Value;

use super::body::decode;
use super::meta;
use super::modify::Change;
use super::options::{WriteOptions, Writing, revision_of};
use super::read::parsed;
use super::render::{Renderer, negotiate};
use super::target::{Part, Target};
use super::writer::{Ownership, Write};
use super::{Api, Call, done, write_failed};
use crate::fields::same_but_times;
use crate::http::{Answer, json_bytes};
use crate::kinds::{CustomKind, Reservation};
use crate::status::{Cause, Status};
use crate::store::{Key, Operation, Record, WriteError};

/// How often a generated name may turn out to be taken.
const NAME_ATTEMPTS: usize = 8;

impl Api {
    pub(super) async fn create(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let kind = &target.served.kind;
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = WriteOptions::parse(&call.query, Writing::Create)?;
        let decoded = decode(&call.headers, &call.body, &target.served, options.field_validation)?;
        let mut target = target.clone();
        if kind.namespaced && target.namespace.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        meta::check_path(&decoded.object, kind, &target.namespace, "")?;
        if revision_of(&decoded.object)?.is_some() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let given = meta::text(&decoded.object, "name").to_owned();
        let prefix = meta::text(&decoded.object, "generateName").to_owned();
        let generated = given.is_empty() && !prefix.is_empty();
        let mut attempts = 0;
        loop {
            target.name = if generated { meta::generated_name(&prefix) } else { given.clone() };
            call.observed.named(&target.name);
            let write = Write::new(&target, &call.headers, &options);
            match self.create_named(&write, decoded.object.clone(), Ownership::Difference).await {
                Ok(record) => {
                    let answer = json_bytes(done(true), renderer.object(&record.json));
                    return Ok(with_warnings(answer, &decoded.warnings));
                }
                Err(status) if generated && status.reason == "AlreadyExists" && attempts < NAME_ATTEMPTS => {
                    attempts += 1;
                }
                Err(status) => return Err(status),
            }
        }
    }

    pub(super) async fn create_named(
        &self,
        write: &Write<'_>,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Record, Status> {
        let target = write.target;
        let kind = &target.served.kind;
        if kind.custom().is_some_and(CustomKind::is_terminating) {
            let mut status = Status::method_not_allowed();
            status.message = "create not allowed while custom resource definition is terminating".to_owned();
            return Err(status.about(&kind.group, &kind.plural, ""));
        }
        if let Some(metadata) = meta::metadata_mut(&mut object).filter(|_| !target.name.is_empty()) {
            metadata.insert("name".to_owned(), target.name.as_str().into());
        }
        meta::on_create(&mut object, kind, &target.namespace, Timestamp::now());
        // Who sends a pod does not own what its ServiceAccount gives it.
        let tells_apart = kind.is("", "Pod") && matches!(ownership, Ownership::Difference);
        let sent = tells_apart.then(|| object.clone());
        let unowned = kind.unowned(&object);
        self.give_account(target, &mut object).await?;
        // What is wrong with the object is told before what is wrong with its surroundings.
        kind.prepare_create(&mut object)?;
        if kind.namespaced {
            self.check_namespace(target)?;
        }
        self.admit(target, "create", &object, &Value::Null)?;
        if let Some(mut sent) = sent {
            kind.complete_new(&mut sent);
            write.writer.own_created(write.root(), &mut sent, &unowned, ownership);
            meta::set_managed_fields(&mut object, meta::take_managed_fields(&mut sent));
        } else {
            write.writer.own_created(write.root(), &mut object, &unowned, ownership);
        }
        let reservation = kind.allocate(&mut object, None, &self.context(write.dry_run))?;
        let key = target.key();
        if write.dry_run {
            if self.store.get(&key).map_err(Status::internal)?.is_some() {
                return Err(write_failed(kind, &target.name, &WriteError::Exists));
            }
            return Ok(Record { key, revision: 0, json: object.to_string().into() });
        }
        let written = self.store.write(Operation::Create { key, object }).await;
        let record = written.map_err(|error| write_failed(kind, &target.name, &error))?;
        reservation.commit();
        Ok(record)
    }

    /// New objects need a namespace that is there to stay.
    pub(super) fn check_namespace(&self, target: &Target) -> Result<(), Status> {
        let name = target.namespace.as_str();
        let found = self.store.get(&Key::new("namespaces", "", name)).map_err(Status::internal)?;
        let Some(record) = found else { return Err(Status::not_found("", "namespaces", name)) };
        if !meta::is_terminating(&parsed(&record)?) {
            return Ok(());
        }
        let kind = &target.served.kind;
        let detail =
            format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(&kind.group, &kind.plural, &target.name, &detail);
        if let Some(details) = &mut status.details {
            let message = format!("namespace {name} is being terminated");
            details.causes = vec![Cause::new("NamespaceTerminating", "metadata.namespace", message)];
        }
        Err(status)
    }

    pub(super) async fn update(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let renderer =
            Renderer { served: target.served.clone(), form: negotiate(&call.headers, &call.query)? };
        let options = WriteOptions::parse(&call.query, Writing::Update)?;
        let decoded = decode(&call.headers, &call.body, &target.served, options.field_validation)?;
        meta::check_path(&decoded.object, &target.served.kind, &target.namespace, &target.name)?;
        let write = Write::new(target, &call.headers, &options);
        let modified = self
            .modify(target, options.dry_run, |old, record| {
                self.updated(&write, decoded.object.clone(), Ownership::Difference, old, record)
            })
            .await?;
        let answer = json_bytes(StatusCode::OK, renderer.object(&modified.record.json));
        Ok(with_warnings(answer, &decoded.warnings))
    }

    /// The change that brings the stored object to `new`, or the part of it that the path names.
    pub(super) fn updated(
        &self,
        write: &Write<'_>,
        mut new: Value,
        ownership: Ownership,
        old: &Value,
        record: &Record,
    ) -> Result<Change, Status> {
        let target = write.target;
        let kind = &target.served.kind;
        if revision_of(&new)?.is_some_and(|revision| revision != record.revision) {
            return Err(Status::modified(&kind.group, &kind.plural, &target.name));
        }
        let (given, stored) = (meta::text(&new, "uid"), meta::text(old, "uid"));
        if !given.is_empty() && given != stored {
            let detail =
                format!("Precondition failed: UID in precondition: {given}, UID in object meta: {stored}");
            return Err(Status::conflict(&kind.group, &kind.plural, &target.name, &detail));
        }
        let sent = meta::take_managed_fields(&mut new);
        meta::on_update(&mut new, old);
        prepare_part(target, &mut new, old)?;
        self.admit(target, "update", &new, old)?;
        let managed = write.writer.own_updated(write.root(), (old, &new), sent, ownership);
        let context = self.context(write.dry_run);
        let reservation = match target.part {
            Part::Status | Part::Finalize => Reservation::none(),
            _ => kind.allocate(&mut new, Some(old), &context)?,
        };
        if let (Some(generation), Some(metadata)) =
            (kind.next_generation(&new, Some(old)), meta::metadata_mut(&mut new))
        {
            metadata.insert("generation".to_owned(), generation.into());
        }
        if meta::same_but_managed_fields(&new, old)
            && same_but_times(managed.as_ref(), meta::managed_fields(old))
        {
            return Ok(Change::Keep);
        }
        meta::set_managed_fields(&mut new, managed);
        if may_go(&new) {
            drop(reservation);
            let reservation = kind.prepare_delete(old, &context);
            return Ok(Change::Remove { object: new, reservation });
        }
        Ok(Change::Store { object: new, reservation })
    }
}

/// Makes the new state ready to be stored, and keeps what the path is not about.
fn prepare_part(target: &Target, new: &mut Value, old: &Value) -> Result<(), Status> {
    let kind = &target.served.kind;
    match target.part {
        Part::Status => {
            keep_metadata(new, old, &["finalizers", "ownerReferences"]);
            kind.prepare_status_update(new, old)
        }
        Part::Finalize => {
            let finalizers =
                new.pointer("/spec/finalizers").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
            *new = old.clone();
            // A stored namespace has a spec: its defaults put one in.
            if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("finalizers".to_owned(), finalizers);
            }
            Ok(())
        }
        Part::Whole
        | Part::Scale
        | Part::Log
        | Part::Binding
        | Part::Token
        | Part::Eviction
        | Part::Session(_)
        | Part::Proxy => kind.prepare_update(new, old),
    }
}

/// A terminating object that nothing holds any longer: no finalizer, no grace period.
fn may_go(object: &Value) -> bool {
    let grace = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
    let held = object.get("kind").is_some_and(|kind| kind == "Namespace")
        && object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    meta::is_terminating(object) && grace == 0 && meta::finalizers(object).next().is_none() && !held
}

fn keep_metadata(new: &mut Value, old: &Value, fields: &[&str]) {
    let Some(metadata) = meta::metadata_mut(new) else { return };
    for field in fields {
        match old.get("metadata").and_then(|metadata| metadata.get(field)) {
            Some(value) => _ = metadata.insert((*field).to_owned(), value.clone()),
            None => _ = metadata.shift_remove(*field),
        }
    }
}

/// Adds what kubectl prints as `Warning: …`.
pub(super) fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        let quoted = warning.replace('\\', r"\\").replace('"', "\\\"");
        // A field's name may hold anything; what cannot stand in a header is not worth failing for.
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            answer.headers_mut().append(http::header::WARNING, value);
        }
    }
    answer
}
