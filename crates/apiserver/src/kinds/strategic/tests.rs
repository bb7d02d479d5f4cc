use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds::testing::kind;

fn merged(name: &str, original: Value, patch: Value) -> Value {
    strategic_merge(kind(name), &original, &patch).unwrap()
}

#[test]
fn containers_merge_by_name_and_their_lists_by_theirs() {
    let original = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}], "args": ["one", "two"]},
        {"name": "b", "image": "b:1"}]}}}});
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}], "args": ["three"]}]}}}});
    let result = merged("Deployment", original, patch);
    assert_eq!(
        result.pointer("/spec/template/spec/containers").unwrap(),
        &json!([
            {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "args": ["three"]},
            {"name": "b", "image": "b:1"}])
    );
}

#[test]
fn directives_delete_replace_and_order() {
    let original = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}});
    let gone = json!({"spec": {"containers": [{"name": "b", "$patch": "delete"}]}});
    assert_eq!(
        merged("Pod", original.clone(), gone)["spec"]["containers"],
        json!([{"name": "a"}, {"name": "c"}])
    );
    let whole = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}});
    assert_eq!(merged("Pod", original.clone(), whole)["spec"]["containers"], json!([{"name": "z"}]));
    let order = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "n"}, {"name": "a"}],
        "containers": [{"name": "n"}]}});
    assert_eq!(
        merged("Pod", original.clone(), order)["spec"]["containers"],
        json!([{"name": "b"}, {"name": "c"}, {"name": "n"}, {"name": "a"}])
    );
    let map = json!({"spec": {"$patch": "replace", "nodeName": "node1"}});
    assert_eq!(merged("Pod", original, map), json!({"spec": {"nodeName": "node1"}}));
}

#[test]
fn retained_keys_and_primitive_lists() {
    let original = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(merged("Deployment", original, patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let original = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}});
    let result = merged("Pod", original, patch);
    assert_eq!(result, json!({"metadata": {"finalizers": ["c", "b"]}}));
}

#[test]
fn nulls_remove_and_atomic_things_are_replaced() {
    let original =
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"tolerations": [{"key": "x"}]}});
    let patch = json!({"metadata": {"labels": {"a": null}}, "spec": {"tolerations": [{"key": "y"}], "nodeName": null}});
    assert_eq!(
        merged("Pod", original, patch),
        json!({"metadata": {"labels": {"b": "2"}}, "spec": {"tolerations": [{"key": "y"}]}})
    );
    let ports = json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 443, "name": "https"}]}});
    let patch = json!({"spec": {"ports": [{"port": 443, "nodePort": 30443}]}});
    assert_eq!(
        merged("Service", ports, patch)["spec"]["ports"],
        json!([{"port": 80, "name": "http"}, {"port": 443, "name": "https", "nodePort": 30443}])
    );
}

#[test]
fn bad_patches_are_refused() {
    let refused = |patch: Value| strategic_merge(kind("Pod"), &json!({}), &patch).unwrap_err().message;
    assert_eq!(refused(json!({"spec": {"$patch": "burn"}})), "unknown patch type \"burn\" found");
    assert_eq!(
        refused(json!({"spec": {"containers": [{"image": "x"}]}})),
        "map: {\"image\":\"x\"} does not contain declared merge key: name"
    );
    assert_eq!(refused(json!([])), "a strategic merge patch must be a JSON object");
}

/// A two-way patch from `old` to `new`, as kubectl makes it.
fn diff(old: &Object, new: &Object, node: Node<'_>) -> Object {
    let mut patch = Object::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let field = node.field(key);
        match (old.get(key), value) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                patch.insert(key.clone(), Value::Object(diff(before, after, field)));
            }
            (Some(Value::Array(before)), Value::Array(after)) => {
                diff_list(&mut patch, key, (before, after), field);
            }
            (_, after) => {
                patch.insert(key.clone(), after.clone());
            }
        }
    }
    patch
}

fn diff_list(patch: &mut Object, key: &str, (before, after): (&[Value], &[Value]), node: Node<'_>) {
    match node.merge() {
        Merge::Plain => {
            patch.insert(key.to_owned(), after.to_vec().into());
        }
        Merge::Set => {
            let gone: Vec<Value> = before.iter().filter(|item| !after.contains(item)).cloned().collect();
            patch.insert(format!("{DELETE_PRIMITIVES}{key}"), gone.into());
            patch.insert(format!("{SET_ORDER}{key}"), after.to_vec().into());
            patch.insert(key.to_owned(), after.to_vec().into());
        }
        Merge::ByKey(name) => {
            let find =
                |list: &[Value], item: &Value| list.iter().find(|other| other[name] == item[name]).cloned();
            let mut items = Vec::new();
            for item in after {
                let mut part = match find(before, item) {
                    Some(Value::Object(old)) => diff(&old, item.as_object().unwrap(), node.item()),
                    _ => item.as_object().unwrap().clone(),
                };
                part.insert(name.to_owned(), item[name].clone());
                items.push(Value::Object(part));
            }
            for item in before.iter().filter(|item| find(after, item).is_none()) {
                items.push(json!({ name: item[name].clone(), PATCH: "delete" }));
            }
            let order: Vec<Value> = after.iter().map(|item| json!({ name: item[name].clone() })).collect();
            patch.insert(format!("{SET_ORDER}{key}"), order.into());
            patch.insert(key.to_owned(), items.into());
        }
    }
}

fn subset(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(names, 0..=names.len()).prop_shuffle()
}

prop_compose! {
    fn container(name: &'static str)(
        image in prop::option::of("[ab]:[12]"),
        env in subset(&["X", "Y", "Z"]),
        values in prop::collection::vec("[0-9]", 3),
        args in prop::option::of(prop::collection::vec("[pq]", 1..3)),
    ) -> Value {
        let mut map = json!({"name": name, "env": env.iter().zip(values).map(|(name, value)| json!({"name": name, "value": value})).collect::<Vec<_>>()});
        if let Some(image) = image { map["image"] = image.into(); }
        if let Some(args) = args { map["args"] = args.into(); }
        map
    }
}

prop_compose! {
    fn pod()(
        containers in (container("a"), container("b"), container("c")),
        kept in prop::sample::subsequence(vec![0_usize, 1, 2], 0..=3).prop_shuffle(),
        labels in prop::collection::btree_map("[a-c]", "[0-9]", 0..3),
        finalizers in subset(&["f/1", "f/2", "f/3"]),
        node in prop::option::of("node[12]"),
    ) -> Value {
        let all = [containers.0, containers.1, containers.2];
        let containers: Vec<Value> = kept.iter().map(|index| all[*index].clone()).collect();
        let mut pod = json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}});
        if let Some(node) = node { pod["spec"]["nodeName"] = node.into(); }
        pod
    }
}

proptest! {
    #[test]
    fn the_patch_of_a_difference_gives_the_target(old in pod(), new in pod()) {
        let patch = diff(old.as_object().unwrap(), new.as_object().unwrap(), Node::root(kind("Pod")));
        let result = strategic_merge(kind("Pod"), &old, &Value::Object(patch)).unwrap();
        prop_assert_eq!(result, new);
    }
}
