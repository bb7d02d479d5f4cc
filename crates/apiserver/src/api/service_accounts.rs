//! ServiceAccounts in pods and Secrets: what is filled in when these are created
//! (`plugin/pkg/admission/serviceaccount`, `pkg/controller/serviceaccount/tokens_controller.go`).

mod pod;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::target::Target;
use super::writer::{Ownership, Writer};
use super::{Api, meta, write_failed};
use crate::access::{Claims, LEGACY_ISSUER, User};
use crate::kinds::Node;
use crate::status::{Cause, Status};
use crate::store::{Key, Operation, WriteError};

/// The ServiceAccount of pods that name none.
const DEFAULT: &str = "default";
/// The type of Secrets that hold a token.
const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";
/// Names the ServiceAccount of such a Secret.
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
/// Its uid, filled in here.
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

impl Api {
    /// Fills in what an object that is about to be created gets from ServiceAccounts.
    ///
    /// # Errors
    /// When it names a ServiceAccount that is not there, or none where it must.
    pub(super) async fn give_account(&self, target: &Target, object: &mut Value) -> Result<(), Status> {
        let kind = &target.served.kind;
        if kind.is("", "Secret") && object.get("type").is_some_and(|kind| kind == TOKEN_SECRET) {
            return self.fill_secret(target, object);
        }
        if kind.is("", "Pod") {
            let account = self.account_of(target, object).await?;
            pod::fill(object, &account);
        }
        Ok(())
    }

    /// The ServiceAccount that a pod runs as; the name of the default one is put in where there is none.
    async fn account_of(&self, target: &Target, pod: &mut Value) -> Result<Value, Status> {
        let named = pod.pointer("/spec/serviceAccountName").or_else(|| pod.pointer("/spec/serviceAccount"));
        let name =
            named.and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or(DEFAULT).to_owned();
        if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
            for field in ["serviceAccountName", "serviceAccount"] {
                spec.insert(field.to_owned(), name.as_str().into());
            }
        }
        let find = || self.access.object("serviceaccounts", &target.namespace, &name);
        if let Some(account) = find() {
            return Ok(account);
        }
        if name == DEFAULT {
            // The controller that makes it for a new namespace has not come to it yet.
            self.check_namespace(target)?;
            self.make_default_account(&target.namespace).await?;
        }
        find().ok_or_else(|| {
            let detail = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                target.namespace
            );
            Status::forbidden("", "pods", &target.name, &detail)
        })
    }

    async fn make_default_account(&self, namespace: &str) -> Result<(), Status> {
        let registry = self.registry();
        let Some(kind) = registry.kind("", "ServiceAccount") else { return Ok(()) };
        let mut object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": DEFAULT}});
        meta::on_create(&mut object, kind, namespace, Timestamp::now());
        let unowned = kind.unowned(&object);
        kind.prepare_create(&mut object)?;
        let writer = Writer::server(kind.api_version(), Timestamp::now());
        writer.own_created(Node::root(kind), &mut object, &unowned, Ownership::Difference);
        let key = Key::new("serviceaccounts", namespace, DEFAULT);
        match self.store.write(Operation::Create { key, object }).await {
            Ok(_) | Err(WriteError::Exists) => Ok(()),
            Err(error) => Err(write_failed(kind, DEFAULT, &error)),
        }
    }

    /// Puts a token that does not expire into a Secret that asks for one. Without its ServiceAccount it stays empty.
    fn fill_secret(&self, target: &Target, secret: &mut Value) -> Result<(), Status> {
        let annotations = secret.pointer("/metadata/annotations");
        let name =
            annotations.and_then(|map| map.get(ACCOUNT_NAME)).and_then(Value::as_str).unwrap_or_default();
        if name.is_empty() {
            let cause = Cause::required(format!("metadata.annotations[{ACCOUNT_NAME}]"), "");
            return Err(Status::invalid("", "Secret", &target.name, vec![cause]));
        }
        let (name, namespace) = (name.to_owned(), target.namespace.clone());
        let Some(account) = self.access.object("serviceaccounts", &namespace, &name) else { return Ok(()) };
        let uid = meta::text(&account, "uid").to_owned();
        let claims = Claims {
            iss: LEGACY_ISSUER.to_owned(),
            sub: User::service_account(&namespace, &name, "").name,
            legacy_namespace: Some(namespace.clone()),
            legacy_secret: Some(target.name.clone()),
            legacy_name: Some(name),
            legacy_uid: Some(uid.clone()),
            ..Claims::default()
        };
        let token = self.access.tokens().issue(&claims).map_err(Status::internal)?;
        if !secret["data"].is_object() {
            secret["data"] = json!({});
        }
        for (key, value) in [("ca.crt", &self.authority), ("namespace", &namespace), ("token", &token)] {
            secret["data"][key] = STANDARD.encode(value).into();
        }
        secret["metadata"]["annotations"][ACCOUNT_UID] = uid.into();
        Ok(())
    }
}
