//! OpenAPI v3, as far as kubectl needs it: that PATCH knows `fieldValidation`, so that kubectl leaves the validation of
//! manifests to the server. The schemas of the objects are not part of it.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::{Answer, json};
use crate::kinds::{self, Served};
use crate::status::Status;

fn place(served: &Served) -> String {
    if served.group.is_empty() {
        format!("api/{}", served.version)
    } else {
        format!("apis/{}/{}", served.group, served.version)
    }
}

pub(super) fn index() -> Answer {
    let mut paths = Map::new();
    for served in kinds::served() {
        let place = place(&served);
        let url = format!("/openapi/v3/{place}");
        paths.insert(place, json!({"serverRelativeURL": url}));
    }
    json(StatusCode::OK, &json!({"paths": paths}))
}

pub(super) fn document(group: &str, version: &str) -> Result<Answer, Status> {
    let mut paths = Map::new();
    for served in kinds::served().filter(|served| served.group == group && served.version == version) {
        let namespace = if served.kind.namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{namespace}{}/{{name}}", place(&served), served.kind.plural);
        paths.insert(path, item(&served));
    }
    if paths.is_empty() {
        return Err(Status::unknown_path());
    }
    let document = json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths, "components": {"schemas": {}},
    });
    Ok(json(StatusCode::OK, &document))
}

fn item(served: &Served) -> Value {
    let text = json!({"type": "string", "uniqueItems": true});
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": text});
    let parameters: Vec<Value> =
        ["dryRun", "fieldManager", "fieldValidation"].into_iter().map(parameter).collect();
    let kind = json!({"group": served.group, "kind": served.kind.kind, "version": served.version});
    json!({
        "patch": {
            "parameters": parameters, "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
        },
    })
}
