//! Ways that a proxy can be run: modes, with the variant of iptables if that is one.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use proxy::Mode;

/// A mode, with the iptables that it is to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// A mode that does without iptables.
    Plain(Mode),
    /// iptables mode over nftables.
    IptablesNft,
    /// iptables mode over the kernel's old tables.
    IptablesLegacy,
}

impl Variant {
    /// All variants of some modes.
    pub fn of(modes: &[Mode]) -> Vec<Self> {
        modes
            .iter()
            .flat_map(|mode| match mode {
                Mode::Iptables => vec![Self::IptablesLegacy, Self::IptablesNft],
                Mode::Nftables | Mode::Userspace | Mode::Ipvs => vec![Self::Plain(*mode)],
            })
            .collect()
    }

    /// The mode.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Plain(mode) => mode,
            Self::IptablesNft | Self::IptablesLegacy => Mode::Iptables,
        }
    }

    /// Whether what it writes are objects of nftables, of whose changes the kernel tells.
    pub const fn is_told(self) -> bool {
        match self {
            Self::Plain(_) | Self::IptablesNft => true,
            Self::IptablesLegacy => false,
        }
    }

    /// Programs called `iptables…` that are this variant's, to be found before others; `None` if it needs none.
    pub fn programs(self, directory: &Path) -> Result<Option<PathBuf>> {
        let variant = match self {
            Self::Plain(_) => return Ok(None),
            Self::IptablesNft => "nft",
            Self::IptablesLegacy => "legacy",
        };
        let programs = directory.join(format!("iptables-{variant}"));
        if programs.exists() {
            return Ok(Some(programs));
        }
        std::fs::create_dir(&programs)?;
        for family in ["iptables", "ip6tables"] {
            for which in ["-save", "-restore"] {
                let program = PathBuf::from(format!("/usr/sbin/{family}-{variant}{which}"));
                std::os::unix::fs::symlink(&program, programs.join(format!("{family}{which}")))
                    .with_context(|| format!("a link to {}", program.display()))?;
            }
        }
        Ok(Some(programs))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(mode) => write!(f, "{mode}"),
            Self::IptablesNft => f.write_str("iptables (nft)"),
            Self::IptablesLegacy => f.write_str("iptables (legacy)"),
        }
    }
}
