//! A Service's row.

use jiff::Timestamp;
use serde_json::Value;

use super::{node_port, protocol};
use crate::kinds::field::{items, member, number, text};
use crate::kinds::table::{self, Column};

pub(in crate::kinds) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::text("Type"),
    Column::text("Cluster-IP"),
    Column::text("External-IP"),
    Column::text("Port(s)"),
    Column::AGE,
    Column::text("Selector").wide(),
];

pub(in crate::kinds) fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        table::name(object),
        text(object, "/spec/type").into(),
        table::or_none(text(object, "/spec/clusterIPs/0")),
        external(object).into(),
        table::or_none(ports(object)),
        table::age(object, now),
        table::label_map(object.pointer("/spec/selector")),
    ]
}

fn external(object: &Value) -> String {
    let fixed = items(object, "/spec/externalIPs").iter().filter_map(Value::as_str);
    let shown = match text(object, "/spec/type") {
        "ExternalName" => return text(object, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = items(object, "/status/loadBalancer/ingress").iter();
            let given = ingress.map(|one| {
                Some(member(one, "ip")).filter(|ip| !ip.is_empty()).unwrap_or(member(one, "hostname"))
            });
            let mut all: Vec<&str> = given.filter(|given| !given.is_empty()).collect();
            all.sort_unstable();
            all.extend(fixed);
            if all.is_empty() {
                return "<pending>".to_owned();
            }
            all
        }
        _ => fixed.collect(),
    };
    if shown.is_empty() { "<none>".to_owned() } else { shown.join(",") }
}

fn ports(object: &Value) -> String {
    let shown = items(object, "/spec/ports").iter().map(|port| {
        let number = number(port, "/port").unwrap_or_default();
        match node_port(port) {
            0 => format!("{number}/{}", protocol(port)),
            node_port => format!("{number}:{node_port}/{}", protocol(port)),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}
