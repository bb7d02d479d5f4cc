//! The objects that every cluster begins with: namespaces, and the default roles and bindings.

use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::target::resource_of;
use super::writer::{Ownership, Writer};
use super::{Api, meta};
use crate::access::{aggregate, bootstrap};
use crate::config::ServeError;
use crate::kinds::{Node, rbac};
use crate::store::{Key, Operation, WriteError};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Api {
    /// Makes what is not there; default roles and bindings get back what they lack.
    pub(super) async fn make_first_objects(&self) -> Result<(), ServeError> {
        let namespaces = NAMESPACES
            .map(|name| ("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})));
        let roles = bootstrap::objects().into_iter().map(|object| (rbac::GROUP, object));
        let writes = namespaces.into_iter().chain(roles).map(|(group, object)| self.ensure(group, object));
        // All at once: they share commits.
        try_join_all(writes).await?;
        aggregate(&self.store).await;
        Ok(())
    }

    async fn ensure(&self, group: &'static str, mut object: Value) -> Result<(), ServeError> {
        let registry = self.registry();
        let kind = object["kind"].as_str().unwrap_or_default();
        let Some(kind) = registry.kind(group, kind) else { return Ok(()) };
        let key = Key::new(&resource_of(kind), "", meta::text(&object, "name"));
        let unreadable = |error: &dyn std::fmt::Display| ServeError::FirstObject {
            name: format!("{} {}", kind.kind, key.name()),
            detail: error.to_string(),
        };
        let present = self.store.get(&key).map_err(|error| unreadable(&error))?;
        let written = match present {
            Some(_) if group != rbac::GROUP => return Ok(()),
            Some(record) => {
                let present = serde_json::from_slice(&record.json).map_err(|error| unreadable(&error))?;
                let Some(object) = bootstrap::reconciled(&present, &object) else { return Ok(()) };
                self.store.write(Operation::Update { key, expected: record.revision, object }).await
            }
            None => {
                meta::on_create(&mut object, kind, "", Timestamp::now());
                let unowned = kind.unowned(&object);
                kind.prepare_create(&mut object).map_err(|status| unreadable(&status.message))?;
                let writer = Writer::server(kind.api_version(), Timestamp::now());
                writer.own_created(Node::root(kind), &mut object, &unowned, Ownership::Difference);
                self.store.write(Operation::Create { key, object }).await
            }
        };
        match written {
            Ok(_) | Err(WriteError::Exists) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
