//! One measured value, with what it is of and what it is to reach.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    /// Whether a value reaches it.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// The value that is just good enough.
    pub fn bound(self) -> f64 {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) => bound,
        }
    }

    /// Reads what [`Display`](fmt::Display) writes; nothing else is a target.
    fn read(text: &str) -> Option<Self> {
        let (relation, bound) = text.split_once(' ')?;
        let bound = bound.parse().ok().filter(|bound: &f64| bound.is_finite())?;
        match relation {
            "<=" => Some(Self::AtMost(bound)),
            ">=" => Some(Self::AtLeast(bound)),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// One measured value, with what it is of.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Figure {
    /// What was measured, in the same words at every size.
    pub what: String,
    /// How much it was, in `unit`.
    pub value: f64,
    /// `ms`, `MB`, `/s` and so on; empty for a share.
    pub unit: Cow<'static, str>,
    /// The proxy mode, with its variant if there are several.
    pub mode: Option<String>,
    /// How many Services there were.
    pub services: Option<u32>,
    /// How many endpoints each Service had.
    pub endpoints: Option<u32>,
    /// What it is to reach.
    #[serde(default, deserialize_with = "target")]
    pub target: Option<Target>,
    /// The same straight to the pod, measured in the same run.
    pub limit: Option<f64>,
}

impl Figure {
    /// A value in its unit. The same words at every size: a plot is made of those that differ in their size alone.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit: unit.into(),
            mode: None,
            services: None,
            endpoints: None,
            target: None,
            limit: None,
        }
    }

    /// The proxy mode, with its variant if there are several: `nftables`, `iptables (legacy)`.
    #[must_use]
    pub fn mode(self, mode: impl Into<String>) -> Self {
        Self { mode: Some(mode.into()), ..self }
    }

    /// How many Services there were, and how many endpoints each had.
    #[must_use]
    pub fn beside(self, services: u32, endpoints: u32) -> Self {
        Self { services: Some(services), endpoints: Some(endpoints), ..self }
    }

    /// What it is to reach.
    #[must_use]
    pub fn target(self, target: impl Into<Option<Target>>) -> Self {
        Self { target: target.into(), ..self }
    }

    /// The same straight to the pod, measured in the same run: no service proxy can do better.
    #[must_use]
    pub fn limit(self, limit: f64) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// It has a target and does not reach it.
    pub fn is_missed(&self) -> bool {
        self.target.is_some_and(|target| !target.is_met(self.value))
    }

    /// Services and endpoints of each, `10000 x 10`; empty where it has no size.
    pub fn size(&self) -> String {
        match (self.services, self.endpoints) {
            (Some(services), Some(endpoints)) => format!("{services} x {endpoints}"),
            _ => String::new(),
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "what": self.what, "value": self.value, "unit": self.unit, "mode": self.mode,
            "services": self.services, "endpoints": self.endpoints, "limit": self.limit,
            "target": self.target.map(|target| target.to_string()),
            "met": self.target.map(|target| target.is_met(self.value)),
        })
    }
}

fn target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Target>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let wrong = || serde::de::Error::custom(format!("'{text}' is no target: '<= NUMBER' or '>= NUMBER'"));
    Target::read(&text).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_back_as_it_was_written() {
        let bare = Figure::new("creates", 2345.6, "/s");
        let full = Figure::new("latency", 3.0, "ms").mode("ipvs").beside(100, 2);
        let full = full.target(Target::AtMost(2.5)).limit(1.5);
        for figure in [bare, full.clone(), full.target(Target::AtLeast(2.0))] {
            let read: Figure = serde_json::from_value(figure.to_json()).expect("what was written");
            assert_eq!(read, figure);
        }
    }

    #[test]
    fn a_target_that_is_none_is_refused() {
        for wrong in ["", "5", "< 5", "<= five", "<= inf", "<=5"] {
            let json = json!({"what": "x", "value": 1.0, "unit": "ms", "target": wrong});
            let error = serde_json::from_value::<Figure>(json).expect_err(wrong).to_string();
            assert!(error.contains("is no target"), "{error}");
        }
    }
}
