//! DaemonSet of apps.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::deployment::share;
use super::field::{self, fill, non_negative, number};
use super::strategy::Rules;
use super::table::{self, Column};
use super::workload;
use crate::status::Cause;

const STRATEGIES: &[&str] = &["OnDelete", "RollingUpdate"];

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::number("Desired"),
    Column::number("Current"),
    Column::number("Ready"),
    Column::number("Up-to-date"),
    Column::number("Available"),
    Column::text("Node Selector"),
    Column::AGE,
    Column::text("Containers").wide(),
    Column::text("Images").wide(),
    Column::text("Selector").wide(),
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |key| Value::from(number(object, &format!("/status/{key}")).unwrap_or_default());
    let (names, images) = table::containers(object);
    vec![
        table::name(object),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        table::label_map(object.pointer("/spec/template/spec/nodeSelector")),
        table::age(object, now),
        names,
        images,
        table::selector(object.pointer("/spec/selector")),
    ]
}

/// DaemonSet's rules.
pub(super) struct DaemonSet;

impl Rules for DaemonSet {
    fn fresh_status(&self) -> Option<Value> {
        // Numbers that Go writes although they are zero.
        Some(json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }))
    }

    fn reset_for_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            field::set(map, "status", self.fresh_status().unwrap_or_default());
        }
        set_template_generation(object, 1);
    }

    fn reset_for_update(&self, new: &mut Value, old: &Value) {
        field::copy(new, old, "status");
        // The templates are compared as they will be stored.
        self.default(new);
        let before = template_generation(old);
        let same = new.pointer("/spec/template") == old.pointer("/spec/template");
        set_template_generation(new, if same { before } else { before + 1 });
    }

    fn default(&self, object: &mut Value) {
        let Some(spec) = field::spec(object) else { return };
        workload::default_pods(spec);
        fill(spec, "revisionHistoryLimit", 10);
        let Some(strategy) = field::object(spec, "updateStrategy") else { return };
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type") == Some(&json!("RollingUpdate"))
            && let Some(rolling) = field::object(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        workload::validate_for(object, "daemonset", causes);
        let Some(spec) = object.get("spec") else { return };
        non_negative(spec, "revisionHistoryLimit", "spec", causes);
        let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
        field::one_of(strategy, "type", "spec.updateStrategy", STRATEGIES, causes);
        if let Some(rolling) = strategy.get("rollingUpdate") {
            validate_rolling(rolling, causes);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, causes: &mut Vec<Cause>) {
        workload::validate_update(new, old, causes);
    }

    fn validate_status(&self, new: &Value, _old: &Value, causes: &mut Vec<Cause>) {
        let Some(status) = new.get("status") else { return };
        for key in [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ] {
            non_negative(status, key, "status", causes);
        }
    }
}

/// Counts the templates that a DaemonSet has had: the field `templateGeneration` of the versions before apps/v1, which
/// has it as an annotation (conversion.go of apps/v1).
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    let annotation = object.pointer("/metadata/annotations").and_then(|all| all.get(TEMPLATE_GENERATION));
    annotation.and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(map) = object.as_object_mut()
        && let Some(metadata) = field::object(map, "metadata")
        && let Some(annotations) = field::object(metadata, "annotations")
    {
        field::set(annotations, TEMPLATE_GENERATION, generation.to_string());
    }
}

/// The rules of `ValidateRollingUpdateDaemonSet`.
fn validate_rolling(rolling: &Value, causes: &mut Vec<Cause>) {
    let path = "spec.updateStrategy.rollingUpdate";
    let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|key| {
        let value = rolling.get(key).unwrap_or(&Value::Null);
        let field = format!("{path}.{key}");
        let amount = share(value, &field, causes);
        if value.is_string() && amount.is_some_and(|amount| amount > 100) {
            causes.push(Cause::invalid(field, value, "must not be greater than 100%"));
        }
        amount
    });
    match (unavailable, surge) {
        (Some(1..), Some(1..)) => {
            let value = rolling.get("maxSurge").unwrap_or(&Value::Null);
            let detail = "may not be set when maxUnavailable is non-zero";
            causes.push(Cause::invalid(format!("{path}.maxSurge"), value, detail));
        }
        (Some(0), Some(0)) => {
            causes.push(Cause::required(format!("{path}.maxUnavailable"), "cannot be 0 when maxSurge is 0"));
        }
        _ => {}
    }
}
