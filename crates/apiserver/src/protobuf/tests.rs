use proptest::prelude::*;
use serde_json::json;

use super::*;

/// An entry with bytes.
fn entry(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 0x80 && number < 16);
    [&[number << 3 | 2, length], bytes].concat()
}

fn body(api_version: &str, kind: &str, object: &[u8]) -> Bytes {
    let meta = [entry(1, api_version.as_bytes()), entry(2, kind.as_bytes())].concat();
    [MAGIC, &entry(1, &meta), &entry(2, object)].concat().into()
}

#[test]
fn an_object_becomes_its_json() {
    let label = entry(11, &[entry(1, b"run"), entry(2, b"web")].concat());
    let metadata = entry(1, &[entry(1, b"web"), entry(2, b""), label, entry(8, b"")].concat());
    // ServicePort: port 8080, targetPort "http", nodePort 0.
    let port = entry(
        1,
        &[&[3 << 3, 0x90, 0x3f][..], &entry(4, &[&[8, 1][..], &entry(3, b"http")].concat()), &[5 << 3, 0]]
            .concat(),
    );
    let spec = entry(2, &[port, entry(4, b"ClusterIP")].concat());
    let json = to_json(&body("v1", "Service", &[metadata, spec, entry(3, &entry(1, b""))].concat())).unwrap();
    let expected = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "labels": {"run": "web"}},
        "spec": {"ports": [{"port": 8080, "targetPort": "http"}], "type": "ClusterIP"},
        "status": {"loadBalancer": {}},
    });
    assert_eq!(json, expected);
}

#[test]
fn zeros_of_pointers_are_values() {
    let spec = entry(2, &[1 << 3, 0, 5 << 3, 0]);
    let json = to_json(&body("apps/v1", "Deployment", &spec)).unwrap();
    assert_eq!(json["spec"], json!({"replicas": 0}), "minReadySeconds is no pointer");
}

#[test]
fn rules_of_an_ingress_stand_beside_their_host() {
    let path = [entry(1, b"/"), entry(3, b"Prefix"), entry(2, &entry(4, &entry(1, b"web")))].concat();
    let rule = entry(2, &[entry(1, b"a.example"), entry(2, &entry(1, &entry(1, &path)))].concat());
    let json = to_json(&body("networking.k8s.io/v1", "Ingress", &entry(2, &entry(3, &rule[2..])))).unwrap();
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web"}}}]);
    assert_eq!(json["spec"], json!({"rules": [{"host": "a.example", "http": {"paths": paths}}]}));
}

#[test]
fn groups_with_long_names_and_lists_of_texts() {
    // The empty text is a group of its own in a rule.
    let rule = [entry(1, b"get"), entry(2, b""), entry(3, b"pods")].concat();
    let json = to_json(&body("rbac.authorization.k8s.io/v1", "Role", &entry(2, &rule))).unwrap();
    assert_eq!(json["rules"], json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    let extra = entry(5, &[entry(1, b"from"), entry(2, &[entry(1, b"a"), entry(1, b"b")].concat())].concat());
    let json = to_json(&body("authorization.k8s.io/v1", "SubjectAccessReview", &entry(2, &extra))).unwrap();
    assert_eq!(json["spec"]["extra"], json!({"from": ["a", "b"]}));
}

#[test]
fn what_is_not_known_is_refused() {
    assert_eq!(to_json(&body("batch/v1", "Job", b"")).unwrap_err().code, 415);
    assert_eq!(to_json(&body("v1", "Pod", &[0x0a, 5, 1])).unwrap_err().code, 400);
    assert_eq!(to_json(&Bytes::from_static(b"k8s\0\xff")).unwrap_err().code, 400);
    assert_eq!(to_json(&Bytes::from_static(b"{}")).unwrap_err().code, 400);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(object in proptest::collection::vec(0u8.., 0..80)) {
        for kind in ["Pod", "Service", "DeleteOptions"] {
            _ = to_json(&body("v1", kind, &object));
        }
        _ = to_json(&[MAGIC, &object].concat().into());
    }
}
