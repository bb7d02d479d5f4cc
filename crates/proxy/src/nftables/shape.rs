//! Chains that are there for as long as a door needs them: one for each *number* of endpoints, and the like. And two that
//! always are, with rules in them for as long as a door needs those: every new connection would pay for the lookups.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use model::AddressFamily;
use netstate::nft::{
    Chain, Name, PacketPriority, Rule, Selector, Statement, UpdateData, UpdateMode, Value, Verdict,
};
use sha2::{Digest, Sha256};

use super::layout::{self, AFFINITY, MASQUERADE_MARK};
use crate::NodeContext;
use crate::door_words::{ADDRESS_DOOR, NODE_DOOR, is_of, pods};

/// A connection takes one of so many cycles by chance, and in it the endpoint whose turn it is.
///
/// One cycle alone would be perfectly even, but predictable: a client that asks two services with as many endpoints
/// in alternation would always get the same one of each. Chance alone strays by √n connections in n. Together no
/// endpoint is ever more than this number of connections ahead of another, and nobody can tell which one is next.
const CYCLES: u32 = 4;

/// Most endpoints that a chain chooses among.
pub(super) const MOST_ENDPOINTS: u32 = 0x00ff_ffff;

const CLIENT: [Selector; 4] =
    [Selector::SourceAddress, Selector::DestinationAddress, Selector::Protocol, Selector::DestinationPort];

/// A chain that is there for as long as a door needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Chooses among endpoints.
    Balance(Balance),
    /// Remembers for that long where a client was led.
    Remember { timeout: Duration },
    /// Drops whoever is not from within these ranges, which are in order.
    Sources(Arc<[IpNet]>),
    /// Looks up which ranges a door has. The chain is always there.
    Guard,
    /// Looks up how long a door remembers its clients. The chain is always there.
    Memory,
}

/// What tells the chains that choose among endpoints from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Balance {
    pub side: Side,
    /// From 1 to [`MOST_ENDPOINTS`], or 0 on a local side, which drops.
    pub endpoints: u32,
    pub sticky: bool,
}

impl Balance {
    /// The class by which doors lead here.
    ///
    /// What sort of chain it is in the upper 8 bits, the number of endpoints in the lower 24: nft prints `cluster-3` as
    /// `100:3`, `cluster-10-sticky` as `900:a`.
    pub(super) const fn class(self) -> u32 {
        let sort = self.side.number() + if self.sticky { 8 } else { 0 };
        sort << 24 | self.endpoints
    }
}

/// How a connection came in, and who may serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// By a virtual address.
    Cluster,
    /// By an external address or a load balancer's, served by endpoints anywhere.
    External,
    /// The same, of doors that keep connections from outside to this node: those go to local endpoints, pods and the
    /// node itself to [`Side::Inside`].
    Local,
    /// From a pod or the node itself to such a door.
    Inside,
    /// By a port of the node, served by endpoints anywhere.
    Node,
    /// As [`Side::Local`], by a port of the node.
    NodeLocal,
    /// As [`Side::Inside`], by a port of the node.
    NodeInside,
}

impl Side {
    /// The fields that tell a door.
    const fn door(self) -> &'static [Selector] {
        match self {
            Self::Cluster | Self::External | Self::Local | Self::Inside => &ADDRESS_DOOR,
            Self::Node | Self::NodeLocal | Self::NodeInside => &NODE_DOOR,
        }
    }

    /// The map of the endpoints.
    pub(super) const fn endpoints(self) -> Name {
        match self {
            Self::Cluster | Self::External | Self::Inside => layout::ENDPOINTS,
            Self::Local => layout::LOCAL_ENDPOINTS,
            Self::Node | Self::NodeInside => layout::NODE_ENDPOINTS,
            Self::NodeLocal => layout::NODE_LOCAL_ENDPOINTS,
        }
    }

    /// The map from classes to chains.
    pub(super) const fn shapes(self) -> Name {
        match self {
            Self::Cluster | Self::External | Self::Local | Self::Node | Self::NodeLocal => layout::SHAPES,
            Self::Inside | Self::NodeInside => layout::INSIDE_SHAPES,
        }
    }

    /// From 1 to 7.
    const fn number(self) -> u32 {
        match self {
            Self::Cluster => 1,
            Self::External => 2,
            Self::Local => 3,
            Self::Inside => 4,
            Self::Node => 5,
            Self::NodeLocal => 6,
            Self::NodeInside => 7,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::External => "external",
            Self::Local => "local",
            Self::Inside => "inside",
            Self::Node => "node",
            Self::NodeLocal => "node-local",
            Self::NodeInside => "node-inside",
        }
    }
}

impl Shape {
    /// The chain's name: `cluster-3`, `node-3`, `cluster-3-sticky`, `remember-10800` (seconds), `sources-` and a hash; and
    /// `sources` and `remember`, which lead to those.
    pub(super) fn chain_name(&self) -> Name {
        let name = match self {
            Self::Guard => return layout::GUARD,
            Self::Memory => return layout::REMEMBER,
            Self::Balance(Balance { side, endpoints, sticky }) => {
                format!("{}-{endpoints}{}", side.name(), if *sticky { "-sticky" } else { "" })
            }
            Self::Remember { timeout } => format!("remember-{}", timeout.as_secs()),
            Self::Sources(ranges) => format!("sources-{}", hash(ranges)),
        };
        // Letters, dashes, and a number of at most 20 digits or a hash of 32: always a name.
        Name::new(&name).expect("a chain name of letters, dashes and digits")
    }

