//! ServiceAccounts in pods and Secrets: what is filled in when these are created
//! (`plugin/pkg/admission/serviceaccount`, `pkg/controller/serviceaccount/tokens_controller.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::target::Target;
use super::{Api, meta};
use crate::access::{Claims, LEGACY_ISSUER, User};
use crate::status::{Cause, Status};

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
        Ok(())
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
