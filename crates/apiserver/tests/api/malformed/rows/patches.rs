//! The four forms of patches, and parameters of writes.

use http::Method;

use super::{
    APPLIED, APPLY, Ask, HELD, JSON_PATCH, Long, MERGE, POD, Row, STRATEGIC, Told, bad, delete, get, invalid,
    patch, post, put,
};

pub const ROWS: &[Row] = &[
    // The four patches.
    ("a JSON patch that is no list", patch(JSON_PATCH, HELD, "{}"), bad("error decoding patch: ")),
    (
        "a JSON patch that ends too soon",
        patch(JSON_PATCH, HELD, r#"[{"op":"add""#),
        bad("error decoding patch: "),
    ),
    (
        "an unknown operation",
        patch(JSON_PATCH, HELD, r#"[{"op":"grow","path":"/data"}]"#),
        bad("unknown variant `grow`"),
    ),
    (
        "an operation without a path",
        patch(JSON_PATCH, HELD, r#"[{"op":"remove"}]"#),
        bad("missing field `path`"),
    ),
    (
        "a path that begins with no slash",
        patch(JSON_PATCH, HELD, r#"[{"op":"remove","path":"data"}]"#),
        bad("error decoding patch: "),
    ),
    (
        "an operation on nothing",
        patch(JSON_PATCH, HELD, r#"[{"op":"remove","path":"/none"}]"#),
        invalid("the server rejected our request due to an error in our request: "),
    ),
    (
        "a test that fails",
        patch(JSON_PATCH, HELD, r#"[{"op":"test","path":"/data/a","value":"c"}]"#),
        invalid("the server rejected our request due to an error in our request: "),
    ),
    (
        "too many operations",
        Ask {
            method: Method::PATCH,
            path: HELD,
            media: JSON_PATCH,
            body: Long(
                "[",
                r#"{"op":"test","path":"/data/a","value":"b"},"#,
                10_000,
                r#"{"op":"test","path":"/data/a","value":"b"}]"#,
            ),
        },
        Told(
            413,
            "RequestEntityTooLarge",
            "The allowed maximum operations in a JSON patch is 10000, got 10001",
        ),
    ),
    (
        "a JSON patch that removes everything",
        patch(JSON_PATCH, HELD, r#"[{"op":"replace","path":"","value":7}]"#),
        bad("the body is not an object"),
    ),
    ("a merge patch that is no object", patch(MERGE, HELD, "[]"), bad("error decoding patch: ")),
    ("a merge patch that ends too soon", patch(MERGE, HELD, r#"{"data":{"#), bad("error decoding patch: ")),
    (
        "a merge patch with a wrong type",
        patch(MERGE, HELD, r#"{"data":[]}"#),
        bad(
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal array into Go struct field ConfigMap.data of type"#,
        ),
    ),
    (
        "a merge patch of the name",
        patch(MERGE, HELD, r#"{"metadata":{"name":"other"}}"#),
        bad("the name of the object (other) does not match the name on the URL (held)"),
    ),
    (
        "a merge patch with force",
        patch(MERGE, "/api/v1/namespaces/default/configmaps/held?force=true", "{}"),
        invalid(
            r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
        ),
    ),
    ("a strategic patch that is no object", patch(STRATEGIC, POD, "7"), bad("error decoding patch: ")),
    (
        "an unknown directive",
        patch(STRATEGIC, POD, r#"{"spec":{"$patch":"turn"}}"#),
        bad("unknown patch type \"turn\" found"),
    ),
    (
        "no merge key",
        patch(STRATEGIC, POD, r#"{"spec":{"containers":[{"image":"b"}]}}"#),
        bad("does not contain declared merge key: name"),
    ),
    ("broken YAML that is applied", patch(APPLY, APPLIED, "a: [b"), bad("error decoding YAML: ")),
    (
        "nobody who applies",
        patch(APPLY, HELD, "apiVersion: v1\nkind: ConfigMap\n"),
        invalid(
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
        ),
    ),
    (
        "another kind that is applied",
        patch(APPLY, APPLIED, "apiVersion: v1\nkind: Secret\n"),
        bad("invalid object type: /v1, Kind=Secret"),
    ),
    (
        "owners that are applied",
        patch(APPLY, APPLIED, "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, managedFields: []}}"),
        bad("metadata.managedFields must be nil"),
    ),
    (
        "an unknown field that is applied",
        patch(APPLY, APPLIED, "{apiVersion: v1, kind: ConfigMap, metadata: {name: held}, date: {}}"),
        bad(".date: field not declared in schema"),
    ),
    (
        "an item twice that is applied",
        patch(
            APPLY,
            "/api/v1/namespaces/default/services/web?fieldManager=test",
            "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80, protocol: TCP}, {port: 80, protocol: TCP}]}}",
        ),
        bad("duplicate entries for key [port=80,protocol=\"TCP\"]"),
    ),
    // Parameters of writes.
    (
        "a manager too long",
        post(
            "/api/v1/namespaces/default/configmaps?fieldManager=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            r#"{"metadata":{"name":"a"}}"#,
        ),
        invalid(
            r#"CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes"#,
        ),
    ),
    (
        "a manager with a line feed",
        post("/api/v1/namespaces/default/configmaps?fieldManager=a%0Ab", r#"{"metadata":{"name":"a"}}"#),
        invalid("fieldManager: Invalid value: \"a\\nb\": should only contain printable characters"),
    ),
    (
        "half a dry run",
        post("/api/v1/namespaces/default/configmaps?dryRun=Some", r#"{"metadata":{"name":"a"}}"#),
        invalid(
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: []string{"Some"}: supported values: "All""#,
        ),
    ),
    (
        "a validation nobody knows",
        put(
            "/api/v1/namespaces/default/configmaps/held?fieldValidation=Maybe",
            r#"{"metadata":{"name":"held"}}"#,
        ),
        invalid(
            r#"UpdateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn""#,
        ),
    ),
    (
        "a switch that is neither",
        patch(APPLY, "/api/v1/namespaces/default/configmaps/held?fieldManager=a&force=perhaps", "{}"),
        bad("force: invalid value \"perhaps\""),
    ),
    (
        "a propagation nobody knows",
        delete("/api/v1/namespaces/default/configmaps/held?propagationPolicy=Sideways", ""),
        invalid(
            r#"DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan", "nil""#,
        ),
    ),
    (
        "two propagations",
        delete(HELD, r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#),
        invalid("orphanDependents and deletionPropagation cannot be both set"),
    ),
    ("a deletion that cannot be read", delete(HELD, "{"), bad("the options of the deletion cannot be read")),
    (
        "a grace period that is no number",
        delete("/api/v1/namespaces/default/pods/web?gracePeriodSeconds=soon", ""),
        bad("gracePeriodSeconds: invalid value \"soon\""),
    ),
    (
        "a deletion of another uid",
        delete(HELD, r#"{"preconditions":{"uid":"other"}}"#),
        Told(409, "Conflict", "UID in precondition: other"),
    ),
    (
        "a time limit that is none",
        get("/api/v1/namespaces/default/pods?timeout=soon"),
        bad("invalid timeout specified in the request URL"),
    ),
];