    /// The chain itself.
    pub(super) fn chain(&self, context: &NodeContext, family: AddressFamily) -> Chain {
        match self {
            Self::Balance(shape) => {
                let without_class = Rule::new([Statement::SetPriority(PacketPriority::Value(0))]);
                let rules = [vec![without_class], entrance(context, family, shape.side), balance(*shape)];
                Chain::regular(rules.concat())
            }
            Self::Remember { timeout } => Chain::regular([remember_for(*timeout)]),
            Self::Sources(ranges) => Chain::regular(only_from(ranges, family)),
            Self::Guard => Chain::regular(layout::guard()),
            Self::Memory => Chain::regular(layout::remember()),
        }
    }
}

/// Long enough that no two lists of ranges ever share a chain.
fn hash(ranges: &[IpNet]) -> String {
    let mut digest = Sha256::new();
    for range in ranges {
        digest.update(range.to_string());
        digest.update([b' ']);
    }
    digest.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What comes before the choice: who is marked for masquerade, because its reply would otherwise not come back this
/// way, and who is led elsewhere.
fn entrance(context: &NodeContext, family: AddressFamily, side: Side) -> Vec<Rule> {
    let mark = Statement::SetMark { mask: MASQUERADE_MARK, value: MASQUERADE_MARK };
    match side {
        Side::External | Side::Node => vec![Rule::new([mark])],
        Side::Cluster if context.masquerade_all => vec![Rule::new([mark])],
        Side::Cluster => match strangers(context, family) {
            Some(mut statements) => {
                statements.push(mark);
                vec![Rule::new(statements)]
            }
            None => Vec::new(),
        },
        Side::Local => insiders(
            context,
            family,
            &mark,
            &layout::by_class(&ADDRESS_DOOR, layout::INSIDE, layout::INSIDE_SHAPES),
        ),
        Side::NodeLocal => insiders(
            context,
            family,
            &mark,
            &layout::by_class(&NODE_DOOR, layout::NODE_INSIDE, layout::INSIDE_SHAPES),
        ),
        Side::Inside | Side::NodeInside => Vec::new(),
    }
}

/// Leads pods on as they are, and the node itself masqueraded.
fn insiders(context: &NodeContext, family: AddressFamily, mark: &Statement, on: &[Statement]) -> Vec<Rule> {
    let pods = pods(context, family).into_iter().map(|pod| Rule::new([&[pod], on].concat()));
    let own = Rule::new([&[Statement::from_this_node(), mark.clone()], on].concat());
    pods.chain([own]).collect()
}

/// What is true of connections that are no pod's; `None` when pods cannot be told.
fn strangers(context: &NodeContext, family: AddressFamily) -> Option<Vec<Statement>> {
    let pods = pods(context, family);
    let invert = |statement: Statement| match statement {
        Statement::Match { selector, operand, .. } => Statement::not_equal(selector, operand),
        other => other,
    };
    (!pods.is_empty()).then(|| pods.into_iter().map(invert).collect())
}

fn balance(Balance { side, endpoints, sticky }: Balance) -> Vec<Rule> {
    if endpoints == 0 {
        return vec![Rule::new([Verdict::Drop.into()])];
    }
    let mut rules = Vec::new();
    if sticky {
        rules.push(Rule::new([Statement::dnat_map(CLIENT, AFFINITY)]));
    }
    let mut slot = side.door().to_vec();
    slot.push(Selector::Turn { modulus: endpoints });
    let in_turn = || Statement::dnat_map(slot.clone(), side.endpoints());
    // With one endpoint there is nothing to choose.
    let cycles = if endpoints == 1 { 1 } else { CYCLES };
    for left in (2..=cycles).rev() {
        let chance = Statement::equal(Selector::Random { modulus: left }, Value::Mark(0));
        rules.push(Rule::new([chance, in_turn()]));
    }
    rules.push(Rule::new([in_turn()]));
    if endpoints > 1 {
        // For who came here just before the number fell, and whose turn it is no more.
        let first = [side.door(), &[Selector::Turn { modulus: 1 }]].concat();
        rules.push(Rule::new([Statement::dnat_map(first, side.endpoints())]));
    }
    rules
}

/// By now the packet carries the endpoint that was chosen, and its connection what the client asked for.
/// A client that is remembered keeps its endpoint, since an update leaves the data of an element alone.
fn remember_for(timeout: Duration) -> Rule {
    Rule::new([Statement::Update {
        mode: UpdateMode::Update,
        key: vec![
            Selector::SourceAddress,
            Selector::OriginalDestinationAddress,
            Selector::Protocol,
            Selector::OriginalDestinationPort,
        ],
        data: UpdateData::Selectors(vec![Selector::DestinationAddress, Selector::DestinationPort]),
        timeout: Some(timeout),
        set: AFFINITY,
    }])
}

/// Ranges of the other family let nobody of this one in.
fn only_from(ranges: &[IpNet], family: AddressFamily) -> Vec<Rule> {
    let allowed = ranges
        .iter()
        .filter(|range| is_of(family, range))
        .map(|range| Rule::new([Statement::equal(Selector::SourceAddress, *range), Verdict::Return.into()]));
    allowed.chain([Rule::new([Verdict::Drop.into()])]).collect()
}
