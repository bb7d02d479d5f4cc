//! What may change in a pod that exists.

use serde_json::Value;

use crate::kinds::field::{items, list};
use crate::status::Cause;

/// Kubernetes' own text, without the printed difference.
const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn validate(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for part in ["containers", "initContainers"] {
        let pointer = format!("/spec/{part}");
        if items(new, &pointer).len() != items(old, &pointer).len() {
            let detail = "pod updates may not add or remove containers";
            causes.push(Cause::forbidden(format!("spec.{part}"), detail));
            return;
        }
    }
    let (Some(now), Some(before)) = (new.get("spec"), old.get("spec")) else { return };
    deadline(now, before, causes);
    let kept = |toleration: &&Value| list(now, "tolerations").contains(toleration);
    if !list(before, "tolerations").iter().all(|toleration| kept(&toleration)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.push(Cause::forbidden("spec.tolerations", detail));
    }
    if rest(now, before) != *before {
        causes.push(Cause::forbidden("spec", ALLOWED));
    }
}

fn deadline(now: &Value, before: &Value, causes: &mut Vec<Cause>) {
    let key = "activeDeadlineSeconds";
    let (now, before) = (now.get(key), before.get(key));
    let (Some(old), true) = (before, now != before) else { return };
    let detail = match now {
        None => "must not update from a positive integer to nil value".to_owned(),
        Some(new) if new.as_i64() > old.as_i64() => "must be less than or equal to previous value".to_owned(),
        Some(_) => return,
    };
    causes.push(Cause::invalid("spec.activeDeadlineSeconds", now.unwrap_or(&Value::Null), detail));
}

/// The new spec with everything that may change set back to what it was.
fn rest(now: &Value, before: &Value) -> Value {
    let mut rest = now.clone();
    let Some(map) = rest.as_object_mut() else { return rest };
    let negative_grace =
        before.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|grace| grace < 0);
    let mut free = vec!["activeDeadlineSeconds", "tolerations"];
    if negative_grace && now.get("terminationGracePeriodSeconds").and_then(Value::as_i64) == Some(1) {
        free.push("terminationGracePeriodSeconds");
    }
    for key in free {
        match before.get(key) {
            Some(value) => {
                map.insert(key.to_owned(), value.clone());
            }
            None => {
                map.shift_remove(key);
            }
        }
    }
    for part in ["containers", "initContainers"] {
        let Some(containers) = map.get_mut(part).and_then(Value::as_array_mut) else { continue };
        for (container, old) in containers.iter_mut().zip(list(before, part)) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), old.get("image")) {
                container.insert("image".to_owned(), image.clone());
            }
        }
    }
    rest
}
