//! The one place that opens a dataplane by its mode: for the agent, the proxy and the cleanup alike.

use anyhow::{Context, Result, bail};
use kernel::SentBytes;
use kernel::conntrack::Conntrack;
use kernel::ipset::Ipset;
use kernel::iptables::Iptables;
use kernel::ipvs::Ipvs;
use kernel::link::Links;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::iptables::IptablesPort as _;
use netstate::ipvs::IpvsPort as _;
use netstate::nft::{
    BaseChain, ChainKind, Family, Hook, Name, NftPort, Op, Policy, Table, Transaction, priority,
};
use proxy::iptables::IptablesProxy;
use proxy::ipvs::{Config, IpvsProxy, Ports};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, Mode, ModeChoice, NodeContext};
use relay::{Meter, Relays};
use tokio::runtime::Handle;

/// A mode that was chosen, and its dataplane.
pub struct Opened {
    /// The mode in force.
    pub mode: Mode,
    /// It works in the network namespace of the thread that opened it, and has not looked at it yet.
    pub dataplane: Box<dyn Dataplane>,
    /// What its relays carry, in the userspace mode.
    pub relays: Option<Meter>,
    /// What its rules are sent by; ports that are not counted are missing.
    pub sent: Vec<SentBytes>,
}

impl Opened {
    fn new(mode: Mode, dataplane: impl Dataplane + 'static) -> Self {
        Self { mode, dataplane: Box::new(dataplane), relays: None, sent: Vec::new() }
    }
}

/// Opens what is wanted, and says in one line of the log which mode it is and why.
///
/// # Errors
/// When the kernel can do neither the mode nor its fallback, or, with [`ModeChoice::Auto`], none of them.
pub fn open(wanted: ModeChoice, context: &NodeContext, ipvs: &Config) -> Result<Opened> {
    let candidates: &[Mode] = match wanted {
        // ipvs is there for who asks for it: the other modes do more, and need less of the kernel.
        ModeChoice::Auto => &[Mode::Nftables, Mode::Iptables, Mode::Userspace],
        ModeChoice::This(Mode::Ipvs) => &[Mode::Ipvs, Mode::Iptables],
        ModeChoice::This(Mode::Nftables) => &[Mode::Nftables],
        ModeChoice::This(Mode::Iptables) => &[Mode::Iptables],
        ModeChoice::This(Mode::Userspace) => &[Mode::Userspace],
    };
    let mut refusals = Vec::new();
    for &mode in candidates {
        match try_mode(mode, context, ipvs) {
            Ok(opened) => {
                announce(wanted, mode, &refusals);
                return Ok(opened);
            }
            Err(error) => refusals.push(format!("{mode}: {error:#}")),
        }
    }
    bail!("Services cannot be proxied here: {}", refusals.join("; "))
}

fn announce(wanted: ModeChoice, mode: Mode, refusals: &[String]) {
    let others = refusals.join("; ");
    match wanted {
        ModeChoice::This(asked) if asked == mode => tracing::info!(%mode, "proxy mode, as asked for"),
        ModeChoice::This(asked) => {
            tracing::warn!(%mode, %asked, reason = %others, "the mode asked for cannot work here, another is taken");
        }
        ModeChoice::Auto if refusals.is_empty() => {
            tracing::info!(%mode, "proxy mode, the best of all, and the kernel has what it needs");
        }
        ModeChoice::Auto => tracing::info!(%mode, reason = %others, "proxy mode, the best that works here"),
    }
}

fn try_mode(mode: Mode, context: &NodeContext, ipvs: &Config) -> Result<Opened> {
    match mode {
        Mode::Nftables => {
            let mut nft = Nftables::open()?;
            probe_nftables(&mut nft).context("the kernel does not take a table for address translation")?;
            let sent = vec![nft.sent()];
            let proxy = NftablesProxy::new(context.clone(), nft, Conntrack::open()?);
            Ok(Opened { sent, ..Opened::new(mode, proxy) })
        }
        Mode::Userspace => {
            let mut nft = Nftables::open()?;
            probe_nftables(&mut nft).context("the kernel does not take a table for address translation")?;
            let runtime = Handle::try_current().context("relays need a runtime")?;
            let config = relay::Config::default().for_descriptors(kernel::process::raise_descriptor_limit());
            tracing::debug!(?config, "relays");
            let relays = Relays::new(runtime, config);
            let meter = relays.meter();
            let sent = vec![nft.sent()];
            let proxy = UserspaceProxy::new(context.clone(), nft, relays, Conntrack::open()?);
            Ok(Opened { relays: Some(meter), sent, ..Opened::new(mode, proxy) })
        }
        Mode::Iptables => {
            let ipv4 = Iptables::open(Family::Ip)?;
            tracing::info!(variant = %ipv4.variant(), "iptables");
            // A node without IPv6 needs none.
            let ipv6 = Iptables::open(Family::Ip6)
                .inspect_err(|error| tracing::warn!(%error, "services are not served at IPv6 addresses"));
            let ports: Vec<Iptables> = [Some(ipv4), ipv6.ok()].into_iter().flatten().collect();
            let sent = ports.iter().map(Iptables::sent).collect();
            let proxy = IptablesProxy::new(context.clone(), ports, Conntrack::open()?);
            Ok(Opened { sent, ..Opened::new(mode, proxy) })
        }
        Mode::Ipvs => {
            let mut load_balancer = Ipvs::open().context("the kernel has no ip_vs")?;
            load_balancer.services().context("the kernel's ip_vs does not answer")?;
            let ports = Ports {
                ipvs: Box::new(load_balancer),
                sets: Box::new(Ipset::open()?),
                iptables: [Box::new(Iptables::open(Family::Ip)?), Box::new(Iptables::open(Family::Ip6)?)],
                links: Box::new(Links::in_current()?),
                settings: Box::new(Sysctls::in_current()),
                conntrack: Box::new(Conntrack::open()?),
            };
            Ok(Opened::new(mode, IpvsProxy::new(context.clone(), ipvs.clone(), ports)))
        }
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
