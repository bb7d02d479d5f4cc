//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub(crate) type Labels = BTreeMap<String, String>;

/// Whether `labels` hold every pair of `wanted`.
pub(crate) fn has_all(labels: Option<&Labels>, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether a selector chooses an object with these labels. A selector without any condition chooses everything
/// (`LabelSelectorAsSelector` of apimachinery); an operator that does not exist chooses nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    if selector.match_labels.as_ref().is_some_and(|wanted| !has_all(labels, wanted)) {
        return false;
    }
    selector.match_expressions.iter().flatten().all(|requirement| {
        let value = labels.and_then(|labels| labels.get(&requirement.key));
        let listed =
            value.is_some_and(|value| requirement.values.iter().flatten().any(|allowed| allowed == value));
        match requirement.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    })
}

/// The name under which an index finds objects by one label of theirs: `namespace`, then the label.
pub(crate) fn label_index_name(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace}\0{key}\0{value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
            match_labels: None,
        }
    }

    #[test]
    fn operators_choose_as_kubernetes_does() {
        let httpd = labels(&[("run", "httpd")]);
        assert!(matches(&expression("run", "In", &["nginx", "httpd"]), Some(&httpd)));
        assert!(!matches(&expression("run", "NotIn", &["nginx", "httpd"]), Some(&httpd)));
        assert!(matches(&expression("tier", "NotIn", &["web"]), Some(&httpd)));
        assert!(matches(&expression("run", "Exists", &[]), Some(&httpd)));
        assert!(!matches(&expression("run", "DoesNotExist", &[]), Some(&httpd)));
        assert!(!matches(&expression("run", "Gt", &["1"]), Some(&httpd)));
        assert!(!matches(&expression("run", "In", &["httpd"]), None));
    }

    #[test]
    fn an_empty_selector_chooses_everything() {
        assert!(matches(&LabelSelector::default(), None));
        assert!(has_all(None, &Labels::new()));
        assert!(!has_all(None, &labels(&[("run", "httpd")])));
    }
}
