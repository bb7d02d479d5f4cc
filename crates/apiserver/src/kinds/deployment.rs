//! Deployment of apps.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::field::{self, fill, member, non_negative, number};
use super::strategy::Rules;
use super::table::{self, Column};
use super::workload;
use crate::status::Cause;

const STRATEGIES: &[&str] = &["Recreate", "RollingUpdate"];

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Ready"),
    Column::number("Up-to-date"),
    Column::number("Available"),
    Column::AGE,
    Column::text("Containers").wide(),
    Column::text("Images").wide(),
    Column::text("Selector").wide(),
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |pointer| number(object, pointer).unwrap_or_default();
    let (names, images) = table::containers(object);
    vec![
        table::name(object),
        format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas")).into(),
        count("/status/updatedReplicas").into(),
        count("/status/availableReplicas").into(),
        table::age(object, now),
        names,
        images,
        table::selector(object.pointer("/spec/selector")),
    ]
}

/// Deployment's rules.
pub(super) struct Deployment;

impl Rules for Deployment {
    fn fresh_status(&self) -> Option<Value> {
        Some(json!({}))
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = field::spec(object) else { return };
        workload::default_template(spec);
        fill(spec, "revisionHistoryLimit", 10);
        fill(spec, "progressDeadlineSeconds", 600);
        let Some(strategy) = field::object(spec, "strategy") else { return };
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type") == Some(&json!("RollingUpdate"))
            && let Some(rolling) = field::object(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        workload::validate(object, causes);
        let Some(spec) = object.get("spec") else { return };
        non_negative(spec, "revisionHistoryLimit", "spec", causes);
        non_negative(spec, "progressDeadlineSeconds", "spec", causes);
        let deadline = number(spec, "/progressDeadlineSeconds").unwrap_or_default();
        if deadline <= number(spec, "/minReadySeconds").unwrap_or_default() {
            let detail = "must be greater than minReadySeconds";
            causes.push(Cause::invalid("spec.progressDeadlineSeconds", &Value::from(deadline), detail));
        }
        validate_strategy(spec.get("strategy").unwrap_or(&Value::Null), causes);
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        workload::validate_update(new, old, causes);
    }

    fn validate_status(&self, new: &Value, _old: &Value, causes: &mut Vec<Cause>) {
        workload::validate_status(new, causes);
    }
}

fn validate_strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    field::one_of(strategy, "type", "spec.strategy", STRATEGIES, causes);
    let Some(rolling) = strategy.get("rollingUpdate") else { return };
    let path = "spec.strategy.rollingUpdate";
    if member(strategy, "type") == "Recreate" {
        causes.push(Cause::forbidden(path, "may not be specified when strategy `type` is 'Recreate'"));
        return;
    }
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|key| {
        let value = rolling.get(key).unwrap_or(&Value::Null);
        share(value, &format!("{path}.{key}"), causes)
    });
    if unavailable == Some(0) && surge == Some(0) {
        let field = format!("{path}.maxUnavailable");
        let value = rolling.get("maxUnavailable").unwrap_or(&Value::Null);
        causes.push(Cause::invalid(field, value, "may not be 0 when `maxSurge` is 0"));
    }
    if unavailable.is_some_and(|share| share > 100)
        && rolling.get("maxUnavailable").is_some_and(Value::is_string)
    {
        let value = rolling.get("maxUnavailable").unwrap_or(&Value::Null);
        causes.push(Cause::invalid(format!("{path}.maxUnavailable"), value, "must not be greater than 100%"));
    }
}

/// A number of pods or a percentage, `None` when it is neither.
pub(super) fn share(value: &Value, path: &str, causes: &mut Vec<Cause>) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        if number < 0 {
            causes.push(Cause::invalid(path, value, "must be greater than or equal to 0"));
            return None;
        }
        return Some(number);
    }
    let digits = value.as_str().and_then(|text| text.strip_suffix('%'));
    let percent = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let percent = percent.and_then(|digits| digits.parse().ok());
    if percent.is_none() {
        let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
             regex used for validation is '[0-9]+%')";
        causes.push(Cause::invalid(path, value, detail));
    }
    percent
}
