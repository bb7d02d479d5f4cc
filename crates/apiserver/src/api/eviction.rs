//! Eviction: a deletion that asks first (`pkg/registry/core/pod/storage/eviction.go`). Nobody keeps disruption budgets here,
//! so nobody says no: what is left is the deletion itself, and the condition that tells why the pod went.

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::read;
use super::options::DeleteOptions;
use super::parts::set_condition;
use super::target::Target;
use super::{Api, Call, meta};
use crate::http::{Answer, json};
use crate::status::Status;

/// The versions that an Eviction may be of.
const VERSIONS: [&str; 2] = ["policy/v1", "policy/v1beta1"];

impl Api {
    pub(super) async fn evict(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let (eviction, _) = read(&call.headers, &call.body)?;
        let of = |field: &str| eviction.get(field).and_then(Value::as_str).unwrap_or_default();
        if of("kind") != "Eviction" || !VERSIONS.contains(&of("apiVersion")) {
            return Err(Status::bad_request(format!(
                "no kind {:?} is registered for an eviction in version {:?}: send an Eviction of policy/v1",
                of("kind"),
                of("apiVersion")
            )));
        }
        let name = meta::text(&eviction, "name");
        if name != target.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        meta::check_path(&eviction, &target.served.kind, &target.namespace, &target.name)?;
        let options = match eviction.get("deleteOptions") {
            None | Some(Value::Null) => Bytes::new(),
            Some(options) => Bytes::from(options.to_string()),
        };
        let options = DeleteOptions::parse(&call.query, &options)?;
        self.delete(target, &options, |pod| mark_evicted(pod, Timestamp::now())).await?;
        let success =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(json(StatusCode::CREATED, &success))
    }
}

fn mark_evicted(pod: &mut Value, now: Timestamp) {
    set_condition(
        pod,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": meta::time_text(now),
        }),
    );
}
