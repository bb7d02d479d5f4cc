use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn checked(schema: &Value) -> Vec<String> {
    let mut causes = Vec::new();
    check_rules(schema, "root", false, &mut causes);
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// The schema of a resource with this `spec`.
fn of_spec(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn parsed(spec: Value) -> Schema {
    let schema = of_spec(spec);
    assert_eq!(checked(&schema), Vec::<String>::new());
    Schema::parse(&schema)
}

fn wrong(schema: &Schema, spec: Value) -> Vec<String> {
    let mut causes = Vec::new();
    schema.validate(&json!({"spec": spec}), None, &mut causes);
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn values_are_refused_in_kubernetes_words() {
    let cases = [
        (
            json!({"type": "integer", "maximum": 3, "exclusiveMaximum": true}),
            json!(3),
            "spec: Invalid value: 3: spec in body should be less than 3",
        ),
        (
            json!({"type": "number", "minimum": 0.5}),
            json!(0.25),
            "spec: Invalid value: 0.25: spec in body should be greater than or equal to 0.5",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec: Invalid value: 7: spec in body should be a multiple of 5",
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "minLength": 1}),
            json!(""),
            "spec: Invalid value: \"\": spec in body should be at least 1 chars long",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            "spec: Invalid value: \"now\": spec in body must be of type date-time: \"now\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
            json!([]),
            "spec: Invalid value: 0: spec in body should have at least 1 items",
        ),
        (
            json!({"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({}),
            "spec: Invalid value: 0: spec in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}),
            json!({"a": "", "b": ""}),
            "spec: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({}),
            "spec.a: Required value",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "boolean"}}),
            json!({"x": 1}),
            "spec.x: Invalid value: \"integer\": spec.x in body must be of type boolean: \"integer\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "b", "a"]),
            "spec[2]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]}),
            json!("c"),
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "string", "not": {"pattern": "^a"}}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "spec: Invalid value: \"boolean\": spec in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"apiVersion": "v1"}),
            "spec.kind: Required value: must not be empty",
        ),
    ];
    for (schema, value, expected) in cases {
        let schema = parsed(schema);
        assert_eq!(wrong(&schema, value).first().map(String::as_str), Some(expected));
    }
}

#[test]
fn values_that_are_fine_pass() {
    for (schema, value) in [
        (json!({"type": "integer"}), json!(2.0)),
        (json!({"type": "string", "nullable": true, "minLength": 3}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true}), json!("50%")),
        (json!({"type": "string", "format": "creditcard"}), json!("anything")),
        (json!({"type": "string", "maxLength": 2}), json!("ää")),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"b": "x"}),
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}}),
            json!([{"a": "x"}, {"a": "y"}]),
        ),
    ] {
        assert_eq!(wrong(&parsed(schema), value), Vec::<String>::new());
    }
}

