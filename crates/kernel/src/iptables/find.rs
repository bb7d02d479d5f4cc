//! Which of the installed programs is the one to use.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use netstate::iptables::{IptablesError, Variant};
use netstate::nft::{Family, Name, NftPort as _, Op, Table, Transaction};

use super::run;
use crate::netns::Netns;
use crate::nft::Nftables;

/// The two programs of one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub variant: Variant,
    pub save: PathBuf,
    pub restore: PathBuf,
}

/// The variant that holds rules already, or the one that is called `iptables` here, if the kernel can do that.
pub(super) fn preferred(family: Family, netns: &Netns) -> Result<Programs, IptablesError> {
    let plain = plain(family, netns)?;
    let others = [Variant::Nft, Variant::Legacy].map(|variant| installed(family, variant).ok());
    let mut best: Option<(Held, Programs)> = None;
    for programs in others.into_iter().flatten() {
        let held = held(family, netns, &programs);
        if best.as_ref().is_none_or(|(most, _)| held > *most) {
            best = Some((held, programs));
        }
    }
    match (best, plain) {
        (Some((held, programs)), plain) if held > Held::default() || plain.is_none() => Ok(programs),
        (_, Some(plain)) if plain.variant == Variant::Nft && !takes_tables(family, netns) => {
            Ok(installed(family, Variant::Legacy).unwrap_or(plain))
        }
        (_, Some(plain)) => Ok(plain),
        (_, None) => Err(IptablesError::NotInstalled { program: word(family, "-restore") }),
    }
}

/// The programs of a variant, by the names that tell it, or by the plain name when that is it.
pub(super) fn installed(family: Family, variant: Variant) -> Result<Programs, IptablesError> {
    let name = |which: &str| word(family, &format!("-{variant}{which}"));
    match (look_for(&name("-save")), look_for(&name("-restore"))) {
        (Some(save), Some(restore)) => Ok(Programs { variant, save, restore }),
        _ => Err(IptablesError::NotInstalled { program: name("-restore") }),
    }
}

/// What is called `iptables` here, if anything is.
fn plain(family: Family, netns: &Netns) -> Result<Option<Programs>, IptablesError> {
    let (Some(save), Some(restore)) = (look_for(&word(family, "-save")), look_for(&word(family, "-restore")))
    else {
        return Ok(None);
    };
    let version = run::run(netns, &restore, &["--version"], None)?;
    // Before 1.8 there was one variant only, and it did not say which.
    let variant = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    Ok(Some(Programs { variant, save, restore }))
}

/// Whether the kernel has nftables for this family: it takes a table, which is gone in the same moment.
fn takes_tables(family: Family, netns: &Netns) -> bool {
    let mut probe = Transaction::new(Table::new(family, Name::constant("portolan-probe")));
    probe.ops.extend([Op::AddTable, Op::DeleteTable]);
    let taken = netns.run(|| Nftables::open().and_then(|mut nft| nft.commit(&probe)));
    taken.is_ok_and(|taken| taken.is_ok())
}

/// What a variant holds: a kubelet's hint counts before any number of rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    hint: bool,
    rules: usize,
}

fn held(family: Family, netns: &Netns, programs: &Programs) -> Held {
    // To read a table of the legacy variant is to make it, so one asks first which there are.
    if programs.variant == Variant::Legacy && !has_legacy_tables(family, netns) {
        return Held::default();
    }
    // One that cannot be read, as the kernel lacks it, holds nothing.
    let text = run::run(netns, &programs.save, &[], None).unwrap_or_default();
    Held {
        hint: [":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "].iter().any(|hint| text.contains(hint)),
        rules: text.lines().filter(|line| line.starts_with("-A ")).count(),
    }
}

fn has_legacy_tables(family: Family, netns: &Netns) -> bool {
    let file = match family {
        Family::Ip => "/proc/thread-self/net/ip_tables_names",
        Family::Ip6 => "/proc/thread-self/net/ip6_tables_names",
    };
    let names = netns.run(|| fs::read_to_string(file).unwrap_or_default());
    names.is_ok_and(|names| !names.trim().is_empty())
}

fn word(family: Family, which: &str) -> String {
    match family {
        Family::Ip => format!("iptables{which}"),
        Family::Ip6 => format!("ip6tables{which}"),
    }
}

/// In `PATH`, and where it is installed: the `PATH` of a service or container need not have it.
fn look_for(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut places = env::split_paths(&path).chain(usual).filter(|place| place.is_absolute());
    places.find_map(|place| Some(place.join(name)).filter(|file| is_program(file)))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
