//! Amounts of CPU and memory, as `resources` and `resourceFieldRef` name them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANOS: u128 = 1_000_000_000;

/// Suffixes with the nano-units that one of each is.
const SUFFIXES: [(&str, u128); 16] = [
    ("Ki", NANOS << 10),
    ("Mi", NANOS << 20),
    ("Gi", NANOS << 30),
    ("Ti", NANOS << 40),
    ("Pi", NANOS << 50),
    ("Ei", NANOS << 60),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", NANOS * 1_000),
    ("M", NANOS * 1_000_000),
    ("G", NANOS * 1_000_000_000),
    ("T", NANOS * 1_000_000_000_000),
    ("P", NANOS * 1_000_000_000_000_000),
    ("E", NANOS * 1_000_000_000_000_000_000),
    ("", NANOS),
];

/// The amount in nano-units, rounded up; `None` for what is no amount, or a negative one.
#[must_use]
pub fn nanos(text: &str) -> Option<u128> {
    // Exponents are the one form without a suffix of its own.
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E'])
        && let Ok(exponent) = exponent.parse::<u32>()
    {
        return nanos(mantissa)?.checked_mul(10_u128.checked_pow(exponent)?);
    }
    let (number, unit) =
        SUFFIXES.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.parse::<u128>().ok()?.checked_mul(unit)?.div_ceil(scale))
}

/// CPU and memory, where they are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU in nano-cores.
    pub cpu: Option<u128>,
    /// Memory in nano-bytes.
    pub memory: Option<u128>,
}

impl Amounts {
    /// Those of a list of resources.
    #[must_use]
    pub fn of(resources: Option<&BTreeMap<String, Quantity>>) -> Self {
        let amount = |name| resources.and_then(|all| all.get(name)).and_then(|quantity| nanos(&quantity.0));
        Self { cpu: amount("cpu"), memory: amount("memory") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_writes_them() {
        for (text, want) in [
            ("1", Some(NANOS)),
            ("250m", Some(NANOS / 4)),
            ("0.5", Some(NANOS / 2)),
            ("64Mi", Some(NANOS << 26)),
            ("1e3", Some(NANOS * 1000)),
            ("2k", Some(NANOS * 2000)),
            ("1E", Some(NANOS * 1_000_000_000_000_000_000)),
            ("-1", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nanos(text), want, "{text}");
        }
    }
}
