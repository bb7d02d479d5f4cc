//! Questions about users and rights: they are answered and never stored (`pkg/registry/authorization`,
//! `pkg/registry/authentication`).

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::body::decode;
use super::options::{WriteOptions, Writing};
use super::target::Target;
use super::tokens::texts;
use super::{Api, Call, meta};
use crate::access::{Attributes, Decision, ISSUER, Rule, Subject, User};
use crate::http::{Answer, json};
use crate::status::{Cause, Status};

impl Api {
    /// Answers a review.
    pub(super) fn review(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let options = WriteOptions::parse(&call.query, Writing::Create)?;
        let decoded = decode(&call.headers, &call.body, &target.served, options.field_validation)?;
        let mut review = decoded.object;
        let spec = review.get("spec").cloned().unwrap_or_else(|| json!({}));
        let kind = target.served.kind.kind.as_ref();
        let status = match kind {
            "SelfSubjectReview" => json!({"userInfo": user_info(&target.caller)}),
            "TokenReview" => self.token_review(&spec),
            "SelfSubjectRulesReview" => self.rules_review(&target.caller, &spec)?,
            "SelfSubjectAccessReview" => self.access_review(&target.caller, kind, &spec)?,
            _ => {
                let user = named_user(kind, &spec)?;
                if kind == "LocalSubjectAccessReview" {
                    check_local(target, kind, &spec)?;
                }
                self.access_review(&user, kind, &spec)?
            }
        };
        review["status"] = status;
        if kind == "SelfSubjectReview"
            && let Some(metadata) = meta::metadata_mut(&mut review)
        {
            metadata.insert("creationTimestamp".to_owned(), meta::time_text(Timestamp::now()).into());
        }
        Ok(json(StatusCode::CREATED, &review))
    }

    fn token_review(&self, spec: &Value) -> Value {
        let token = spec.get("token").and_then(Value::as_str).unwrap_or_default();
        let audiences = texts(spec, "/audiences");
        let audiences = if audiences.is_empty() { vec![ISSUER.to_owned()] } else { audiences };
        match self.access.user_of_token(token, &audiences) {
            Some((user, audiences)) => {
                json!({"authenticated": true, "user": user_info(&user), "audiences": audiences})
            }
            None => json!({"user": {}, "error": "[invalid bearer token, token lookup failed]"}),
        }
    }

    fn access_review(&self, user: &User, kind: &str, spec: &Value) -> Result<Value, Status> {
        let attributes = attributes_of(kind, spec)?;
        let Decision { allowed, reason } = self.access.decide(user, &attributes);
        let mut status = Map::new();
        status.insert("allowed".to_owned(), allowed.into());
        if !reason.is_empty() {
            status.insert("reason".to_owned(), reason.into());
        }
        Ok(status.into())
    }

    fn rules_review(&self, user: &User, spec: &Value) -> Result<Value, Status> {
        let namespace = spec.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let (rules, unresolved) = self.access.rbac().index().rules_of(user, namespace);
        let of = |urls: bool| -> Vec<Value> {
            rules.iter().filter(|rule| rule.urls.is_empty() != urls).map(Rule::to_value).collect()
        };
        let mut status = json!({
            "resourceRules": of(false), "nonResourceRules": of(true), "incomplete": !unresolved.is_empty(),
        });
        if !unresolved.is_empty() {
            status["evaluationError"] = unresolved.join(", ").into();
        }
        Ok(status)
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    info["groups"] = json!(user.groups);
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn invalid(kind: &str, cause: Cause) -> Status {
    Status::invalid("authorization.k8s.io", kind, "", vec![cause])
}

fn named_user(kind: &str, spec: &Value) -> Result<User, Status> {
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let user =
        User { name: text("user"), uid: text("uid"), groups: texts(spec, "/groups"), ..User::default() };
    if user.name.is_empty() && user.groups.is_empty() {
        return Err(invalid(
            kind,
            Cause::invalid("spec.user", &"".into(), "at least one of user or group must be specified"),
        ));
    }
    Ok(user)
}

fn check_local(target: &Target, kind: &str, spec: &Value) -> Result<(), Status> {
    let own = spec.pointer("/resourceAttributes/namespace").and_then(Value::as_str).unwrap_or_default();
    if own != target.namespace {
        let cause =
            Cause::invalid("spec.resourceAttributes.namespace", &own.into(), "must match metadata.namespace");
        return Err(invalid(kind, cause));
    }
    Ok(())
}

fn attributes_of(kind: &str, spec: &Value) -> Result<Attributes, Status> {
    let part = |key: &str| spec.get(key).filter(|value| value.is_object());
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (part("resourceAttributes"), part("nonResourceAttributes")) {
        (Some(of), None) => Ok(Attributes {
            verb: text(of, "verb"),
            subject: Subject::Resource {
                group: text(of, "group"),
                version: text(of, "version"),
                resource: text(of, "resource"),
                subresource: text(of, "subresource"),
                namespace: text(of, "namespace"),
                name: text(of, "name"),
            },
        }),
        (None, Some(of)) => {
            Ok(Attributes { verb: text(of, "verb"), subject: Subject::Path(text(of, "path")) })
        }
        (Some(_), Some(other)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            Err(invalid(kind, Cause::invalid("spec.nonResourceAttributes", other, detail)))
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            Err(invalid(kind, Cause::invalid("spec.resourceAttributes", &Value::Null, detail)))
        }
    }
}
