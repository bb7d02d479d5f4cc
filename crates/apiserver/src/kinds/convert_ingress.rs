//! The Ingress of `extensions/v1beta1` and `networking.k8s.io/v1beta1`: a backend there is `serviceName` and
//! `servicePort`, the default one is called `backend`, and paths need no type.

use serde_json::{Map, Value, json};

use super::field;

/// Makes the fields those of networking.k8s.io/v1.
pub(super) fn to_todays(object: &mut Map<String, Value>) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(mut backend) = spec.shift_remove("backend") {
        backend_to_todays(&mut backend);
        field::set(spec, "defaultBackend", backend);
    }
    for path in paths(spec) {
        field::fill(path, "pathType", "ImplementationSpecific");
        if let Some(backend) = path.get_mut("backend") {
            backend_to_todays(backend);
        }
    }
}

/// Makes the fields those of the old versions.
pub(super) fn from_todays(object: &mut Map<String, Value>) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(mut backend) = spec.shift_remove("defaultBackend") {
        backend_from_todays(&mut backend);
        field::set(spec, "backend", backend);
    }
    for path in paths(spec) {
        if let Some(backend) = path.get_mut("backend") {
            backend_from_todays(backend);
        }
    }
}

fn paths(spec: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    let paths = rules.filter_map(|rule| rule.pointer_mut("/http/paths")?.as_array_mut());
    paths.flatten().filter_map(Value::as_object_mut)
}

fn backend_to_todays(backend: &mut Value) {
    let Some(backend) = backend.as_object_mut() else { return };
    let (name, port) = (backend.shift_remove("serviceName"), backend.shift_remove("servicePort"));
    if name.is_none() && port.is_none() {
        return;
    }
    let mut service = Map::new();
    field::set(&mut service, "name", name.unwrap_or_default());
    if let Some(port) = port {
        // A text with digits alone is a name to Kubernetes too.
        let member = if port.is_string() { "name" } else { "number" };
        field::set(&mut service, "port", json!({ member: port }));
    }
    field::set(backend, "service", service);
}

fn backend_from_todays(backend: &mut Value) {
    let Some(backend) = backend.as_object_mut() else { return };
    let Some(service) = backend.shift_remove("service") else { return };
    field::set(backend, "serviceName", service.get("name").cloned().unwrap_or_default());
    if let Some(port) = service.pointer("/port/number").or_else(|| service.pointer("/port/name")) {
        field::set(backend, "servicePort", port.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::kind;
    use crate::kinds::{convert_in, convert_out};

    #[test]
    fn there_and_back() {
        let old = json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": {
            "rules": [{"host": "a.example", "http": {"paths": [
                {"path": "/", "backend": {"serviceName": "web", "servicePort": 80}, "pathType": "Prefix"},
                {"backend": {"serviceName": "web", "servicePort": "http"}, "pathType": "ImplementationSpecific"},
            ]}}],
            "backend": {"serviceName": "other", "servicePort": 81},
        }});
        let mut object = old.clone();
        object["spec"]["rules"][0]["http"]["paths"][1].as_object_mut().unwrap().remove("pathType");
        convert_in(kind("Ingress"), "extensions", "v1beta1", &mut object);
        assert_eq!(object["apiVersion"], "networking.k8s.io/v1");
        let todays = json!({
            "rules": [{"host": "a.example", "http": {"paths": [
                {"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}, "pathType": "Prefix"},
                {"backend": {"service": {"name": "web", "port": {"name": "http"}}},
                    "pathType": "ImplementationSpecific"},
            ]}}],
            "defaultBackend": {"service": {"name": "other", "port": {"number": 81}}},
        });
        assert_eq!(object["spec"], todays);
        convert_out(kind("Ingress"), "extensions", "v1beta1", &mut object);
        assert_eq!(object, old);
    }

    #[test]
    fn backends_of_both_shapes_and_none_are_left_alone() {
        for backend in [json!({"resource": {"kind": "Bucket"}}), json!("text"), json!(null)] {
            let mut changed = backend.clone();
            backend_to_todays(&mut changed);
            backend_from_todays(&mut changed);
            assert_eq!(changed, backend);
        }
    }
}
