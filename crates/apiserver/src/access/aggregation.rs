//! ClusterRoles that are made of others: those whose labels an `aggregationRule` selects
//! (`pkg/controller/clusterroleaggregation`).

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::rule::Rule;
use crate::selector::LabelSelector;
use crate::store::{
    ListQuery, Operation, Record, Start, Store, Subscription, WatchError, WriteError, labels_of,
};

const RESOURCE: &str = "clusterroles.rbac.authorization.k8s.io";
/// Roles of roles of roles: more levels than anybody has.
const LEVELS: usize = 8;

/// Brings all aggregated roles up to date, those first that others are made of.
pub(crate) async fn aggregate(store: &Store) {
    for _ in 0..LEVELS {
        if !pass(store).await {
            return;
        }
    }
}

/// Keeps aggregated roles up to date until the server stops.
pub(crate) async fn keep_aggregated(store: Arc<Store>, mut stop: watch::Receiver<bool>) {
    let subscribe = |after| store.subscribe(RESOURCE, None, after);
    let mut events: Result<Subscription, WatchError> = subscribe(store.revision());
    loop {
        aggregate(&store).await;
        let Ok(feed) = &mut events else {
            // Events went by unseen: everything is looked at again, above.
            events = subscribe(store.revision());
            continue;
        };
        tokio::select! {
            seen = feed.next() => match seen {
                Ok(_) => {}
                Err(WatchError::Closed) => return,
                Err(lost) => events = Err(lost),
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One look at all ClusterRoles; true when something was written.
async fn pass(store: &Store) -> bool {
    let start = Start::Latest { at_least: 0 };
    let query = ListQuery { resource: RESOURCE, namespace: None, start, limit: None };
    let records = match store.list(&query, |_| true) {
        Ok(page) => page.records,
        Err(error) => {
            tracing::error!(%error, "aggregated ClusterRoles are not kept: the store cannot be read");
            return false;
        }
    };
    let mut written = false;
    for (record, object) in outdated(&records) {
        let (key, expected) = (record.key.clone(), record.revision);
        match store.write(Operation::Update { key, expected, object }).await {
            Ok(_) => written = true,
            // Somebody else was faster; that change comes by as an event.
            Err(WriteError::Modified | WriteError::Missing | WriteError::Closed) => {}
            Err(error) => {
                tracing::error!(role = record.key.name(), %error, "an aggregated ClusterRole is not kept")
            }
        }
    }
    written
}

/// Pure: the aggregated roles whose rules are not those of the roles they select, with the rules they should have.
fn outdated(records: &[Record]) -> Vec<(&Record, Value)> {
    let mut out = Vec::new();
    for record in records {
        let Ok(mut role) = serde_json::from_slice::<Value>(&record.json) else { continue };
        let selectors = role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array);
        let Some(selectors) = selectors else { continue };
        let selectors: Vec<LabelSelector> = selectors.iter().map(LabelSelector::of_object).collect();
        let mut rules: Vec<Rule> = Vec::new();
        for selector in &selectors {
            let chosen =
                |other: &&Record| other.key != record.key && selector.matches(&labels_of(&other.json));
            for other in records.iter().filter(chosen) {
                let Ok(other) = serde_json::from_slice::<Value>(&other.json) else { continue };
                for rule in Rule::list(&other) {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
        }
        if rules != Rule::list(&role) {
            role["rules"] = rules.iter().map(Rule::to_value).collect();
            out.push((record, role));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Key;

    fn role(name: &str, labels: Value, verb: &str) -> Value {
        json!({"metadata": {"name": name, "labels": labels},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]})
    }

    fn records(roles: &[Value]) -> Vec<Record> {
        let record = |role: &Value| {
            let name = role["metadata"]["name"].as_str().unwrap();
            Record { key: Key::new(RESOURCE, "", name), revision: 1, json: role.to_string().into() }
        };
        roles.iter().map(record).collect()
    }

    #[test]
    fn an_aggregated_role_has_the_rules_of_those_it_selects() {
        let mut all = role("all", json!({"to": "all"}), "x");
        all["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]});
        let mut roles = vec![
            all,
            role("a", json!({"to": "all"}), "get"),
            role("b", json!({"to": "all"}), "get"),
            role("c", json!({}), "list"),
        ];
        let before = records(&roles);
        let found = outdated(&before);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].1["rules"],
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
        );
        roles[0] = found[0].1.clone();
        assert_eq!(outdated(&records(&roles)), [], "what is right is not written again");
        roles[3] = role("c", json!({"to": "all"}), "list");
        assert_eq!(outdated(&records(&roles))[0].1["rules"].as_array().unwrap().len(), 2);
    }
}
