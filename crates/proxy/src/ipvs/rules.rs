//! The iptables rules of this mode: as many for one service as for ten thousand, since they match on sets.
//!
//! ```text
//! mangle  PREROUTING, OUTPUT ─► KUBE-PROXY-FIREWALL ─► KUBE-SOURCE-RANGES-FIREWALL     drop
//!                                                   └─► KUBE-INSIDE       mark pods and the node
//! nat     PREROUTING, OUTPUT ─► KUBE-SERVICES ─► KUBE-LOAD-BALANCER, KUBE-NODE-PORT ─► KUBE-MARK-MASQ
//!         POSTROUTING ─► KUBE-POSTROUTING                                             masquerade
//! filter  INPUT ─► KUBE-IPVS-FILTER                                   refuse ports that no service has
//!         FORWARD ─► KUBE-FORWARD                                     let connections of services pass
//! ```
//!
//! Chains and rules are kube-proxy's, but for these: what may be dropped is dropped in `mangle`, since IPVS takes the
//! node's own packets before `filter` sees them; node ports are known by `KUBE-NODE-IP`, so that a virtual address and
//! loopback are none; a node's own connections to doors that keep sources are masqueraded.

use ipnet::IpNet;
use netstate::iptables::{ChainName, Desired, Interfaces, Match, Rule, Sense, Side, Table, Target, Wanted};
use netstate::nft::{AddressType, ConnectionState, Family, L4Protocol, Reject};

use super::sets::Role;
use crate::{LocalTraffic, NodeContext};

/// What connections whose source is to be translated are marked with, as by kube-proxy and kubelet.
pub(super) const MASQUERADE: u32 = 0x4000;

/// Also of the iptables mode, with other rules.
pub(super) const SERVICES: ChainName = ChainName::constant("KUBE-SERVICES");
const POSTROUTING: ChainName = ChainName::constant("KUBE-POSTROUTING");
const MARK_MASQUERADE: ChainName = ChainName::constant("KUBE-MARK-MASQ");
const STRANGERS: ChainName = ChainName::constant("KUBE-CLUSTER-IP");
const LOAD_BALANCER: ChainName = ChainName::constant("KUBE-LOAD-BALANCER");
const NODE_PORT: ChainName = ChainName::constant("KUBE-NODE-PORT");
const FORWARD: ChainName = ChainName::constant("KUBE-FORWARD");
const FILTER: ChainName = ChainName::constant("KUBE-IPVS-FILTER");
const FIREWALL: ChainName = ChainName::constant("KUBE-PROXY-FIREWALL");
const SOURCE_RANGES: ChainName = ChainName::constant("KUBE-SOURCE-RANGES-FIREWALL");
const INSIDE: ChainName = ChainName::constant("KUBE-INSIDE");

/// The chains that this mode writes, by the names that other modes write, too, and by its own alone.
const SHARED: [ChainName; 5] = [SERVICES, POSTROUTING, MARK_MASQUERADE, FORWARD, FIREWALL];
const ALONE: [ChainName; 6] = [STRANGERS, LOAD_BALANCER, NODE_PORT, FILTER, SOURCE_RANGES, INSIDE];

/// Whether a chain of this name is ours to write and to remove.
pub(super) fn is_ours(name: ChainName) -> bool {
    is_shared(name) || ALONE.contains(&name)
}

/// Whether another mode has a chain of this name.
pub(super) fn is_shared(name: ChainName) -> bool {
    SHARED.contains(&name)
}

/// The chains of one table. Every table has some.
pub(super) fn desired(table: Table, family: Family, context: &NodeContext) -> Desired {
    let sets = Sets(family);
    match table {
        Table::Nat => nat(sets, context),
        Table::Filter => filter(sets),
        Table::Mangle => mangle(sets, context),
    }
}

