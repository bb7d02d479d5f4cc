//! The chains that are there whatever services there are, and how packets get to them.

use ipnet::IpNet;
use model::AddressFamily;
use netstate::iptables::{ChainName, Desired, Interfaces, Match, Rule, Sense, Target, Wanted};
use netstate::nft::{AddressType, ConnectionState};

use super::names::{
    ADDRESSES, EXTERNAL_SERVICES, FIREWALL, FORWARD, MARK_MASQUERADE, MARKER, NODE_PORTS, POSTROUTING,
    SERVICES, STRANGERS,
};
use crate::door_words::{is_of, loopback};
use crate::{LocalTraffic, NodeContext, NodePortAddresses};

/// What connections whose source is to be translated are marked with, as by kube-proxy and kubelet.
const MASQUERADE: u32 = 0x4000;

/// The fixed chains of `nat`.
pub(super) fn nat(context: &NodeContext, family: AddressFamily) -> Desired {
    let mark = Target::SetMark { value: MASQUERADE, mask: MASQUERADE };
    let mut chains = Desired::from([
        hook("PREROUTING", &[(None, "kubernetes service portals", SERVICES)]),
        hook("OUTPUT", &[(None, "kubernetes service portals", SERVICES)]),
        hook("POSTROUTING", &[(None, "kubernetes postrouting rules", POSTROUTING)]),
        (MARK_MASQUERADE, Wanted::Exactly(vec![Rule::new([], mark)])),
        (POSTROUTING, Wanted::Exactly(postrouting())),
        (MARKER, Wanted::Exactly(Vec::new())),
    ]);
    if let [_, _, ..] = pod_ranges(context, family)[..] {
        let pods = pod_ranges(context, family).into_iter();
        let mut rules: Vec<Rule> =
            pods.map(|range| Rule::new([Match::source(range)], Target::Return)).collect();
        rules.push(Rule::new([], Target::Jump(MARK_MASQUERADE)));
        chains.insert(STRANGERS, Wanted::Exactly(rules));
    }
    chains
}

/// The fixed chains of `filter`.
pub(super) fn filter() -> Desired {
    let new = Some(ConnectionState::New);
    let firewall = (new, "kubernetes load balancer firewall", FIREWALL);
    let external = (new, "kubernetes externally-visible service portals", EXTERNAL_SERVICES);
    let services = (new, "kubernetes service portals", SERVICES);
    let health = (None, "kubernetes health check service ports", NODE_PORTS);
    let forward = (None, "kubernetes forwarding rules", FORWARD);
    Desired::from([
        hook("INPUT", &[firewall, health, external]),
        hook("FORWARD", &[firewall, forward, services, external]),
        hook("OUTPUT", &[firewall, services, external]),
        (FORWARD, Wanted::Exactly(forwarding())),
    ])
}

/// The end of the dispatch in `nat`: whatever is for this node itself may be for a node port.
///
/// Not at loopback: the kernel drops what it translates away from there (unless route_localnet is set, which opens the
/// node's loopback to its neighbours).
pub(super) fn to_node_ports(context: &NodeContext, family: AddressFamily) -> Vec<Rule> {
    let note = Match::comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain");
    let rule = |mut matches: Vec<Match>| {
        matches.push(note.clone());
        matches.push(Match::DestinationType(Sense::Is, AddressType::Local));
        Rule::new(matches, Target::Jump(NODE_PORTS))
    };
    node_port_places(context, family).into_iter().map(|place| rule(vec![place])).collect()
}

/// The end of the refusals in `filter`: whatever is still for a virtual address asks for a port that no service has.
/// `cover` holds all virtual addresses, so that nobody else has to pass their rules.
pub(super) fn to_addresses(cover: Option<IpNet>) -> Vec<Rule> {
    let note = || Match::comment("addresses of services; NOTE: this must be the last rule in this chain");
    cover
        .map(|cover| Rule::new([Match::destination(cover), note()], Target::Jump(ADDRESSES)))
        .into_iter()
        .collect()
}

