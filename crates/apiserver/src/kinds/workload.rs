//! What Deployment, ReplicaSet and DaemonSet share: the pod template and the selector that must match it.

use serde_json::{Map, Value};

use super::field::{self, fill, items, list, member, non_negative, text, texts};
use super::metadata;
use super::names::{label_value, qualified_name};
use super::pod;
use crate::status::Cause;

/// Fills in `spec.template` and `spec.replicas`.
pub(super) fn default_template(spec: &mut Map<String, Value>) {
    default_pods(spec);
    fill(spec, "replicas", 1);
}

/// Fills in `spec.template`.
pub(super) fn default_pods(spec: &mut Map<String, Value>) {
    if let Some(template) = field::object(spec, "template") {
        // Kubernetes writes `creationTimestamp: null` here; we leave it out.
        field::object(template, "metadata");
        if let Some(pod_spec) = field::object(template, "spec") {
            pod::defaults::spec(pod_spec);
        }
    }
}

/// What is wrong with `spec`'s replicas, selector and template.
pub(super) fn validate(object: &Value, causes: &mut Vec<Cause>) {
    // Of ReplicaSets Kubernetes says the same.
    validate_for(object, "deployment", causes);
}

/// The same for the kind that messages call `kind`.
pub(super) fn validate_for(object: &Value, kind: &str, causes: &mut Vec<Cause>) {
    let Some(spec) = object.get("spec") else {
        causes.push(Cause::required("spec", ""));
        return;
    };
    non_negative(spec, "replicas", "spec", causes);
    non_negative(spec, "minReadySeconds", "spec", causes);
    let Some(selector) = spec.get("selector") else {
        causes.push(Cause::required("spec.selector", ""));
        // A selector that is not there selects nothing, these labels neither.
        causes.push(unmatched(&template_labels(spec)));
        template(spec, causes);
        return;
    };
    let before = causes.len();
    label_selector(selector, "spec.selector", causes);
    if is_empty(selector) {
        let detail = format!("empty selector is invalid for {kind}");
        causes.push(Cause::invalid("spec.selector", selector, detail));
    } else if causes.len() == before {
        let labels = template_labels(spec);
        if !matches(selector, &labels) {
            causes.push(unmatched(&labels));
        }
    }
    template(spec, causes);
}

fn template_labels(spec: &Value) -> Value {
    spec.pointer("/template/metadata/labels").cloned().unwrap_or_else(|| Value::Object(Map::new()))
}

fn unmatched(labels: &Value) -> Cause {
    Cause::invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
}

fn template(spec: &Value, causes: &mut Vec<Cause>) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    metadata::labels(template, "/metadata/labels", "spec.template.labels", causes);
    metadata::annotations(template, "/metadata/annotations", "spec.template.annotations", causes);
    let pod_spec = template.get("spec").unwrap_or(&Value::Null);
    pod::validate::spec(pod_spec, "spec.template.spec", causes);
    let policy = text(pod_spec, "/restartPolicy");
    if policy == "Never" || policy == "OnFailure" {
        causes.push(Cause::not_supported(
            "spec.template.spec.restartPolicy",
            &Value::from(policy),
            &["Always"],
        ));
    }
    if pod_spec.get("activeDeadlineSeconds").is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        causes.push(Cause::forbidden("spec.template.spec.activeDeadlineSeconds", detail));
    }
}

/// The selector of a workload stays what it was.
pub(super) fn validate_update(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    field::immutable(new, old, "/spec/selector", causes);
}

/// Counts in the status are never negative.
pub(super) fn validate_status(new: &Value, causes: &mut Vec<Cause>) {
    let Some(status) = new.get("status") else { return };
    for key in [
        "replicas",
        "readyReplicas",
        "availableReplicas",
        "fullyLabeledReplicas",
        "updatedReplicas",
        "observedGeneration",
    ] {
        non_negative(status, key, "status", causes);
    }
}

fn is_empty(selector: &Value) -> bool {
    texts(selector, "/matchLabels").next().is_none() && list(selector, "matchExpressions").is_empty()
}

/// What is wrong with a meta/v1 LabelSelector.
pub(super) fn label_selector(selector: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (key, value) in texts(selector, "/matchLabels") {
        let field = format!("{path}.matchLabels");
        causes.extend(
            qualified_name(key).into_iter().map(|wrong| Cause::invalid(&*field, &Value::from(key), wrong)),
        );
        causes.extend(
            label_value(value).into_iter().map(|wrong| Cause::invalid(&*field, &Value::from(value), wrong)),
        );
    }
    for (index, expression) in items(selector, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = list(expression, "values");
        match member(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(Cause::required(format!("{path}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(Cause::forbidden(format!("{path}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                causes.push(Cause::invalid(format!("{path}.operator"), &Value::from(other), detail));
            }
        }
        let key = member(expression, "key");
        let wrong = qualified_name(key).into_iter();
        causes.extend(wrong.map(|wrong| Cause::invalid(format!("{path}.key"), &Value::from(key), wrong)));
    }
}

/// Whether a meta/v1 LabelSelector selects these labels (a map).
fn matches(selector: &Value, labels: &Value) -> bool {
    let of = |key: &str| labels.get(key);
    texts(selector, "/matchLabels").all(|(key, value)| of(key).and_then(Value::as_str) == Some(value))
        && list(selector, "matchExpressions").iter().all(|expression| {
            let label = of(member(expression, "key"));
            let listed = label.is_some_and(|label| list(expression, "values").contains(label));
            match member(expression, "operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => label.is_some(),
                _ => label.is_none(),
            }
        })
}
