//! Event of the core group.

use jiff::Timestamp;
use serde_json::Value;

use super::field::{member, number, text};
use super::strategy::Rules;
use super::table::{self, Column};
use crate::status::Cause;

pub(super) const COLUMNS: &[Column] = &[
    Column::text("Last Seen"),
    Column::text("Type"),
    Column::text("Reason"),
    Column::text("Object"),
    Column::text("Subobject").wide(),
    Column::text("Source").wide(),
    Column::text("Message"),
    Column::text("First Seen").wide(),
    Column::number("Count").wide(),
    Column::NAME.wide(),
];

pub(super) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = first_text(object, &["/firstTimestamp", "/eventTime"]);
    let last =
        first_text(object, &["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"]);
    let count =
        number(object, "/series/count").or_else(|| number(object, "/count")).filter(|count| *count > 0);
    let involved = object.get("involvedObject").unwrap_or(&Value::Null);
    let kind = member(involved, "kind").to_lowercase();
    let name = member(involved, "name");
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    let component = first_text(object, &["/source/component", "/reportingComponent"]);
    let host = first_text(object, &["/source/host", "/reportingInstance"]);
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        table::since(last, now).into(),
        member(object, "type").into(),
        member(object, "reason").into(),
        target.into(),
        member(involved, "fieldPath").into(),
        source.into(),
        member(object, "message").trim().into(),
        table::since(first, now).into(),
        count.unwrap_or(1).into(),
        table::name(object),
    ]
}

fn first_text<'a>(object: &'a Value, pointers: &[&str]) -> &'a str {
    pointers.iter().map(|pointer| text(object, pointer)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Event's rules.
pub(super) struct Event;

impl Rules for Event {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        // Events about objects without a namespace are kept in `default`.
        let (own, involved) =
            (text(object, "/metadata/namespace"), text(object, "/involvedObject/namespace"));
        let fits =
            if involved.is_empty() { own == "default" || own == "kube-system" } else { own == involved };
        if !fits {
            let detail = "does not match event.namespace";
            causes.push(Cause::invalid("involvedObject.namespace", &Value::from(involved), detail));
        }
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
            ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
            ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
            ("reason", "/reason"),
            ("reportingComponent", "/reportingComponent"),
            ("source", "/source/component"),
            ("type", "/type"),
        ]
    }
}
