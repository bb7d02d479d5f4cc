use std::fmt;
use std::str::FromStr;

/// How Services become the kernel's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Maps of a table of our own.
    Nftables,
    /// Chains in the tables that `iptables-save` shows.
    Iptables,
    /// Virtual servers of the kernel's load balancer.
    Ipvs,
    /// Sockets of this process.
    Userspace,
}

impl Mode {
    /// Every mode, the best one first.
    pub const ALL: [Self; 4] = [Self::Nftables, Self::Iptables, Self::Ipvs, Self::Userspace];

    /// The word of `--proxy-mode`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Ipvs => "ipvs",
            Self::Userspace => "userspace",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What `--proxy-mode` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModeChoice {
    /// The best that the kernel can do.
    #[default]
    Auto,
    /// This one, or its fallback.
    This(Mode),
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is no proxy mode; there are nftables, iptables, ipvs, userspace and auto")]
pub struct UnknownMode {
    /// The word.
    pub word: String,
}

impl FromStr for ModeChoice {
    type Err = UnknownMode;

    /// The empty word, kube-proxy's default, is `auto`.
    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match Mode::ALL.into_iter().find(|mode| mode.word() == text) {
            Some(mode) => Ok(Self::This(mode)),
            None if text.is_empty() || text == "auto" => Ok(Self::Auto),
            None => Err(UnknownMode { word: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_known_by_its_word() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(ModeChoice::This(mode)));
        }
        assert_eq!(["auto", ""].map(str::parse), [Ok(ModeChoice::Auto), Ok(ModeChoice::Auto)]);
        let refusal = "ebpf".parse::<ModeChoice>().unwrap_err().to_string();
        assert!(refusal.contains("'ebpf'") && refusal.contains("userspace"), "{refusal}");
    }
}
