//! What pods request of a node's CPU and memory. Pure.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign};

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What one of each suffix is in thousandths; longer suffixes before their ends.
const SUFFIXES: [(&str, u128); 14] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

/// Thousandths of cores and of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) cpu: u128,
    pub(crate) memory: u128,
}

impl Amounts {
    /// What a pod requests: its containers together, or the greediest init container, whichever is more.
    pub(crate) fn requested(spec: &PodSpec) -> Self {
        let together = spec.containers.iter().map(of_container).fold(Self::default(), Self::add);
        let first = spec.init_containers.iter().flatten().map(of_container);
        first.fold(together, |most, one| Self {
            cpu: most.cpu.max(one.cpu),
            memory: most.memory.max(one.memory),
        })
    }

    /// What a node has for pods; `None` for what it does not say.
    pub(crate) fn allocatable(node: &Node) -> (Option<u128>, Option<u128>) {
        let all = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        (amount(all, "cpu"), amount(all, "memory"))
    }

    /// Whether nothing is requested.
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Add for Amounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }
}

impl AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

fn of_container(container: &Container) -> Amounts {
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let requested = |name| amount(requests, name).unwrap_or_default();
    Amounts { cpu: requested("cpu"), memory: requested("memory") }
}

fn amount(resources: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<u128> {
    thousandths(&resources?.get(name)?.0)
}

/// A quantity in thousandths, rounded up; `None` when it is too large or none.
fn thousandths(text: &str) -> Option<u128> {
    if let Some((number, exponent)) = text.split_once(['e', 'E'])
        && let Ok(exponent) = exponent.parse()
    {
        return thousandths(number)?.checked_mul(10_u128.checked_pow(exponent)?);
    }
    let (number, unit) =
        SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = [whole, fraction].concat().parse().ok()?;
    Some(digits.checked_mul(unit)?.div_ceil(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_in_thousandths() {
        for (text, expected) in [
            ("2", 2000),
            ("100m", 100),
            ("1k", 1_000_000),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("1.5", 1500),
            ("2e3", 2_000_000),
            ("1E", 10_u128.pow(21)),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        assert_eq!(thousandths("much"), None);
    }

    #[test]
    fn init_containers_count_where_they_want_more() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "1Ki"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "250m", "memory": "2Ki"}}}],
        }))
        .unwrap();
        assert_eq!(Amounts::requested(&spec), Amounts { cpu: 300, memory: 2048 * 1000 });
    }
}
