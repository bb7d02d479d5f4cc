//! CustomResourceDefinitions at work: their names are settled, their kinds served, and the objects of deleted ones deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Mutex, Notify};

use super::options::{DeleteOptions, Propagation};
use super::read::parsed;
use super::target::{Part, Target, resource_of};
use super::{Api, meta};
use crate::kinds::{
    CLEANUP_FINALIZER, Registry, Served, Terminating, accepted_status, is_established, mark_terminating,
    served_kinds,
};
use crate::status::Status;
use crate::store::{ListQuery, Operation, Record, Start, WriteError};

/// Group of the kind.
pub(super) const GROUP: &str = "apiextensions.k8s.io";
/// The kind.
pub(super) const KIND: &str = "CustomResourceDefinition";
/// Collection of the definitions in the store.
const RESOURCE: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// How often one write is tried again because somebody else was faster.
const ATTEMPTS: usize = 50;
/// Time between looks at objects that finalizers hold.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the API remembers of the definitions.
#[derive(Default)]
pub(super) struct Definitions {
    /// Kinds by the definition's name. One at a time settles names.
    kinds: Mutex<BTreeMap<String, Kinds>>,
    /// A definition was deleted.
    terminating: Notify,
}

/// The kinds of a definition, and what they were made from.
struct Kinds {
    made_from: (String, Option<i64>, Option<Value>, bool),
    served: Vec<Served>,
}

struct Definition {
    record: Record,
    object: Value,
}

impl Definition {
    fn is_terminating(&self) -> bool {
        meta::is_terminating(&self.object)
    }
}

