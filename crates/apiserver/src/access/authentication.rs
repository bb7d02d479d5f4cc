//! From a bearer token to a user: the token must be good, and what it is bound to must still be there.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

use super::Access;
use super::tokens::{Claims, ISSUER, Reference};
use super::user::User;
use crate::status::Status;
use crate::store::Key;

impl Access {
    /// The user of the `Authorization` header; `None` when there is no such header.
    ///
    /// # Errors
    /// 401 for anything but a token that is good here and now.
    pub(super) fn bearer(&self, headers: &HeaderMap) -> Result<Option<Arc<User>>, Status> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
        let text = value.to_str().map_err(|_| Status::unauthorized())?;
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(Status::unauthorized()),
        };
        let (user, _) = self.user_of_token(token, &[ISSUER.to_owned()]).ok_or_else(Status::unauthorized)?;
        Ok(Some(Arc::new(user)))
    }

    /// Whose token it is, and for which of the audiences it is good.
    pub(crate) fn user_of_token(&self, token: &str, audiences: &[String]) -> Option<(User, Vec<String>)> {
        let claims = self.tokens.check(token, audiences)?;
        let user =
            if claims.iss == ISSUER { self.bound_user(&claims)? } else { self.legacy_user(&claims, token)? };
        let own = if claims.aud.is_empty() { vec![ISSUER.to_owned()] } else { claims.aud };
        let good = audiences.iter().filter(|audience| own.contains(audience)).cloned().collect();
        Some((user, good))
    }

    fn bound_user(&self, claims: &Claims) -> Option<User> {
        let bound = claims.bound.as_ref()?;
        let namespace = bound.namespace.as_str();
        self.present("serviceaccounts", namespace, &bound.serviceaccount)?;
        let mut user =
            User::service_account(namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
        if user.name != claims.sub {
            return None;
        }
        let mut extra = |key: &str, value: &str| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if let Some(id) = &claims.jti {
            extra("credential-id", &format!("JTI={id}"));
        }
        if let Some(pod) = &bound.pod {
            self.present("pods", namespace, pod)?;
            extra("pod-name", &pod.name);
            extra("pod-uid", &pod.uid);
        }
        if let Some(secret) = &bound.secret {
            self.present("secrets", namespace, secret)?;
        }
        if let Some(node) = &bound.node {
            // The node of a bound pod may be gone; a token that is for a node alone goes with it.
            if bound.pod.is_none() {
                self.present("nodes", "", node)?;
            }
            extra("node-name", &node.name);
            extra("node-uid", &node.uid);
        }
        Some(user)
    }

    fn legacy_user(&self, claims: &Claims, token: &str) -> Option<User> {
        use base64::Engine as _;
        let (namespace, name) = (claims.legacy_namespace.as_deref()?, claims.legacy_name.clone()?);
        let account = Reference { name, uid: claims.legacy_uid.clone()? };
        self.present("serviceaccounts", namespace, &account)?;
        let secret = self.object("secrets", namespace, claims.legacy_secret.as_deref()?)?;
        let kept = secret.pointer("/data/token").and_then(Value::as_str)?;
        let kept = base64::engine::general_purpose::STANDARD.decode(kept).ok()?;
        (kept == token.as_bytes()).then(|| User::service_account(namespace, &account.name, &account.uid))
    }

    /// An object of that name and uid.
    pub(crate) fn present(&self, resource: &str, namespace: &str, object: &Reference) -> Option<Value> {
        let found = self.object(resource, namespace, &object.name)?;
        (found.pointer("/metadata/uid")? == object.uid.as_str()).then_some(found)
    }

    /// A stored object, parsed.
    pub(crate) fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        // NUL divides keys in the store.
        if namespace.contains('\0') || name.contains('\0') {
            return None;
        }
        let record = self.store.get(&Key::new(resource, namespace, name)).ok()??;
        serde_json::from_slice(&record.json).ok()
    }
}
