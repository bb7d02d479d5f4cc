//! What an image says about running it.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// The part of an image's configuration that decides how a container of it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// First words of the command; a pod's `command` replaces them.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Following words; a pod's `args` replace them, and a pod's `command` drops them.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `NAME=value` pairs.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Directory to start in; empty means `/`.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root.
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// Signal that asks the main process to end, when it is not TERM.
    pub stop_signal: Option<String>,
    /// Ports that the image says it listens on, such as `80/tcp`.
    #[serde(deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
}

impl ImageConfig {
    /// The signal that asks a container of this image to end: the image's word, or TERM.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop_signal.as_deref().and_then(StopSignal::parse).unwrap_or_default()
    }
}

/// A signal that asks a container to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(pub Signal);

impl StopSignal {
    /// Reads `SIGQUIT`, `QUIT` or `3`. Real-time signals are not known and give `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        if let Ok(number) = upper.parse::<i32>() {
            return Signal::try_from(number).ok().map(Self);
        }
        let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        name.parse::<Signal>().ok().map(Self)
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self(Signal::SIGTERM)
    }
}

/// Docker writes `null` for an empty list.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_in_all_their_spellings() {
        for (text, signal) in [
            ("SIGWINCH", Some(Signal::SIGWINCH)),
            ("quit", Some(Signal::SIGQUIT)),
            ("15", Some(Signal::SIGTERM)),
            ("SIGRTMIN+3", None),
            ("", None),
            ("nonsense", None),
        ] {
            assert_eq!(StopSignal::parse(text).map(|stop| stop.0), signal, "{text}");
        }
    }

    #[test]
    fn an_unknown_stop_signal_falls_back_to_term() {
        let config = ImageConfig { stop_signal: Some("SIGRTMIN+3".into()), ..ImageConfig::default() };
        assert_eq!(config.stop_signal().0, Signal::SIGTERM);
    }

    #[test]
    fn nulls_and_unknown_fields_are_harmless() {
        let text = r#"{"Cmd":["sh"],"Entrypoint":null,"Env":null,"ExposedPorts":null,"Healthcheck":{"Test":["NONE"]}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.cmd, ["sh"]);
        assert!(config.entrypoint.is_empty());
    }
}
