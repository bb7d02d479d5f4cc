//! The one place that opens a dataplane by its mode: for the agent, the proxy and the cleanup alike.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use kernel::conntrack::Conntrack;
use kernel::nft::Nftables;
use netstate::nft::{
    BaseChain, ChainKind, Family, Hook, Name, NftPort, Op, Policy, Table, Transaction, priority,
};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, NodeContext};
use relay::Relays;
use tokio::runtime::Handle;

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
pub enum Wanted {
    /// The best that the kernel can do.
    #[default]
    Auto,
    /// This one, or its fallback.
    This(Mode),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Mode::ALL.into_iter().find(|mode| mode.word() == text) {
            Some(mode) => Ok(Self::This(mode)),
            // kube-proxy's own default is the empty word.
            None if text.is_empty() || text == "auto" => Ok(Self::Auto),
            None => Err(format!(
                "'{text}' is no proxy mode; there are nftables, iptables, ipvs, userspace and auto"
            )),
        }
    }
}

/// Opens what is wanted, and says in one line of the log which mode it is and why. The dataplane works in the network
/// namespace of the calling thread and has not looked at it yet.
///
/// # Errors
/// When the kernel can do neither the mode nor its fallback, or, with [`Wanted::Auto`], none of them.
pub fn open(wanted: Wanted, context: &NodeContext) -> Result<Box<dyn Dataplane>> {
    let candidates: &[Mode] = match wanted {
        // ipvs is there for who asks for it: the other modes do more, and need less of the kernel.
        Wanted::Auto => &[Mode::Nftables, Mode::Iptables, Mode::Userspace],
        Wanted::This(Mode::Ipvs) => &[Mode::Ipvs, Mode::Iptables],
        Wanted::This(Mode::Nftables) => &[Mode::Nftables],
        Wanted::This(Mode::Iptables) => &[Mode::Iptables],
        Wanted::This(Mode::Userspace) => &[Mode::Userspace],
    };
    let mut refusals = Vec::new();
    for &mode in candidates {
        match try_mode(mode, context) {
            Ok(dataplane) => {
                announce(wanted, mode, &refusals);
                return Ok(dataplane);
            }
            Err(error) => refusals.push(format!("{mode}: {error:#}")),
        }
    }
    bail!("Services cannot be proxied here: {}", refusals.join("; "))
}

fn announce(wanted: Wanted, mode: Mode, refusals: &[String]) {
    let others = refusals.join("; ");
    match wanted {
        Wanted::This(asked) if asked == mode => tracing::info!(%mode, "proxy mode, as asked for"),
        Wanted::This(asked) => {
            tracing::warn!(%mode, %asked, reason = %others, "the mode asked for cannot work here, another is taken");
        }
        Wanted::Auto if refusals.is_empty() => {
            tracing::info!(%mode, "proxy mode, the best of all, and the kernel has what it needs");
        }
        Wanted::Auto => tracing::info!(%mode, reason = %others, "proxy mode, the best that works here"),
    }
}

fn try_mode(mode: Mode, context: &NodeContext) -> Result<Box<dyn Dataplane>> {
    match mode {
        Mode::Nftables => {
            let mut nft = Nftables::open()?;
            probe_nftables(&mut nft).context("the kernel does not take a table for address translation")?;
            Ok(Box::new(NftablesProxy::new(context.clone(), nft, Conntrack::open()?)))
        }
        Mode::Userspace => {
            let mut nft = Nftables::open()?;
            probe_nftables(&mut nft).context("the kernel does not take a table for address translation")?;
            let runtime = Handle::try_current().context("relays need a runtime")?;
            let config = relay::Config::default().for_descriptors(kernel::process::raise_descriptor_limit());
            tracing::debug!(?config, "relays");
            let relays = Relays::new(runtime, config);
            Ok(Box::new(UserspaceProxy::new(context.clone(), nft, relays, Conntrack::open()?)))
        }
        Mode::Iptables | Mode::Ipvs => bail!("this build does not have the mode"),
    }
}

/// Makes a table with a chain like ours and takes it away within one transaction, so that nobody ever sees it.
fn probe_nftables(nft: &mut impl NftPort) -> Result<()> {
    let mut transaction = Transaction::new(Table::new(Family::Ip, Name::constant("portolan-probe")));
    let base = BaseChain {
        kind: ChainKind::Nat,
        hook: Hook::Prerouting,
        priority: priority::DESTINATION_NAT,
        policy: Policy::Accept,
    };
    let chain = Op::AddChain { chain: Name::constant("probe"), base: Some(base) };
    transaction.ops.extend([Op::AddTable, chain, Op::DeleteTable]);
    Ok(nft.commit(&transaction)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_known_by_its_word() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(Wanted::This(mode)));
        }
        assert_eq!(["auto", ""].map(str::parse), [Ok(Wanted::Auto), Ok(Wanted::Auto)]);
        let refusal = "ebpf".parse::<Wanted>().unwrap_err();
        assert!(refusal.contains("'ebpf'") && refusal.contains("userspace"), "{refusal}");
    }
}
