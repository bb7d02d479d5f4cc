//! Selectors, lists, watches and subresources.

use super::{Row, Told, bad, delete, get, invalid, post, put};

pub const ROWS: &[Row] = &[
    // Selectors.
    (
        "a label selector of two words",
        get("/api/v1/pods?labelSelector=a%20b"),
        bad("unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ),
    (
        "a set that does not end",
        get("/api/v1/pods?labelSelector=a%20in%20(b"),
        bad("unable to parse requirement: found '', expected: ',', or ')'"),
    ),
    (
        "a value of a label selector",
        get("/api/v1/pods?labelSelector=a%3D%24b"),
        bad(
            "unable to parse requirement: values[0][a]: Invalid value: \"$b\": a valid label must be an empty string or consist of",
        ),
    ),
    (
        "a key of a label selector",
        get("/api/v1/pods?labelSelector=a%2Fb%2Fc%3Dd"),
        bad("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a qualified name must consist of"),
    ),
    (
        "more than a word",
        get("/api/v1/pods?labelSelector=a%3Eb"),
        bad("for 'Gt', 'Lt' operators, the value must be an integer"),
    ),
    (
        "a field selector without a value",
        get("/api/v1/pods?fieldSelector=spec.nodeName"),
        bad("invalid field selector: "),
    ),
    (
        "a field that nobody selects by",
        get("/api/v1/pods?fieldSelector=spec.dnsPolicy%3DNone"),
        bad("field label not supported: spec.dnsPolicy"),
    ),
    (
        "a selector of a deletion",
        delete("/api/v1/namespaces/default/configmaps?labelSelector=!", ""),
        bad("unable to parse requirement: "),
    ),
    // Lists and watches.
    ("a limit that is no number", get("/api/v1/pods?limit=many"), bad("limit: invalid value \"many\"")),
    ("a token of nobody", get("/api/v1/pods?continue=x%2Fy"), bad("continue key is not valid")),
    (
        "a token of another version",
        get("/api/v1/pods?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjAiLCJydiI6MSwic3RhcnQiOiJhL2IifQ"),
        bad("continue key is not valid"),
    ),
    (
        "a token and a revision",
        get(
            "/api/v1/pods?resourceVersion=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhL2IifQ",
        ),
        bad("specifying resource version is not allowed when using continue"),
    ),
    (
        "a list's revision that is no number",
        get("/api/v1/pods?resourceVersion=newest"),
        bad("resourceVersion: Invalid value: \"newest\""),
    ),
    (
        "a list's revision from the future",
        get("/api/v1/pods?resourceVersion=99999999"),
        Told(504, "Timeout", "Too large resource version: 99999999, current: "),
    ),
    (
        "a match without a revision",
        get("/api/v1/pods?resourceVersionMatch=Exact"),
        invalid(
            r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#,
        ),
    ),
    (
        "a match nobody knows",
        get("/api/v1/pods?resourceVersion=1&resourceVersionMatch=About"),
        invalid(
            r#"resourceVersionMatch: Unsupported value: "About": supported values: "Exact", "NotOlderThan", """#,
        ),
    ),
    (
        "exactly any revision",
        get("/api/v1/pods?resourceVersion=0&resourceVersionMatch=Exact"),
        invalid(r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#),
    ),
    (
        "first events of a list",
        get("/api/v1/pods?sendInitialEvents=true"),
        invalid("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    ),
    ("a watch that is neither", get("/api/v1/pods?watch=perhaps"), bad("watch: invalid value \"perhaps\"")),
    (
        "a watch's revision that is no number",
        get("/api/v1/pods?watch=1&resourceVersion=newest"),
        bad("resourceVersion: Invalid value: \"newest\""),
    ),
    (
        "a watch's revision from the future",
        get("/api/v1/pods?watch=1&resourceVersion=99999999"),
        Told(504, "Timeout", "Too large resource version: 99999999, current: "),
    ),
    (
        "a watch's match without first events",
        get("/api/v1/pods?watch=1&resourceVersionMatch=NotOlderThan"),
        invalid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
    ),
    (
        "a watch's first events without a match",
        get("/api/v1/pods?watch=1&sendInitialEvents=true"),
        invalid(
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ),
    (
        "a watch of exactly one revision",
        get("/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersion=1&resourceVersionMatch=Exact"),
        invalid(r#"resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan""#),
    ),
    (
        "bookmarks that are neither",
        get("/api/v1/pods?watch=1&allowWatchBookmarks=perhaps"),
        bad("allowWatchBookmarks: invalid value \"perhaps\""),
    ),
    (
        "a watch for less than no time",
        get("/api/v1/pods?watch=1&timeoutSeconds=-1"),
        bad("timeoutSeconds: invalid value \"-1\""),
    ),
    (
        "a watch with a bad selector",
        get("/api/v1/pods?watch=1&labelSelector=%2C"),
        bad("unable to parse requirement: "),
    ),
    // Subresources.
    (
        "a scale below none",
        put(
            "/apis/apps/v1/namespaces/default/deployments/web/scale",
            r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"web"},"spec":{"replicas":-1}}"#,
        ),
        invalid("spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
    ),
    (
        "a token for no time",
        post(
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            r#"{"spec":{"expirationSeconds":5}}"#,
        ),
        invalid("spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"),
    ),
    (
        "a session without an upgrade",
        get("/api/v1/namespaces/default/pods/web/exec?command=sh"),
        bad("Upgrade request required"),
    ),
    (
        "a log of a container that is not there",
        get("/api/v1/namespaces/default/pods/web/log?container=none"),
        bad("container none is not valid for pod web"),
    ),
    (
        "a binding to nothing",
        post("/api/v1/namespaces/default/pods/web/binding", "{}"),
        invalid("target.name: Required value"),
    ),
    (
        "an eviction of another kind",
        post("/api/v1/namespaces/default/pods/web/eviction", r#"{"kind":"Pod","apiVersion":"v1"}"#),
        bad(""),
    ),
    (
        "a review of nobody",
        post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            r#"{"spec":{"resourceAttributes":{"verb":"get"}}}"#,
        ),
        invalid("at least one of user or group must be specified"),
    ),
];
