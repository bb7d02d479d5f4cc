//! The operations of a JSON patch (RFC 6902), one after the other, within bounds: a `copy` of what the copy before it
//! made doubles the object, so that a patch of a few hundred bytes could take all memory, or nest deeper than a stack.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status::Status;

/// Most operations of one patch (`maxJSONPatchOperations` of `apiserver/pkg/endpoints/handlers`).
const MOST_OPERATIONS: usize = 10_000;
/// Most bytes that the copies of one patch may add; Kubernetes' limit is that of a body (`AccumulatedCopySizeLimit`).
const MOST_COPIED: usize = 3 * 1024 * 1024;
/// Deepest nesting of an object. The store reads what it holds with serde_json, which stops at 128 levels, and
/// managedFields nest a few levels deeper than the fields they name.
pub(super) const DEEPEST: usize = 100;

/// Applies the operations.
///
/// # Errors
/// 413 when there are too many of them, 422 when one fails or the object would grow beyond the bounds.
pub(super) fn apply(object: &mut Value, operations: &[PatchOperation]) -> Result<(), Status> {
    if operations.len() > MOST_OPERATIONS {
        let mut refused = Status::too_large(MOST_COPIED);
        refused.message = format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        );
        return Err(refused);
    }
    let mut copied = 0;
    for (place, operation) in operations.iter().enumerate() {
        let (value, copies) = match operation {
            PatchOperation::Add(add) => (Some(&add.value), false),
            PatchOperation::Replace(replace) => (Some(&replace.value), false),
            PatchOperation::Copy(copy) => (object.pointer(copy.from.as_str()), true),
            PatchOperation::Move(moved) => (object.pointer(moved.from.as_str()), false),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => (None, false),
        };
        if let Some(value) = value {
            if operation.path().tokens().count() + depth(value) > DEEPEST {
                return Err(Status::unprocessable(format!(
                    "operation {place} of the JSON patch nests the object deeper than {DEEPEST} levels"
                )));
            }
            if copies {
                copied += value.to_string().len();
            }
            if copied > MOST_COPIED {
                return Err(Status::unprocessable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MOST_COPIED}"
                )));
            }
        }
        json_patch::patch_unsafe(object, std::slice::from_ref(operation)).map_err(|mut error| {
            error.operation = place;
            Status::unprocessable(format!(
                "the server rejected our request due to an error in our request: {error}"
            ))
        })?;
    }
    Ok(())
}

/// Levels of objects and lists. What is measured is never deeper than a body may be, or than [`DEEPEST`].
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(object: &Value, operations: Value) -> Result<Value, Status> {
        let operations: Vec<PatchOperation> = serde_json::from_value(operations).unwrap();
        let mut object = object.clone();
        apply(&mut object, &operations).map(|()| object)
    }

    fn refusal(operations: Value) -> (u16, String) {
        let refused = run(&json!({"a": {"b": "c"}}), operations).unwrap_err();
        (refused.code, refused.message)
    }

    #[test]
    fn operations_follow_each_other() {
        let operations = json!([
            {"op": "copy", "from": "/a", "path": "/d"}, {"op": "move", "from": "/a", "path": "/d/e"},
            {"op": "test", "path": "/d/e/b", "value": "c"}, {"op": "remove", "path": "/d/b"}]);
        assert_eq!(run(&json!({"a": {"b": "c"}}), operations).unwrap(), json!({"d": {"e": {"b": "c"}}}));
        let (code, message) =
            refusal(json!([{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}]));
        assert!(code == 422 && message.contains("operation '/1' failed at path '/a'"), "{message}");
    }

    #[test]
    fn a_patch_that_blows_up_is_refused() {
        let doubling: Vec<Value> = (0..40)
            .flat_map(|n| {
                [
                    json!({"op": "copy", "from": "/a", "path": "/x"}),
                    json!({"op": "move", "from": "/x", "path": format!("/a/{n}")}),
                ]
            })
            .collect();
        let (code, message) = refusal(doubling.into());
        assert!(code == 422 && message.starts_with("Unable to complete the copy, "), "{message}");
        let nested = (0..60).fold(json!(1), |inner, _| json!([inner]));
        let deep = json!([
            {"op": "add", "path": "/a", "value": nested},
            {"op": "copy", "from": "/a", "path": format!("/a{}/-", "/0".repeat(59))}]);
        let (code, message) = refusal(deep);
        assert!(code == 422 && message.contains("operation 1 of the JSON patch nests"), "{message}");
        let many = vec![json!({"op": "test", "path": "/a/b", "value": "c"}); MOST_OPERATIONS + 1];
        assert_eq!(refusal(many.into()).0, 413);
    }
}