impl Api {
    /// Gives every definition its names and conditions, and serves the kinds of those that are established.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn settle_definitions(&self) -> Result<(), Status> {
        let mut cache = self.definitions.kinds.lock().await;
        let mut attempts = 0;
        let definitions = loop {
            let mut definitions = self.definitions()?;
            match self.settle_names(&mut definitions).await {
                Ok(()) => break definitions,
                Err(WriteError::Modified | WriteError::Missing) if attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(Status::internal(error)),
            }
        };
        let mut kinds = BTreeMap::new();
        for definition in definitions.iter().filter(|definition| is_established(&definition.object)) {
            let name = definition.record.key.name().to_owned();
            let made_from = made_from(definition);
            // Watches end when their kind changes: those of a definition that did not change stay the same kinds.
            let known = cache.remove(&name).filter(|known| known.made_from == made_from);
            let made = || Kinds { made_from, served: served_kinds(&definition.object, false) };
            kinds.insert(name, known.unwrap_or_else(made));
        }
        *cache = kinds;
        let custom = cache.values().flat_map(|kinds| kinds.served.iter().cloned());
        self.registry.send_replace(Arc::new(Registry::with(custom)));
        if definitions.iter().any(Definition::is_terminating) {
            self.definitions.terminating.notify_one();
        }
        Ok(())
    }

    /// Writes the statuses that are not what they must be, the oldest definition's first, until all are.
    async fn settle_names(&self, definitions: &mut [Definition]) -> Result<(), WriteError> {
        let mut changed = true;
        while changed {
            changed = false;
            for index in 0..definitions.len() {
                let definition = &definitions[index];
                if definition.is_terminating() {
                    continue;
                }
                let all: Vec<Value> = definitions.iter().map(|one| one.object.clone()).collect();
                let status = accepted_status(&definition.object, &all, Timestamp::now());
                if definition.object.get("status") == Some(&status) {
                    continue;
                }
                let mut object = definition.object.clone();
                object["status"] = status;
                let (key, expected) = (definition.record.key.clone(), definition.record.revision);
                let record =
                    self.store.write(Operation::Update { key, expected, object: object.clone() }).await?;
                definitions[index] = Definition { record, object };
                changed = true;
            }
        }
        Ok(())
    }

    /// Every definition, the oldest first.
    fn definitions(&self) -> Result<Vec<Definition>, Status> {
        let mut definitions = self
            .records(RESOURCE)?
            .into_iter()
            .map(|record| Ok(Definition { object: parsed(&record)?, record }))
            .collect::<Result<Vec<_>, Status>>()?;
        definitions.sort_by_key(|one| {
            (meta::text(&one.object, "creationTimestamp").to_owned(), one.record.key.name().to_owned())
        });
        Ok(definitions)
    }

    fn records(&self, resource: &str) -> Result<Vec<Record>, Status> {
        let query =
            ListQuery { resource, namespace: None, start: Start::Latest { at_least: 0 }, limit: None };
        Ok(self.store.list(&query, |_| true).map_err(Status::internal)?.records)
    }

    /// Deletes the objects of deleted definitions, then lets the definitions go; until the server stops.
    pub(crate) async fn clean_definitions(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        loop {
            let waiting = match self.clean_once().await {
                Ok(waiting) => waiting,
                Err(status) => {
                    tracing::warn!(%status, "objects of a deleted CustomResourceDefinition cannot be deleted");
                    true
                }
            };
            let again = async {
                if waiting {
                    tokio::time::sleep(LOOK_AGAIN).await;
                } else {
                    self.definitions.terminating.notified().await;
                }
            };
            tokio::select! {
                () = again => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Whether objects are left that somebody holds.
    async fn clean_once(&self) -> Result<bool, Status> {
        let (mut waiting, mut gone) = (false, false);
        for definition in self.definitions()?.into_iter().filter(Definition::is_terminating) {
            if !meta::finalizers(&definition.object).any(|finalizer| finalizer == CLEANUP_FINALIZER) {
                continue;
            }
            let progress = if !is_established(&definition.object) {
                Terminating::NeverEstablished
            } else if self.delete_objects(&definition.object).await? {
                Terminating::Completed
            } else {
                Terminating::InProgress
            };
            waiting |= progress == Terminating::InProgress;
            gone |= progress != Terminating::InProgress;
            self.mark(&definition, progress).await?;
        }
        if gone {
            // Names are free again, and kinds are no longer served.
            self.settle_definitions().await?;
        }
        Ok(waiting)
    }

    /// Whether none is left.
    async fn delete_objects(&self, definition: &Value) -> Result<bool, Status> {
        let Some(served) = served_kinds(definition, true).into_iter().next() else { return Ok(true) };
        let resource = resource_of(&served.kind);
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        for record in self.records(&resource)? {
            let target = Target {
                served: served.clone(),
                namespace: record.key.namespace().to_owned(),
                name: record.key.name().to_owned(),
                part: Part::Whole,
                // The server itself.
                caller: Arc::default(),
            };
            match self.delete(&target, &options, |_| {}).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(self.records(&resource)?.is_empty())
    }

    /// Writes how far the end of a definition has come. When somebody else was faster, the next look finds it.
    async fn mark(&self, definition: &Definition, progress: Terminating) -> Result<(), Status> {
        let mut object = definition.object.clone();
        mark_terminating(&mut object, progress, Timestamp::now());
        if object == definition.object {
            return Ok(());
        }
        let (key, expected) = (definition.record.key.clone(), definition.record.revision);
        let operation = if meta::finalizers(&object).next().is_none() {
            Operation::Delete { key, expected, object }
        } else {
            Operation::Update { key, expected, object }
        };
        match self.store.write(operation).await {
            Ok(_) | Err(WriteError::Modified | WriteError::Missing) => Ok(()),
            Err(error) => Err(Status::internal(error)),
        }
    }
}

fn made_from(definition: &Definition) -> (String, Option<i64>, Option<Value>, bool) {
    let object = &definition.object;
    (
        meta::text(object, "uid").to_owned(),
        object.pointer("/metadata/generation").and_then(Value::as_i64),
        object.pointer("/status/acceptedNames").cloned(),
        definition.is_terminating(),
    )
}