/// Where node ports are: the destinations of which one is to match.
pub(super) fn node_port_places(context: &NodeContext, family: AddressFamily) -> Vec<Match> {
    match &context.node_port_addresses {
        NodePortAddresses::All => vec![Match::Destination(Sense::IsNot, loopback(family))],
        NodePortAddresses::Ranges(ranges) => {
            // A range that holds loopback addresses, too, is cut where it does not matter: nobody else is within.
            let mut ranges: Vec<IpNet> = ranges
                .iter()
                .filter(|range| is_of(family, range) && !loopback(family).contains(*range))
                .map(IpNet::trunc)
                .collect();
            ranges.sort_unstable();
            ranges.dedup();
            let all = ranges.iter().any(|range| range.prefix_len() == 0);
            if all {
                return vec![Match::Destination(Sense::IsNot, loopback(family))];
            }
            ranges.into_iter().map(Match::destination).collect()
        }
    }
}

/// What marks connections that are no pod's: the matches that tell them, and where to go. `None` when pods are not
/// known.
pub(super) fn strangers(context: &NodeContext, family: AddressFamily) -> Option<(Option<Match>, ChainName)> {
    let unless = |one| Some((Some(one), MARK_MASQUERADE));
    match &context.pods {
        LocalTraffic::Ranges(_) => match pod_ranges(context, family)[..] {
            [] => None,
            [range] => unless(Match::Source(Sense::IsNot, range)),
            [_, _, ..] => Some((None, STRANGERS)),
        },
        LocalTraffic::Interface(name) => unless(Match::Input(Sense::IsNot, Interfaces::Named(*name))),
        LocalTraffic::InterfacePrefix(prefix) => {
            unless(Match::Input(Sense::IsNot, Interfaces::Beginning(*prefix)))
        }
        LocalTraffic::Unknown => None,
    }
}

/// The matches of which one is true of a pod's connection.
pub(super) fn pods(context: &NodeContext, family: AddressFamily) -> Vec<Match> {
    match &context.pods {
        LocalTraffic::Ranges(_) => pod_ranges(context, family).into_iter().map(Match::source).collect(),
        LocalTraffic::Interface(name) => vec![Match::Input(Sense::Is, Interfaces::Named(*name))],
        LocalTraffic::InterfacePrefix(prefix) => {
            vec![Match::Input(Sense::Is, Interfaces::Beginning(*prefix))]
        }
        LocalTraffic::Unknown => Vec::new(),
    }
}

fn pod_ranges(context: &NodeContext, family: AddressFamily) -> Vec<IpNet> {
    let LocalTraffic::Ranges(ranges) = &context.pods else {
        return Vec::new();
    };
    ranges.iter().filter(|range| is_of(family, range)).map(IpNet::trunc).collect()
}

fn hook(chain: &'static str, to: &[(Option<ConnectionState>, &str, ChainName)]) -> (ChainName, Wanted) {
    let rule = |(state, comment, target): &(Option<ConnectionState>, &str, ChainName)| {
        let state = state.map(|state| Match::State([state].into()));
        let matches: Vec<Match> = state.into_iter().chain([Match::comment(comment)]).collect();
        Rule::new(matches, Target::Jump(*target))
    };
    (ChainName::constant(chain), Wanted::Hooked(to.iter().map(rule).collect()))
}

fn marked(sense: Sense) -> Match {
    Match::Mark { sense, value: MASQUERADE, mask: MASQUERADE }
}

fn postrouting() -> Vec<Rule> {
    vec![
        Rule::new([marked(Sense::IsNot)], Target::Return),
        // Turned over, so that a packet that comes by once more is not masqueraded twice.
        Rule::new([], Target::SetMark { value: MASQUERADE, mask: 0 }),
        Rule::new(
            [Match::comment("kubernetes service traffic requiring SNAT")],
            Target::Masquerade { fully_random: true },
        ),
    ]
}

fn forwarding() -> Vec<Rule> {
    let rules = Match::comment("kubernetes forwarding rules");
    let connection = Match::comment("kubernetes forwarding conntrack rule");
    let state = |states: &[ConnectionState]| Match::State(states.into());
    vec![
        // A reply that fits no connection any more would reach the client with the endpoint's address, and reset what
        // it has (kubernetes issue 74839).
        Rule::new([state(&[ConnectionState::Invalid])], Target::Drop),
        Rule::new([rules, marked(Sense::Is)], Target::Accept),
        Rule::new(
            [connection, state(&[ConnectionState::Established, ConnectionState::Related])],
            Target::Accept,
        ),
    ]
}