fn nat(sets: Sets, context: &NodeContext) -> Desired {
    let portal = Match::comment("kubernetes service portals");
    let hook =
        |chain, to| (built_in(chain), Wanted::Hooked(vec![Rule::new([portal.clone()], Target::Jump(to))]));
    let mark = Target::SetMark { value: MASQUERADE, mask: MASQUERADE };
    let mut chains = Desired::from([
        hook("PREROUTING", SERVICES),
        hook("OUTPUT", SERVICES),
        (
            built_in("POSTROUTING"),
            Wanted::Hooked(vec![Rule::new(
                [Match::comment("kubernetes postrouting rules")],
                Target::Jump(POSTROUTING),
            )]),
        ),
        (SERVICES, Wanted::Exactly(services(sets, context))),
        (MARK_MASQUERADE, Wanted::Exactly(vec![Rule::new([], mark)])),
        (LOAD_BALANCER, Wanted::Exactly(load_balancer(sets))),
        (NODE_PORT, Wanted::Exactly(node_port(sets))),
        (POSTROUTING, Wanted::Exactly(postrouting(sets))),
    ]);
    if let Some(ranges) = several_ranges(sets.0, context) {
        let pods = ranges.into_iter().map(|range| Rule::new([Match::source(range)], Target::Return));
        let rules = pods.chain([Rule::new([], Target::Jump(MARK_MASQUERADE))]).collect();
        chains.insert(STRANGERS, Wanted::Exactly(rules));
    }
    chains
}

fn services(sets: Sets, context: &NodeContext) -> Vec<Rule> {
    let mark = || Target::Jump(MARK_MASQUERADE);
    let own = Match::SourceType(Sense::Is, AddressType::Local);
    let mut rules = vec![
        Rule::new(
            [Match::comment("Kubernetes service lb portal"), sets.door(Role::LoadBalancer)],
            Target::Jump(LOAD_BALANCER),
        ),
        strangers(sets, context),
        Rule::new(
            [
                Match::comment("Kubernetes service external ip + port for masquerade and filter purpose"),
                sets.door(Role::ExternalIp),
            ],
            mark(),
        ),
        Rule::new([own, sets.door(Role::ExternalIpLocal)], mark()),
        Rule::new([sets.matches(Role::NodeIp, &[Side::Destination])], Target::Jump(NODE_PORT)),
    ];
    // A rule of somebody else that takes what is for the machine itself, as of published container ports, would take
    // virtual addresses for that.
    let doors = [Role::ClusterIp, Role::LoadBalancer, Role::ExternalIp, Role::ExternalIpLocal];
    rules.extend(doors.map(|role| Rule::new([sets.door(role)], Target::Accept)));
    rules
}

/// Marks connections to cluster addresses that are no pod's.
fn strangers(sets: Sets, context: &NodeContext) -> Rule {
    let comment = Match::comment("Kubernetes service cluster ip + port for masquerade purpose");
    let door = sets.door(Role::ClusterIp);
    let mark = Target::Jump(MARK_MASQUERADE);
    if context.masquerade_all {
        return Rule::new([comment, door], mark);
    }
    match &context.pods {
        LocalTraffic::Ranges(ranges) => match &of_family(sets.0, ranges)[..] {
            [] => unknown(sets, comment),
            [range] => Rule::new([Match::Source(Sense::IsNot, range.trunc()), comment, door], mark),
            [_, _, ..] => Rule::new([comment, door], Target::Jump(STRANGERS)),
        },
        LocalTraffic::Interface(name) => {
            Rule::new([Match::Input(Sense::IsNot, Interfaces::Named(*name)), comment, door], mark)
        }
        LocalTraffic::InterfacePrefix(prefix) => {
            Rule::new([Match::Input(Sense::IsNot, Interfaces::Beginning(*prefix)), comment, door], mark)
        }
        LocalTraffic::Unknown => unknown(sets, comment),
    }
}

