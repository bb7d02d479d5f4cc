//! The ways to serve, and what one of them cannot do.

use std::fmt;

use netstate::conntrack::FakeConntrack;
use netstate::nft::FakeNft;
use netstate::trace::{Fate, Host, Origin, Packet};
use proxy::nftables::NftablesProxy;
use proxy::{Dataplane, NodeContext};

use crate::world::pod_config;

/// A way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Nftables,
}

impl Mode {
    pub const ALL: [Self; 1] = [Self::Nftables];

    /// The mode in memory, and what becomes of a packet there.
    pub fn in_memory(self, context: NodeContext) -> InMemory {
        match self {
            Self::Nftables => {
                let nft = FakeNft::new();
                nft.put(podnet::plan::masquerade(&pod_config()));
                InMemory {
                    proxy: Box::new(NftablesProxy::new(context, nft.clone(), FakeConntrack::new())),
                    trace: Box::new(move |host, origin, packet, chance| {
                        let outcome = nft.trace(host, origin, packet, chance);
                        (outcome.fate, outcome.packet)
                    }),
                }
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nftables => "nftables",
        })
    }
}

/// A proxy that writes into fakes.
pub struct InMemory {
    pub proxy: Box<dyn Dataplane>,
    /// Walks a packet through them.
    pub trace: Trace,
}

/// How a packet ends, and as what. The last argument answers every question for a number below another.
pub type Trace = Box<dyn Fn(&Host, &Origin, Packet, &mut dyn FnMut(u32) -> u32) -> (Fate, Packet)>;

/// What a mode does not do as the table says.
pub struct Exception {
    pub mode: Mode,
    /// The section's.
    pub feature: &'static str,
    /// The reason, for the page.
    pub why: &'static str,
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[];

/// Whether a mode does what a section says.
pub fn exception(mode: Mode, feature: &str) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|exception| exception.mode == mode && exception.feature == feature)
}
