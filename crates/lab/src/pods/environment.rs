//! Environment variables of a container, and `$(NAME)` in its command and arguments.
//!
//! The rules are those of Kubernetes' `third_party/forked/golang/expansion`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::spec::{ContainerSpec, PodSpec};

/// A variable as the manifest defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The variable's name.
    pub name: String,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a variable's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Text, in which `$(NAME)` stands for an earlier variable.
    Literal(String),
    /// A field of the pod.
    Field(FieldPath),
}

/// A field of the pod that a variable can take (`fieldRef.fieldPath`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPath {
    /// metadata.name
    Name,
    /// metadata.namespace
    Namespace,
    /// metadata.uid
    Uid,
    /// metadata.labels['KEY']
    Label(String),
    /// metadata.annotations['KEY']
    Annotation(String),
    /// spec.nodeName
    NodeName,
    /// spec.serviceAccountName
    ServiceAccount,
    /// status.podIP and status.podIPs: a pod has one address
    PodAddress,
    /// status.hostIP and status.hostIPs
    HostAddress,
}

impl FieldPath {
    /// Reads a field path; `None` for a field that the downward API does not have.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let keyed = |prefix: &str| {
            path.strip_prefix(prefix)?.strip_suffix("']").filter(|key| !key.is_empty()).map(str::to_owned)
        };
        Some(match path {
            "metadata.name" => Self::Name,
            "metadata.namespace" => Self::Namespace,
            "metadata.uid" => Self::Uid,
            "spec.nodeName" => Self::NodeName,
            "spec.serviceAccountName" => Self::ServiceAccount,
            "status.podIP" | "status.podIPs" => Self::PodAddress,
            "status.hostIP" | "status.hostIPs" => Self::HostAddress,
            _ => {
                return keyed("metadata.labels['")
                    .map(Self::Label)
                    .or_else(|| keyed("metadata.annotations['").map(Self::Annotation));
            }
        })
    }

    fn value(&self, pod: &PodSpec, addresses: Addresses) -> String {
        match self {
            Self::Name => pod.name.clone(),
            Self::Namespace => pod.namespace.clone(),
            Self::Uid => pod.uid.clone(),
            Self::Label(key) => pod.labels.get(key).cloned().unwrap_or_default(),
            Self::Annotation(key) => pod.annotations.get(key).cloned().unwrap_or_default(),
            Self::NodeName => pod.node.clone(),
            Self::ServiceAccount => pod.service_account.clone(),
            Self::PodAddress => addresses.pod.to_string(),
            Self::HostAddress => addresses.host.to_string(),
        }
    }
}

/// The addresses that variables can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's.
    pub pod: Ipv4Addr,
    /// Its node's.
    pub host: Ipv4Addr,
}

/// Command, arguments and environment of a container, ready for the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Replaces the image's entrypoint unless empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments unless empty.
    pub args: Vec<String>,
    /// Added to the image's environment, by name, in the manifest's order.
    pub environment: Vec<(String, String)>,
}

impl Expanded {
    /// Gives every variable its value, in order, and puts the values into command and arguments.
    #[must_use]
    pub fn of(container: &ContainerSpec, pod: &PodSpec, addresses: Addresses) -> Self {
        let mut known = BTreeMap::new();
        let mut environment: Vec<(String, String)> = Vec::new();
        for variable in &container.environment {
            let value = match &variable.source {
                Source::Literal(text) => expand(text, &known),
                Source::Field(field) => field.value(pod, addresses),
            };
            known.insert(variable.name.clone(), value.clone());
            match environment.iter_mut().find(|(name, _)| *name == variable.name) {
                Some(slot) => slot.1 = value,
                None => environment.push((variable.name.clone(), value)),
            }
        }
        let all = |words: &[String]| words.iter().map(|word| expand(word, &known)).collect();
        Self { command: all(&container.command), args: all(&container.args), environment }
    }
}

/// Replaces `$(NAME)` where NAME is known and leaves it as written where it is not; `$$` is a `$`.
#[must_use]
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_follows_kubernetes() {
        let known = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        for (text, want) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(E)|", "|"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("cost: 5$", "cost: 5$"),
        ] {
            assert_eq!(expand(text, &known), want, "{text}");
        }
    }

    #[test]
    fn field_paths() {
        assert_eq!(FieldPath::parse("status.podIP"), Some(FieldPath::PodAddress));
        assert_eq!(FieldPath::parse("metadata.labels['run']"), Some(FieldPath::Label("run".into())));
        assert_eq!(FieldPath::parse("spec.containers"), None);
    }

    proptest::proptest! {
        #[test]
        fn text_without_a_dollar_is_untouched(text in "[^$]*") {
            proptest::prop_assert_eq!(expand(&text, &BTreeMap::new()), text);
        }
    }
}
