//! Tokens for ServiceAccounts: the `token` subresource, and the documents by which others check them (OpenID discovery).

use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::read;
use super::options::{WriteOptions, Writing};
use super::read::parsed;
use super::target::{Route, Target};
use super::{Api, Call, meta};
use crate::access::{Bound, Claims, ISSUER, NodeChange, Reference, Tokens, User, restrict};
use crate::http::{Answer, json};
use crate::status::{Cause, Status};

/// Seconds that a token lives when nobody says.
const DEFAULT_LIFE: i64 = 3600;
/// Shortest life of a token that may be asked for, in seconds.
const SHORTEST_LIFE: i64 = 600;
/// Longest, in seconds.
const LONGEST_LIFE: i64 = 1 << 32;

impl Api {
    /// Answers a TokenRequest.
    pub(super) fn token(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        WriteOptions::parse(&call.query, Writing::Create)?;
        let (mut request, _) = read(&call.headers, &call.body)?;
        meta::check_path(&request, &target.served.kind, &target.namespace, &target.name)?;
        let account = parsed(&self.stored(target)?)?;
        let life = life_of(&request)?;
        let audiences = texts(&request, "/spec/audiences");
        let audiences = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences };
        let reference = Reference { name: target.name.clone(), uid: meta::text(&account, "uid").to_owned() };
        let mut bound =
            Bound { namespace: target.namespace.clone(), serviceaccount: reference, ..Bound::default() };
        let object = self.bind_token(target, &request, &mut bound)?;
        restrict(
            &target.caller,
            NodeChange {
                verb: "create",
                resource: "serviceaccounts",
                part: "token",
                namespace: &target.namespace,
                name: &target.name,
                new: &request,
                old: &object,
            },
        )?;
        let now = Timestamp::now().as_second();
        let claims = Claims {
            aud: audiences.clone(),
            exp: Some(now + life),
            iat: Some(now),
            nbf: Some(now),
            iss: ISSUER.to_owned(),
            jti: Some(Uuid::new_v4().to_string()),
            sub: User::service_account(&target.namespace, &target.name, "").name,
            bound: Some(bound),
            ..Claims::default()
        };
        let token = self.access.tokens().issue(&claims).map_err(Status::internal)?;
        let end = Timestamp::from_second(now + life).unwrap_or(Timestamp::MAX);
        if !request["spec"].is_object() {
            request["spec"] = json!({});
        }
        request["spec"]["audiences"] = json!(audiences);
        request["spec"]["expirationSeconds"] = life.into();
        let answer = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": target.name, "namespace": target.namespace,
                "creationTimestamp": meta::time_text(Timestamp::now()),
            },
            "spec": request["spec"],
            "status": {"token": token, "expirationTimestamp": meta::time_text(end)},
        });
        Ok(json(StatusCode::CREATED, &answer))
    }

    /// Reads what the token is to be bound to; null when nothing is named.
    fn bind_token(&self, target: &Target, request: &Value, bound: &mut Bound) -> Result<Value, Status> {
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/spec/boundObjectRef/kind"), text("/spec/boundObjectRef/name"));
        if request.pointer("/spec/boundObjectRef").is_none_or(Value::is_null) {
            return Ok(Value::Null);
        }
        let (resource, namespace) = match kind {
            "Pod" => ("pods", target.namespace.as_str()),
            "Secret" => ("secrets", target.namespace.as_str()),
            "Node" => ("nodes", ""),
            other => {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to object of kind {other:?}: only Pod, Secret and Node",
                    target.name
                )));
            }
        };
        let object = self.access.object(resource, namespace, name);
        let object = object.ok_or_else(|| Status::not_found("", resource, name))?;
        let (wanted, uid) = (text("/spec/boundObjectRef/uid"), meta::text(&object, "uid"));
        if !wanted.is_empty() && wanted != uid {
            let detail = format!(
                "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict("", resource, name, &detail));
        }
        let reference = Reference { name: name.to_owned(), uid: uid.to_owned() };
        match kind {
            "Pod" => {
                let field =
                    |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
                if field("/spec/serviceAccountName") != target.name {
                    return Err(Status::bad_request(format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        target.name
                    )));
                }
                let node = field("/spec/nodeName");
                if let Some(found) = self.access.object("nodes", "", node).filter(|_| !node.is_empty()) {
                    let uid = meta::text(&found, "uid").to_owned();
                    bound.node = Some(Reference { name: node.to_owned(), uid });
                }
                bound.pod = Some(reference);
            }
            "Secret" => bound.secret = Some(reference),
            _ => bound.node = Some(reference),
        }
        Ok(object)
    }

    /// The documents of OpenID discovery.
    pub(super) fn open_id(&self, route: &Route) -> Answer {
        let (document, kind) = match route {
            Route::OpenIdKeys => (self.access.tokens().keys(), "application/jwk-set+json"),
            _ => (Tokens::discovery(), "application/json"),
        };
        let mut answer = json(StatusCode::OK, &document);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }
}

fn life_of(request: &Value) -> Result<i64, Status> {
    let life = request.pointer("/spec/expirationSeconds").filter(|value| !value.is_null());
    let Some(life) = life else { return Ok(DEFAULT_LIFE) };
    let refuse = |detail: &str| {
        let cause = Cause::invalid("spec.expirationSeconds", life, detail);
        Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", vec![cause]))
    };
    match life.as_i64() {
        None => refuse("must be a whole number"),
        Some(seconds) if seconds < SHORTEST_LIFE => refuse("may not specify a duration less than 10 minutes"),
        Some(seconds) if seconds > LONGEST_LIFE => {
            refuse("may not specify a duration larger than 2^32 seconds")
        }
        Some(seconds) => Ok(seconds),
    }
}

/// The texts of a list.
pub(super) fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}
