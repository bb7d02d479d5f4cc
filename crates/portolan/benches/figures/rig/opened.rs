//! The service proxy in every mode, opened on a node.

use kernel::conntrack::Conntrack;
use kernel::ipset::Ipset;
use kernel::iptables::Iptables;
use kernel::ipvs::Ipvs;
use kernel::link::Links;
use kernel::netns::Netns;
use kernel::nft::Nftables;
use kernel::sysctl::Sysctls;
use netstate::iptables;
use netstate::nft::Family;
use proxy::iptables::IptablesProxy;
use proxy::ipvs::{self, IpvsProxy};
use proxy::nftables::NftablesProxy;
use proxy::userspace::UserspaceProxy;
use proxy::{Dataplane, Mode, NodeContext};
use relay::Relays;
use tokio::runtime::Runtime;

use super::Variant;

/// One process is several nodes, each of which must leave the others' relays their descriptors.
const NODES: u64 = 8;

/// A dataplane that has not looked at its kernel, and may have to live for what its rules lead to.
pub struct Opened {
    pub dataplane: Box<dyn Dataplane>,
    /// What relays run on.
    _runtime: Option<Runtime>,
}

impl Opened {
    /// Opens the mode in the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel or a program is not there.
    pub fn new(variant: Variant, context: NodeContext) -> anyhow::Result<Self> {
        let conntrack = Conntrack::open()?;
        let (dataplane, runtime): (Box<dyn Dataplane>, _) = match variant {
            Variant::Plain(Mode::Nftables) => {
                (Box::new(NftablesProxy::new(context, Nftables::open()?, conntrack)), None)
            }
            Variant::IptablesLegacy | Variant::IptablesNft | Variant::Plain(Mode::Iptables) => {
                let programs = match variant {
                    Variant::IptablesNft => iptables::Variant::Nft,
                    _ => iptables::Variant::Legacy,
                };
                let open = |family| Iptables::open_variant(family, programs);
                let ports = [open(Family::Ip)?, open(Family::Ip6)?];
                (Box::new(IptablesProxy::new(context, ports, conntrack)), None)
            }
            Variant::Plain(Mode::Ipvs) => {
                let open = |family| Iptables::open_variant(family, iptables::Variant::Legacy);
                let ports = ipvs::Ports {
                    ipvs: Box::new(Ipvs::open()?),
                    sets: Box::new(Ipset::open()?),
                    iptables: [Box::new(open(Family::Ip)?), Box::new(open(Family::Ip6)?)],
                    links: Box::new(Links::in_namespace(&Netns::current()?)?),
                    settings: Box::new(Sysctls::in_namespace(Netns::current()?)),
                    conntrack: Box::new(conntrack),
                };
                (Box::new(IpvsProxy::new(context, ipvs::Config::default(), ports)), None)
            }
            Variant::Plain(Mode::Userspace) => {
                // As many threads as the agent has. They are begun by this one, and so on the node.
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
                let config = relay::Config::default()
                    .for_descriptors(kernel::process::raise_descriptor_limit() / NODES);
                let relays = Relays::new(runtime.handle().clone(), config);
                let proxy = UserspaceProxy::new(context, Nftables::open()?, relays, conntrack);
                (Box::new(proxy), Some(runtime))
            }
        };
        Ok(Self { dataplane, _runtime: runtime })
    }
}