/// Without a way to tell pods: the node's own connections, whose source is the virtual address itself.
fn unknown(sets: Sets, comment: Match) -> Rule {
    let door = sets.matches(Role::ClusterIp, &[Side::Source, Side::Destination]);
    Rule::new([comment, door], Target::Jump(MARK_MASQUERADE))
}

fn several_ranges(family: Family, context: &NodeContext) -> Option<Vec<IpNet>> {
    match &context.pods {
        LocalTraffic::Ranges(ranges) if !context.masquerade_all => {
            Some(of_family(family, ranges)).filter(|ranges| ranges.len() > 1)
        }
        LocalTraffic::Ranges(_)
        | LocalTraffic::Interface(_)
        | LocalTraffic::InterfacePrefix(_)
        | LocalTraffic::Unknown => None,
    }
}

fn of_family(family: Family, ranges: &[IpNet]) -> Vec<IpNet> {
    ranges.iter().copied().filter(|range| range.addr().is_ipv4() == (family == Family::Ip)).collect()
}

fn load_balancer(sets: Sets) -> Vec<Rule> {
    let comment = "Kubernetes service load balancer ip + port with externalTrafficPolicy=local";
    vec![
        Rule::new([Match::comment(comment), not_own(), sets.door(Role::LoadBalancerLocal)], Target::Return),
        Rule::new([], Target::Jump(MARK_MASQUERADE)),
    ]
}

fn node_port(sets: Sets) -> Vec<Rule> {
    let protocols = [
        (L4Protocol::TCP, Role::NodePortLocalTcp, Role::NodePortTcp, "TCP"),
        (L4Protocol::UDP, Role::NodePortLocalUdp, Role::NodePortUdp, "UDP"),
        (L4Protocol::SCTP, Role::NodePortLocalSctp, Role::NodePortSctp, "SCTP"),
    ];
    let rules = protocols.into_iter().flat_map(|(protocol, keeping, every, word)| {
        let port = |role| sets.matches(role, &[Side::Destination]);
        let with = format!("Kubernetes nodeport {word} port with externalTrafficPolicy=local");
        let all = format!("Kubernetes nodeport {word} port for masquerade purpose");
        [
            Rule::new(
                [Match::Protocol(protocol), Match::comment(&with), not_own(), port(keeping)],
                Target::Return,
            ),
            Rule::new(
                [Match::Protocol(protocol), Match::comment(&all), port(every)],
                Target::Jump(MARK_MASQUERADE),
            ),
        ]
    });
    rules.collect()
}

fn postrouting(sets: Sets) -> Vec<Rule> {
    let hairpin = Match::comment("Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose");
    let ends = sets.matches(Role::LoopBack, &[Side::Destination, Side::Destination, Side::Source]);
    let unmarked = Match::Mark { sense: Sense::IsNot, value: MASQUERADE, mask: MASQUERADE };
    let snat = Match::comment("kubernetes service traffic requiring SNAT");
    vec![
        Rule::new([hairpin, ends], Target::Masquerade { fully_random: false }),
        Rule::new([unmarked], Target::Return),
        // The bit is turned over, so that a packet that passes here twice is not masqueraded twice.
        Rule::new([], Target::SetMark { value: MASQUERADE, mask: 0 }),
        Rule::new([snat], Target::Masquerade { fully_random: true }),
    ]
}

