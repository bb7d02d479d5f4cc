//! Objects out of rule, and what contradicts the path or the store.

use super::{
    DEPLOYMENT, HELD, JSON, Long, MAPS, MERGE, PODS, Row, SERVICES, Told, bad, get, invalid, patch, post,
    post_as, put,
};

pub const ROWS: &[Row] = &[
    // Names, labels, values.
    (
        "no name",
        post(MAPS, "{}"),
        invalid(
            r#"ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required"#,
        ),
    ),
    (
        "a name with capitals",
        post(MAPS, r#"{"metadata":{"name":"Map"}}"#),
        invalid(
            r#"ConfigMap "Map" is invalid: metadata.name: Invalid value: "Map": a lowercase RFC 1123 subdomain must consist of"#,
        ),
    ),
    (
        "a name too long",
        post_as(JSON, MAPS, Long(r#"{"metadata":{"name":""#, "a", 254, r#""}}"#)),
        invalid("must be no more than 253 bytes"),
    ),
    (
        "a name that is a path",
        post(MAPS, r#"{"metadata":{"name":"a/../b"}}"#),
        invalid("metadata.name: Invalid value: \"a/../b\""),
    ),
    (
        "a service's name with a digit first",
        post(SERVICES, r#"{"metadata":{"name":"1a"},"spec":{"ports":[{"port":80}]}}"#),
        invalid("a DNS-1035 label must consist of"),
    ),
    (
        "a namespace's name with dots",
        post("/api/v1/namespaces", r#"{"metadata":{"name":"a.b"}}"#),
        invalid("a lowercase RFC 1123 label must consist of"),
    ),
    (
        "a label's key",
        post(MAPS, r#"{"metadata":{"name":"a","labels":{"/k":"v"}}}"#),
        invalid("metadata.labels: Invalid value: \"/k\": prefix part must be non-empty"),
    ),
    (
        "a label's value",
        post(MAPS, r#"{"metadata":{"name":"a","labels":{"k":"-v"}}}"#),
        invalid(
            "metadata.labels: Invalid value: \"-v\": a valid label must be an empty string or consist of",
        ),
    ),
    (
        "an annotation's key",
        post(MAPS, r#"{"metadata":{"name":"a","annotations":{"a b":"v"}}}"#),
        invalid("metadata.annotations: Invalid value: \"a b\": name part must consist of"),
    ),
    (
        "a finalizer",
        post(MAPS, r#"{"metadata":{"name":"a","finalizers":["mine"]}}"#),
        invalid(
            "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
        ),
    ),
    (
        "a key of data",
        post(MAPS, r#"{"metadata":{"name":"a"},"data":{"a b":"v"}}"#),
        invalid("data[a b]: Invalid value: \"a b\": a valid config key must consist of"),
    ),
    (
        "a port out of range",
        post(SERVICES, r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":70000}]}}"#),
        invalid("spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"),
    ),
    (
        "a protocol",
        post(SERVICES, r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":80,"protocol":"ICMP"}]}}"#),
        invalid("spec.ports[0].protocol: Unsupported value: \"ICMP\""),
    ),
    (
        "an address out of range",
        post(SERVICES, r#"{"metadata":{"name":"a"},"spec":{"clusterIP":"192.0.2.1","ports":[{"port":80}]}}"#),
        invalid(
            "spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to allocate IP 192.0.2.1: the provided IP (192.0.2.1) is not in the valid range",
        ),
    ),
    (
        "two containers of a name",
        post(
            PODS,
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"m","image":"i"},{"name":"m","image":"i"}]}}"#,
        ),
        invalid("spec.containers[1].name: Duplicate value: \"m\""),
    ),
    (
        "a request above its limit",
        post(
            PODS,
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"m","image":"i","resources":{"requests":{"memory":"2Gi"},"limits":{"memory":"1Gi"}}}]}}"#,
        ),
        invalid("must be less than or equal to memory limit of 1Gi"),
    ),
    (
        "a selector that does not fit",
        post(
            "/apis/apps/v1/namespaces/default/deployments",
            r#"{"metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"x":"y"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"m","image":"i"}]}}}}"#,
        ),
        invalid("`selector` does not match template `labels`"),
    ),
    (
        "a custom resource out of its schema",
        post("/apis/example.com/v1/namespaces/default/things", r#"{"metadata":{"name":"a"},"size":10}"#),
        invalid("size: Invalid value: 10: size in body should be less than or equal to 9"),
    ),
    // What contradicts the path or the store.
    (
        "a namespace that is not the path's",
        post(MAPS, r#"{"metadata":{"name":"a","namespace":"other"}}"#),
        bad(
            "the namespace of the provided object does not match the namespace sent on the request (other != default)",
        ),
    ),
    (
        "no namespace in the path",
        post("/api/v1/configmaps", r#"{"metadata":{"name":"a"}}"#),
        bad("an empty namespace may not be set during creation"),
    ),
    (
        "a namespace that is not there",
        post("/api/v1/namespaces/none/configmaps", r#"{"metadata":{"name":"a"}}"#),
        Told(404, "NotFound", "namespaces \"none\" not found"),
    ),
    (
        "a new object with a revision",
        post(MAPS, r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#),
        bad("resourceVersion should not be set on objects to be created"),
    ),
    (
        "an object that is there",
        post(MAPS, r#"{"metadata":{"name":"held"}}"#),
        Told(409, "AlreadyExists", "configmaps \"held\" already exists"),
    ),
    (
        "a name that is not the path's",
        put(HELD, r#"{"metadata":{"name":"other"}}"#),
        bad("the name of the object (other) does not match the name on the URL (held)"),
    ),
    (
        "an old revision",
        put(HELD, r#"{"metadata":{"name":"held","resourceVersion":"1"}}"#),
        Told(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
    ),
    (
        "a revision that is no number",
        put(HELD, r#"{"metadata":{"name":"held","resourceVersion":"latest"}}"#),
        bad("resourceVersion: Invalid value: \"latest\""),
    ),
    (
        "another uid",
        put(HELD, r#"{"metadata":{"name":"held","uid":"other"}}"#),
        Told(409, "Conflict", "Precondition failed: UID in precondition: other, UID in object meta: "),
    ),
    (
        "a change of what cannot change",
        patch(
            MERGE,
            DEPLOYMENT,
            r#"{"spec":{"selector":{"matchLabels":{"a":"c"}},"template":{"metadata":{"labels":{"a":"c"}}}}}"#,
        ),
        invalid("spec.selector: Invalid value: "),
    ),
    (
        "no such object",
        put("/api/v1/namespaces/default/configmaps/none", r#"{"metadata":{"name":"none"}}"#),
        Told(404, "NotFound", "configmaps \"none\" not found"),
    ),
    (
        "no such resource",
        get("/api/v1/namespaces/default/knots"),
        Told(404, "NotFound", "the server could not find the requested resource"),
    ),
    (
        "a name with a NUL",
        get("/api/v1/namespaces/default/pods/x%00y"),
        Told(404, "NotFound", "could not find"),
    ),
    (
        "a method that a probe does not have",
        post("/healthz", "{}"),
        Told(405, "MethodNotAllowed", "the server does not allow this method"),
    ),
    (
        "a method that is not there",
        post(HELD, "{}"),
        Told(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
    ),
];
