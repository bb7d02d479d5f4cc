//! Environment variables of a container, and `$(NAME)` in its command and arguments.
//!
//! The rules are those of Kubernetes' `third_party/forked/golang/expansion`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::ResourceFieldSelector;

use super::objects::{ObjectName, Objects};
use super::quantity::{Amounts, nanos};
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
    /// An amount of a container.
    Resource(ResourceField),
    /// A value of a ConfigMap or Secret.
    Key {
        /// Which one.
        object: ObjectName,
        /// Its key.
        key: String,
        /// Without object or key there is no variable; otherwise that is an error.
        optional: bool,
    },
}

/// All values of a ConfigMap or Secret as variables (`envFrom`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentFrom {
    /// Which one.
    pub object: ObjectName,
    /// Put before each name.
    pub prefix: String,
    /// It need not exist.
    pub optional: bool,
}

/// An amount of a container (`resourceFieldRef`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceField {
    container: Option<String>,
    is_limit: bool,
    is_cpu: bool,
    /// In nano-units.
    divisor: u128,
}

impl ResourceField {
    /// Reads a selector.
    ///
    /// # Errors
    /// For resources other than CPU and memory.
    pub fn parse(selector: &ResourceFieldSelector) -> Result<Self, String> {
        let (is_limit, is_cpu) = match selector.resource.as_str() {
            "limits.cpu" => (true, true),
            "limits.memory" => (true, false),
            "requests.cpu" => (false, true),
            "requests.memory" => (false, false),
            other => return Err(format!("resource {other:?} is not supported")),
        };
        let divisor = selector.divisor.as_ref().and_then(|divisor| nanos(&divisor.0));
        Ok(Self {
            container: selector.container_name.clone().filter(|name| !name.is_empty()),
            is_limit,
            is_cpu,
            divisor: divisor.filter(|divisor| *divisor > 0).unwrap_or(1_000_000_000),
        })
    }

    /// The amount divided by the divisor, rounded up. Of a container without a limit the node's capacity is it.
    ///
    /// `own` is the container that the variable belongs to, if there is one.
    ///
    /// # Errors
    /// When the pod has no such container.
    pub fn value(
        &self,
        pod: &PodSpec,
        own: Option<&ContainerSpec>,
        capacity: Amounts,
    ) -> Result<String, String> {
        let container = match &self.container {
            Some(name) => pod.container(name).ok_or_else(|| format!("container {name} not found"))?,
            None => own.ok_or_else(|| "the resource field names no container".to_owned())?,
        };
        let amounts = if self.is_limit { container.resources.limits } else { container.resources.requests };
        let of = |amounts: Amounts| if self.is_cpu { amounts.cpu } else { amounts.memory };
        let fallback = if self.is_limit { of(capacity) } else { None };
        Ok(of(amounts).or(fallback).unwrap_or(0).div_ceil(self.divisor).to_string())
    }
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
    /// metadata.labels, all of them: files only
    Labels,
    /// metadata.annotations, all of them: files only
    Annotations,
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

    /// Reads the field path of a file in a volume: the fields that do not need a running pod.
    #[must_use]
    pub fn of_volume(path: &str) -> Option<Self> {
        match path {
            "metadata.labels" => Some(Self::Labels),
            "metadata.annotations" => Some(Self::Annotations),
            _ if path.starts_with("metadata.") => Self::parse(path),
            _ => None,
        }
    }

    /// The value; `addresses` are those of a pod that runs.
    #[must_use]
    pub fn value(&self, pod: &PodSpec, addresses: Addresses) -> String {
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
            Self::Labels => lines(&pod.labels),
            Self::Annotations => lines(&pod.annotations),
        }
    }
}

/// One `key="value"` a line, as the kubelet's `FormatMap` writes it.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The addresses that variables can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The pod's.
    pub pod: Ipv4Addr,
    /// Its node's.
    pub host: Ipv4Addr,
}

/// Where values come from that the manifest only names.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The pod's and its node's.
    pub addresses: Addresses,
    /// The variables of Services.
    pub services: &'a [(String, String)],
    /// The ConfigMaps and Secrets that the container names.
    pub objects: &'a Objects,
    /// The node's.
    pub capacity: Amounts,
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
    ///
    /// # Errors
    /// When something that the container names does not exist, in the kubelet's words.
    pub fn of(container: &ContainerSpec, pod: &PodSpec, given: Given<'_>) -> Result<Self, String> {
        let mut environment = from_objects(container, given.objects)?;
        // As in the kubelet, variables refer to the container's own ones and those of Services; command and
        // arguments to all.
        let mut own: BTreeMap<String, String> = given.services.iter().cloned().collect();
        for variable in &container.environment {
            let value = match &variable.source {
                Source::Literal(text) => expand(text, &own),
                Source::Field(field) => field.value(pod, given.addresses),
                Source::Resource(field) => field.value(pod, Some(container), given.capacity)?,
                Source::Key { object, key, optional } => {
                    match value_of(object, key, *optional, pod, given.objects)? {
                        Some(value) => value,
                        None => continue,
                    }
                }
            };
            own.insert(variable.name.clone(), value.clone());
            set(&mut environment, &variable.name, value);
        }
        for (name, value) in given.services {
            if environment.iter().all(|(known, _)| known != name) {
                environment.push((name.clone(), value.clone()));
            }
        }
        let known: BTreeMap<String, String> = environment.iter().cloned().collect();
        let all = |words: &[String]| words.iter().map(|word| expand(word, &known)).collect();
        Ok(Self { command: all(&container.command), args: all(&container.args), environment })
    }
}