#[test]
fn what_did_not_change_is_not_looked_at_again() {
    let schema = parsed(json!({"type": "object", "properties": {
        "old": {"type": "string", "maxLength": 1}, "new": {"type": "string", "maxLength": 1}}}));
    let before = json!({"spec": {"old": "long"}});
    let mut causes = Vec::new();
    schema.validate(&json!({"spec": {"old": "long", "new": "a"}}), Some(&before), &mut causes);
    assert_eq!(causes, []);
    schema.validate(&json!({"spec": {"old": "longer"}}), Some(&before), &mut causes);
    assert_eq!(causes.len(), 1);
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let schema = parsed(json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "closed": {"type": "object", "properties": {"k": {"type": "integer", "default": 1}}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "boolean", "default": true}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "string"}}}},
        "null": {"type": "string", "nullable": true, "default": "n"},
        "no": {"type": "string"},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
    }}));
    let mut object = json!({
        "apiVersion": "example.com/v1", "kind": "X", "metadata": {"name": "x", "nothing": 1},
        "extra": 1,
        "spec": {
            "b": 1, "open": {"any": [1], "closed": {"l": 1}}, "list": [{"c": 1}], "map": {"k": {"n": "", "m": 1}},
            "null": null, "no": null, "template": {"kind": "Pod", "apiVersion": "v1", "metadata": {"labels": {}}, "x": 1},
        },
    });
    let unknown = schema.prune(object.as_object_mut().unwrap()).unwrap();
    assert_eq!(
        unknown,
        [
            "unknown field \"metadata.nothing\"",
            "unknown field \"extra\"",
            "unknown field \"spec.b\"",
            "unknown field \"spec.open.closed.l\"",
            "unknown field \"spec.list[0].c\"",
            "unknown field \"spec.map.k.m\"",
            "unknown field \"spec.template.x\"",
        ]
    );
    schema.fill(&mut object);
    let spec = json!({
        "a": "x", "open": {"any": [1], "closed": {"k": 1}}, "list": [{"b": true}], "map": {"k": {"n": ""}},
        "null": null, "template": {"kind": "Pod", "apiVersion": "v1", "metadata": {}},
    });
    assert_eq!(object["spec"], spec);
    let wrong = schema.prune(json!({"metadata": {"labels": {"a": 1}}}).as_object_mut().unwrap()).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    );
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let cases = [
        (json!({"properties": {}}), "root.type: Required value: must not be empty at the root"),
        (json!({"type": "string"}), "root.type: Invalid value: \"string\": must be object at the root"),
        (
            of_spec(json!({"description": "nothing"})),
            "root.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (of_spec(json!({"type": "array"})), "root.properties[spec].items: Required value: must be specified"),
        (
            of_spec(json!({"type": "text"})),
            "root.properties[spec].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \
             \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            of_spec(json!({"type": "object", "anyOf": [{"properties": {"a": {"pattern": "x"}}}]})),
            "root.properties[spec].properties[a]: Required value: because it is defined in \
             root.properties[spec].anyOf[0].properties[a]",
        ),
        (
            of_spec(json!({"type": "string", "allOf": [{"type": "string"}]})),
            "root.properties[spec].allOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            of_spec(json!({"type": "string", "pattern": "("})),
            "root.properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: \
             unclosed group",
        ),
        (
            of_spec(json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
            "root.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime \
             complexity becomes quadratic",
        ),
        (
            of_spec(json!({"$ref": "#/x", "type": "object"})),
            "root.properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            of_spec(json!({"type": "string", "default": 1})),
            "root.properties[spec].default: Invalid value: \"integer\": root.properties[spec].default in body must \
             be of type string: \"integer\"",
        ),
        (
            of_spec(json!({"type": "object", "default": {"x": 1}})),
            "root.properties[spec].default: Invalid value: {\"x\":1}: must not have unknown fields",
        ),
        (
            of_spec(json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"})),
            "root.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if \
             x-kubernetes-list-type is map",
        ),
        (
            of_spec(
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            ),
            "root.properties[spec].items.properties[a].default: Required value: this property is in \
             x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "root.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but \
             metadata is implicitly specified",
        ),
        (
            of_spec(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            ),
            "root.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual \
             exclusive",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            "root.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(checked(&schema).first().map(String::as_str), Some(expected), "{schema}");
    }
    let metadata = json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}},
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}});
    assert_eq!(checked(&metadata), Vec::<String>::new());
    let mut causes = Vec::new();
    Schema::parse(&metadata).validate(&json!({"metadata": {"name": "long"}}), None, &mut causes);
    assert_eq!(causes[0].field, "metadata.name");
}

#[test]
fn beside_a_status_the_root_says_little() {
    let mut causes = Vec::new();
    let schema = json!({"type": "object", "oneOf": [{"required": ["spec"]}], "properties": {"spec": {"type": "object"}}});
    check_rules(&schema, "root", true, &mut causes);
    assert!(causes[0].message.contains("fields are allowed at the root of the schema"), "{causes:?}");
}

/// JSON that looks like a schema in places.
fn json_values() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just("object".to_owned()),
        Just("array".to_owned()),
        Just("string".to_owned()),
        Just("map".to_owned()),
        Just("set".to_owned()),
        "[a-c(\\[]{0,3}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON", |number| number.is_finite()).prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "type",
        "properties",
        "items",
        "additionalProperties",
        "anyOf",
        "allOf",
        "not",
        "default",
        "enum",
        "required",
        "pattern",
        "minimum",
        "maxItems",
        "format",
        "spec",
        "metadata",
        "a",
        "name",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "nullable",
        "multipleOf",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_and_any_object_are_taken_or_refused(schema in json_values(), object in json_values()) {
        _ = checked(&schema);
        let schema = Schema::parse(&schema);
        let mut object = json!({"spec": object, "metadata": {}});
        _ = schema.prune(object.as_object_mut().unwrap());
        schema.fill(&mut object);
        let mut again = object.clone();
        schema.fill(&mut again);
        prop_assert_eq!(&again, &object, "defaulting twice is defaulting once");
        schema.validate(&object, None, &mut Vec::new());
        let mut causes = Vec::new();
        schema.validate(&object, Some(&object), &mut causes);
        prop_assert_eq!(causes, vec![]);
    }
}