fn filter(sets: Sets) -> Desired {
    let input = Match::comment("kubernetes ipvs access filter");
    let forward = Match::comment("kubernetes forwarding rules");
    let marked = Match::Mark { sense: Sense::Is, value: MASQUERADE, mask: MASQUERADE };
    let known = Match::State([ConnectionState::Established, ConnectionState::Related].into());
    let doors = [Role::LoadBalancer, Role::ClusterIp, Role::ExternalIp, Role::ExternalIpLocal];
    let mut access: Vec<Rule> = doors.map(|role| Rule::new([sets.door(role)], Target::Return)).into();
    let virtual_address = sets.matches(Role::VirtualIp, &[Side::Destination]);
    access.push(Rule::new([new(), virtual_address], Target::Reject(Reject::PortUnreachable)));
    let forwarding = vec![
        Rule::new([Match::comment("kubernetes forwarding rules"), marked], Target::Accept),
        Rule::new([Match::comment("kubernetes forwarding conntrack rule"), known], Target::Accept),
    ];
    Desired::from([
        (built_in("INPUT"), Wanted::Hooked(vec![Rule::new([input], Target::Jump(FILTER))])),
        (built_in("FORWARD"), Wanted::Hooked(vec![Rule::new([forward], Target::Jump(FORWARD))])),
        (FILTER, Wanted::Exactly(access)),
        (FORWARD, Wanted::Exactly(forwarding)),
    ])
}

fn mangle(sets: Sets, context: &NodeContext) -> Desired {
    let comment = Match::comment("kubernetes load balancer firewall");
    let hook = || Wanted::Hooked(vec![Rule::new([comment.clone(), new()], Target::Jump(FIREWALL))]);
    let allowed = |role| {
        let door = sets.matches(role, &[Side::Destination, Side::Destination, Side::Source]);
        Rule::new([door], Target::Return)
    };
    let mut firewall = vec![Rule::new(
        [
            Match::comment("Kubernetes service load balancer ip + port for load balancer with sourceRange"),
            sets.door(Role::LoadBalancerFirewall),
        ],
        Target::Jump(SOURCE_RANGES),
    )];
    // With a goto: whoever is inside does not come back to the rule that drops.
    let inside = pods(sets.0, context).into_iter().chain([Match::SourceType(Sense::Is, AddressType::Local)]);
    firewall.extend(inside.map(|who| Rule::new([who, sets.door(Role::Inside)], Target::Goto(INSIDE))));
    firewall.push(Rule::new(
        [Match::comment("has no local endpoints"), sets.door(Role::NoLocalEndpoint)],
        Target::Drop,
    ));
    let ranges = vec![
        allowed(Role::LoadBalancerSourceRange),
        allowed(Role::LoadBalancerSourceIp),
        Rule::new([], Target::Drop),
    ];
    Desired::from([
        (built_in("PREROUTING"), hook()),
        (built_in("OUTPUT"), hook()),
        (FIREWALL, Wanted::Exactly(firewall)),
        (SOURCE_RANGES, Wanted::Exactly(ranges)),
        (INSIDE, Wanted::Exactly(vec![Rule::new([], Target::MapMark(Role::Inside.name(sets.0)))])),
    ])
}

/// Matches of which one holds for a pod's connection.
fn pods(family: Family, context: &NodeContext) -> Vec<Match> {
    match &context.pods {
        LocalTraffic::Ranges(ranges) => of_family(family, ranges).into_iter().map(Match::source).collect(),
        LocalTraffic::Interface(name) => vec![Match::Input(Sense::Is, Interfaces::Named(*name))],
        LocalTraffic::InterfacePrefix(prefix) => {
            vec![Match::Input(Sense::Is, Interfaces::Beginning(*prefix))]
        }
        LocalTraffic::Unknown => Vec::new(),
    }
}

const fn built_in(name: &'static str) -> ChainName {
    ChainName::constant(name)
}

fn new() -> Match {
    Match::State([ConnectionState::New].into())
}

fn not_own() -> Match {
    Match::SourceType(Sense::IsNot, AddressType::Local)
}

/// Matches on the sets of one family.
#[derive(Clone, Copy)]
struct Sets(Family);

impl Sets {
    /// The destination's address and port.
    fn door(self, role: Role) -> Match {
        self.matches(role, &[Side::Destination, Side::Destination])
    }

    fn matches(self, role: Role, sides: &[Side]) -> Match {
        Match::Set(Sense::Is, role.name(self.0), sides.into())
    }
}
