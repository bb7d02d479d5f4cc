//! Whether a pod may run on a node: selectors, required affinity, taints.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

use crate::selector::has_all;

/// Whether the pod's `nodeSelector` and required node affinity choose the node.
pub(crate) fn selects(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    if spec.node_selector.as_ref().is_some_and(|wanted| !has_all(labels, wanted)) {
        return false;
    }
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// All conditions of a term hold; a term without any matches nothing.
fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label =
        |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_deref()).flatten();
    let mut expressions = term.match_expressions.iter().flatten().peekable();
    let mut fields = term.match_fields.iter().flatten().peekable();
    (expressions.peek().is_some() || fields.peek().is_some())
        && expressions.all(|requirement| holds(requirement, label(&requirement.key)))
        && fields.all(|requirement| holds(requirement, field(&requirement.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let mut values = requirement.values.iter().flatten();
    let number = |text: &str| text.parse::<i64>().ok();
    match (requirement.operator.as_str(), value) {
        ("In", Some(value)) => values.any(|allowed| allowed == value),
        ("NotIn", Some(value)) => values.all(|refused| refused != value),
        ("NotIn" | "DoesNotExist", None) | ("Exists", Some(_)) => true,
        ("Gt" | "Lt", Some(value)) => {
            let bound = values.next().and_then(|bound| number(bound));
            match (number(value), bound) {
                (Some(value), Some(bound)) if requirement.operator == "Gt" => value > bound,
                (Some(value), Some(bound)) => value < bound,
                _ => false,
            }
        }
        _ => false,
    }
}

/// The first taint of `taints` that keeps the pod away.
pub(crate) fn untolerated<'a>(
    spec: &PodSpec,
    taints: impl IntoIterator<Item = &'a Taint>,
) -> Option<&'a Taint> {
    let keeps_away = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let mut taints = taints.into_iter().filter(keeps_away);
    taints.find(|taint| !spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint)))
}

/// Whether a toleration is for a taint (`ToleratesTaint`).
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty = |text: Option<&str>| text.unwrap_or_default().is_empty();
    let effect =
        empty(toleration.effect.as_deref()) || toleration.effect.as_deref() == Some(taint.effect.as_str());
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = if empty(toleration.key.as_deref()) {
        exists
    } else {
        toleration.key.as_deref() == Some(taint.key.as_str())
    };
    let value = exists
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && key && value
}