/// Sets a variable; one that is set already keeps its place.
fn set(environment: &mut Vec<(String, String)>, name: &str, value: String) {
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some(slot) => slot.1 = value,
        None => environment.push((name.to_owned(), value)),
    }
}

/// The variables of `envFrom`.
fn from_objects(container: &ContainerSpec, objects: &Objects) -> Result<Vec<(String, String)>, String> {
    let mut environment = Vec::new();
    for from in &container.environment_from {
        for (key, value) in objects.data(&from.object, from.optional)?.into_iter().flatten() {
            let name = format!("{}{key}", from.prefix);
            set(&mut environment, &name, String::from_utf8_lossy(value).into_owned());
        }
    }
    Ok(environment)
}

/// The value of a key; `None` when it is not there and that is allowed.
fn value_of(
    object: &ObjectName,
    key: &str,
    optional: bool,
    pod: &PodSpec,
    objects: &Objects,
) -> Result<Option<String>, String> {
    let Some(data) = objects.data(object, optional)? else { return Ok(None) };
    match data.get(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        None if optional => Ok(None),
        None => {
            let (kind, name) = match object {
                ObjectName::ConfigMap(name) => ("ConfigMap", name),
                ObjectName::Secret(name) => ("Secret", name),
                ObjectName::Token(token) => ("token of ServiceAccount", &token.account),
            };
            Err(format!("couldn't find key {key} in {kind} {}/{name}", pod.namespace))
        }
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

    fn expanded(
        container: serde_json::Value,
        objects: &[(ObjectName, &str, &str)],
    ) -> Result<Expanded, String> {
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {"containers": [container]},
        }));
        let pod = PodSpec::parse(&pod.unwrap()).unwrap();
        assert_eq!(pod.unsupported, None);
        let mut found: BTreeMap<ObjectName, super::super::objects::Data> = BTreeMap::new();
        for (object, key, value) in objects {
            found.entry(object.clone()).or_default().insert((*key).to_owned(), value.as_bytes().to_vec());
        }
        let given = Given {
            addresses: Addresses { pod: "10.244.1.2".parse().unwrap(), host: "10.100.0.2".parse().unwrap() },
            services: &[
                ("SVC_PORT".to_owned(), "tcp://10.96.0.7:80".to_owned()),
                ("A".to_owned(), "no".to_owned()),
            ],
            objects: &Objects::new(found),
            capacity: Amounts { cpu: nanos("2"), memory: nanos("1Gi") },
        };
        Expanded::of(&pod.containers[0], &pod, given)
    }

    fn config(name: &str) -> ObjectName {
        ObjectName::ConfigMap(name.to_owned())
    }

    #[test]
    fn values_come_from_objects_and_resources() {
        let container = serde_json::json!({
            "name": "c", "image": "i", "args": ["$(A) $(P_k) $(GREETING)"],
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "no", "optional": true}}],
            "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}},
                {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k", "optional": true}}},
                {"name": "GREETING", "value": "$(A)-$(P_k)"},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                {"name": "ASKED", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
            ],
            "resources": {"limits": {"cpu": "250m"}, "requests": {"cpu": "250m"}},
        });
        let out = expanded(container, &[(config("cm"), "k", "v")]).unwrap();
        let want = [
            ("P_k", "v"),
            ("A", "v"),
            ("GREETING", "v-$(P_k)"),
            ("CPU", "250"),
            ("MEMORY", "1024"),
            ("ASKED", "1"),
            ("SVC_PORT", "tcp://10.96.0.7:80"),
        ];
        assert_eq!(out.environment, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(out.args, ["v v v-$(P_k)"]);
    }

    #[test]
    fn what_is_missing_is_said_as_the_kubelet_says_it() {
        let key = |kind: &str| {
            serde_json::json!({"name": "c", "image": "i", "env": [
                {"name": "A", "valueFrom": {kind: {"name": "x", "key": "k"}}},
            ]})
        };
        let fails = |container, objects: &[_]| expanded(container, objects).unwrap_err();
        assert_eq!(fails(key("configMapKeyRef"), &[]), "configmap \"x\" not found");
        assert_eq!(fails(key("secretKeyRef"), &[]), "secret \"x\" not found");
        assert_eq!(
            fails(key("configMapKeyRef"), &[(config("x"), "other", "")]),
            "couldn't find key k in ConfigMap default/x"
        );
    }

    proptest::proptest! {
        #[test]
        fn text_without_a_dollar_is_untouched(text in "[^$]*") {
            proptest::prop_assert_eq!(expand(&text, &BTreeMap::new()), text);
        }
    }
}
