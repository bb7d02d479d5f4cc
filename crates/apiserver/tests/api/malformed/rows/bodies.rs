//! Bodies that cannot be read.

use super::{
    HELD, JSON, Long, MAPS, PODS, PROTOBUF, Raw, Row, SERVICES, STRATEGIC, THING, Text, Told, YAML, bad,
    patch, post, post_as,
};

pub const ROWS: &[Row] = &[
    // JSON.
    (
        "no body",
        post(PODS, ""),
        bad(
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: ",
        ),
    ),
    ("JSON that ends too soon", post(PODS, r#"{"kind":"Pod""#), bad(r#"({"kind":"Pod")"#)),
    ("something behind the JSON", post(PODS, "{} {}"), bad("json parse error: trailing characters")),
    ("no JSON", post(PODS, "pod"), bad("(706f64)")),
    ("half of a surrogate pair", post(PODS, r#"{"metadata":{"name":"\ud800"}}"#), bad("json parse error")),
    (
        "bytes that are not UTF-8",
        post_as(JSON, PODS, Raw(b"{\"metadata\":{\"name\":\"\xff\"}}")),
        bad("json parse error"),
    ),
    ("a list", post(PODS, "[]"), bad("the body is not an object")),
    (
        "nesting that is too deep for a reader",
        post_as(JSON, PODS, Long("", "[", 100_000, "")),
        bad("json parse error"),
    ),
    (
        "nesting that is too deep for the store",
        post_as(
            JSON,
            "/apis/apps/v1/namespaces/default/controllerrevisions",
            Long(
                r#"{"metadata":{"name":"a"},"revision":1,"data":{"a":"#,
                "[",
                110,
                "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}}",
            ),
        ),
        bad("the object nests deeper than 100 levels"),
    ),
    (
        "another kind",
        post(PODS, r#"{"kind":"Service","apiVersion":"v1"}"#),
        bad("cannot be handled as a Pod"),
    ),
    (
        "another version",
        post(PODS, r#"{"kind":"Pod","apiVersion":"v2"}"#),
        bad("the API version in the data (v2) does not match the expected API version (v1)"),
    ),
    ("a kind that is no text", post(PODS, r#"{"kind":7}"#), bad("kind must be a string")),
    (
        "a number for a text",
        post(PODS, r#"{"metadata":{"name":7}}"#),
        bad(
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field"#,
        ),
    ),
    (
        "a text for a list",
        post(PODS, r#"{"spec":{"containers":"main"}}"#),
        bad("cannot unmarshal string into Go struct field PodSpec.spec.containers of type"),
    ),
    (
        "a number with a fraction",
        post(SERVICES, r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":80.5}]}}"#),
        bad("cannot unmarshal number 80.5 into Go struct field ServicePort"),
    ),
    (
        "a number too large",
        post(SERVICES, r#"{"metadata":{"name":"a"},"spec":{"ports":[{"port":4294967376}]}}"#),
        bad("cannot unmarshal number 4294967376 into Go struct field"),
    ),
    (
        "no base64",
        post("/api/v1/namespaces/default/secrets", r#"{"metadata":{"name":"a"},"data":{"k":"%%%"}}"#),
        bad("illegal base64 data at input byte 0"),
    ),
    (
        "no time",
        post(PODS, r#"{"metadata":{"name":"a","creationTimestamp":"yesterday"}}"#),
        bad(r#"parsing time "yesterday""#),
    ),
    (
        "no quantity",
        post(
            PODS,
            r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"m","image":"i","resources":{"limits":{"cpu":"2 cores"}}}]}}"#,
        ),
        bad("quantities must match the regular expression"),
    ),
    (
        "an unknown field",
        post(
            "/api/v1/namespaces/default/pods?fieldValidation=Strict",
            r#"{"metadata":{"name":"a"},"spec":{"kontainers":[]}}"#,
        ),
        bad(r#"strict decoding error: unknown field "spec.kontainers""#),
    ),
    (
        "a field twice",
        post(
            "/api/v1/namespaces/default/configmaps?fieldValidation=Strict",
            r#"{"metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#,
        ),
        bad(r#"strict decoding error: duplicate field "data.k""#),
    ),
    (
        "a body over the limit",
        post_as(JSON, MAPS, Long(r#"{"metadata":{"name":"a"},"data":{"k":""#, "x", 4 << 20, r#""}}"#)),
        Told(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
    ),
    // YAML.
    (
        "broken YAML",
        post_as(YAML, MAPS, Text("metadata: {name: a")),
        bad(
            "the object provided is unrecognized (must be of type ConfigMap): error converting YAML to JSON: ",
        ),
    ),
    (
        "tabs in YAML",
        post_as(YAML, MAPS, Text("metadata:\n\tname: a\n")),
        bad("error converting YAML to JSON: "),
    ),
    (
        "a field twice in YAML",
        post_as(YAML, MAPS, Text("metadata: {name: a}\ndata: {k: a, k: b}\n")),
        bad("error converting YAML to JSON: "),
    ),
    ("a list in YAML", post_as(YAML, MAPS, Text("- a\n")), bad("the body is not an object")),
    (
        "YAML that grows",
        post_as(
            YAML,
            MAPS,
            Text(
                "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g]\n",
            ),
        ),
        bad("error converting YAML to JSON: "),
    ),
    // Protobuf.
    (
        "no protobuf",
        post_as(PROTOBUF, PODS, Text("{}")),
        bad("provided data does not appear to be a protobuf message, expected prefix 6b387300"),
    ),
    ("protobuf without a kind", post_as(PROTOBUF, PODS, Raw(b"k8s\0")), bad("Object 'Kind' is missing")),
    (
        "protobuf that ends too soon",
        post_as(PROTOBUF, PODS, Raw(b"k8s\0\x0a\x7f")),
        bad("the body of the request is not valid protobuf"),
    ),
    (
        "an object in protobuf that ends too soon",
        post_as(PROTOBUF, PODS, Raw(b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02\x0a\x7f")),
        bad("not valid protobuf"),
    ),
    (
        "a text in protobuf that is not UTF-8",
        post_as(PROTOBUF, PODS, Raw(b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\x03\x0a\x01\xff")),
        bad("not valid protobuf"),
    ),
    (
        "another kind in protobuf",
        post_as(PROTOBUF, PODS, Raw(b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07Service\x12\x00")),
        bad("cannot be handled as a Pod"),
    ),
    (
        "a kind that has no protobuf",
        post_as(
            PROTOBUF,
            "/apis/example.com/v1/namespaces/default/things",
            Raw(b"k8s\0\x0a\x17\x0a\x0eexample.com/v1\x12\x05Thing"),
        ),
        Told(415, "UnsupportedMediaType", "does not read for Thing"),
    ),
    ("protobuf called JSON", post_as(JSON, PODS, Raw(b"k8s\0\x0a\x00")), bad("(6b3873000a00)")),
    // Media types.
    (
        "a media type nobody reads",
        post_as("text/plain", PODS, Text("{}")),
        Told(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format (text/plain) - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
    ),
    (
        "a patch without its media type",
        patch(JSON, HELD, "{}"),
        Told(
            415,
            "UnsupportedMediaType",
            "accepted media types include: application/json-patch+json, application/merge-patch+json",
        ),
    ),
    (
        "a strategic patch of a custom resource",
        patch(STRATEGIC, THING, "{}"),
        Told(
            415,
            "UnsupportedMediaType",
            "accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ),
    ),
];
