//! From doors to chains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ipnet::IpNet;
use model::{AddressFamily, EndpointAddress, Port, Protocol, ServiceKey, ServicePortName, TrafficPolicy};
use netstate::iptables::{
    Chain, ChainName, Chains, Chance, Desired, Match, Recent, RecentAction, Rule, Sense, Table, Target,
    Wanted,
};
use netstate::nft::{AddressType, L4Protocol, Reject};

use super::names::{
    ADDRESSES, EXTERNAL_SERVICES, FIREWALL, MARK_MASQUERADE, NODE_PORTS, PortChains, SERVICES, endpoint_chain,
};
use super::skeleton;
use super::view::{View, views};
use crate::NodeContext;
use crate::books::Fragment;
use crate::door_words::is_of;
use crate::doors::{Behind, Door, DoorKind, Ends, Masquerade, Nobody};

/// How much is written for each endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// As the articles print it.
    Full,
    /// What packets need: no comments, and a chain only for endpoints that may meet themselves, as they are on this
    /// node, or whose clients are remembered. The legacy variant reads and writes all rules for each change, and an
    /// endpoint with a chain of its own is four entries instead of one.
    Lean,
}

impl Detail {
    /// kube-proxy leaves the comments out from the same number on.
    const MOST_IN_FULL: usize = 1_000;

    /// By the number of endpoints.
    pub(super) const fn for_endpoints(count: usize) -> Self {
        if count > Self::MOST_IN_FULL { Self::Lean } else { Self::Full }
    }
}

/// What is planned from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub context: &'a NodeContext,
    pub family: AddressFamily,
    pub detail: Detail,
    pub fragment: &'a Fragment,
    /// Of these services' doors alone; `None`: of all.
    pub services: Option<&'a BTreeSet<ServiceKey>>,
    /// Ports at which load balancers ask whether a service is here, of the services in question.
    pub health: &'a BTreeMap<ServiceKey, Port>,
}

/// What services need of the two tables.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The chains of service ports and endpoints.
    chains: Desired,
    services: Vec<Rule>,
    node_ports: Vec<Rule>,
    refused: Vec<Rule>,
    refused_outside: Vec<Rule>,
    firewall: Vec<Rule>,
    health: Vec<Rule>,
    addresses: Vec<Rule>,
    /// How many endpoints there are, of each service port.
    pub endpoints: usize,
}

/// The chains and rules of the services.
pub(super) fn draft(source: &Source<'_>) -> Draft {
    let mut draft = Draft::default();
    for view in views(source.fragment, source.services).values() {
        Writer { source, view, draft: &mut draft }.write();
    }
    draft.addresses = source
        .fragment
        .addresses
        .iter()
        .map(|address| Rule::new([Match::destination(*address)], Target::Reject(Reject::PortUnreachable)))
        .collect();
    for (key, port) in source.health {
        let comment = Match::comment(&format!("{key} health check node port"));
        let [protocol, port] = Match::port(L4Protocol::TCP, port.number());
        draft.health.push(Rule::new([protocol, comment, port], Target::Accept));
    }
    draft
}

impl Draft {
    /// Everything, with the fixed chains. `cover` holds all virtual addresses.
    pub(super) fn whole(
        self,
        context: &NodeContext,
        family: AddressFamily,
        cover: Option<IpNet>,
    ) -> [(Table, Desired); 2] {
        let any = |rules| Wanted::AnyOrder { rules, last: Vec::new() };
        let mut nat = skeleton::nat(context, family);
        nat.extend(self.chains);
        let last = skeleton::to_node_ports(context, family);
        nat.insert(SERVICES, Wanted::AnyOrder { rules: self.services, last });
        nat.insert(NODE_PORTS, any(self.node_ports));
        let mut filter = skeleton::filter();
        let last = skeleton::to_addresses(cover);
        filter.insert(SERVICES, Wanted::AnyOrder { rules: self.refused, last });
        filter.insert(ADDRESSES, any(self.addresses));
        filter.insert(EXTERNAL_SERVICES, any(self.refused_outside));
        filter.insert(FIREWALL, any(self.firewall));
        filter.insert(NODE_PORTS, any(self.health));
        [(Table::Nat, nat), (Table::Filter, filter)]
    }

    /// These services alone; of the chains that all share, only their rules.
    pub(super) fn part(self) -> [(Table, Desired); 2] {
        let any = |rules| Wanted::AnyOrder { rules, last: Vec::new() };
        let mut nat = self.chains;
        nat.extend([(SERVICES, any(self.services)), (NODE_PORTS, any(self.node_ports))]);
        let filter = Desired::from([
            (SERVICES, any(self.refused)),
            (EXTERNAL_SERVICES, any(self.refused_outside)),
            (FIREWALL, any(self.firewall)),
            (NODE_PORTS, any(self.health)),
            (ADDRESSES, any(self.addresses)),
        ]);
        [(Table::Nat, nat), (Table::Filter, filter)]
    }
}

/// Chains as they are once they are as desired.
pub(super) fn achieved(desired: Desired) -> Chains {
    let rules = |wanted| match wanted {
        Wanted::Exactly(rules) | Wanted::Hooked(rules) => rules,
        Wanted::AnyOrder { rules, last } => [rules, last].concat(),
    };
    Chains(
        desired
            .into_iter()
            .map(|(name, wanted)| (name, Chain { policy: None, rules: rules(wanted) }))
            .collect(),
    )
}

/// The doors that a table's rules were open for.
pub(super) fn observed_doors(chains: &Chains) -> BTreeSet<Door> {
    let rules = [SERVICES, NODE_PORTS].into_iter().flat_map(|chain| chains.rules(chain));
    rules.filter_map(door_of).collect()
}

fn door_of(rule: &Rule) -> Option<Door> {
    let mut address = None;
    let mut port = None;
    for one in &rule.matches {
        match one {
            Match::Destination(Sense::Is, net) if net.prefix_len() == net.max_prefix_len() => {
                address = Some(net.addr());
            }
            Match::Transport { protocol, destination_port: Some(number) } => {
                port = Some((*protocol, *number))
            }
            _ => {}
        }
    }
    let (protocol, number) = port?;
    let known = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let protocol = known.into_iter().find(|known| known.number() == protocol.0)?;
    let port = Port::try_from(i64::from(number)).ok()?;
    Some(match address {
        Some(address) => Door::Address { address, protocol, port },
        None => Door::Node { protocol, port },
    })
}

struct Writer<'s, 'v, 'd> {
    source: &'s Source<'s>,
    view: &'s View<'v>,
    draft: &'d mut Draft,
}

impl Writer<'_, '_, '_> {
    fn write(&mut self) {
        let view = self.view;
        let chains = PortChains::of(&view.port.name, view.protocol);
        for endpoint in view.endpoints() {
            self.draft.endpoints += 1;
            if self.has_chain(&endpoint) {
                self.endpoint(&endpoint);
            }
        }
        if let Some(ends) = view.cluster() {
            let first = if view.local_only_inside() { Vec::new() } else { self.strangers() };
            self.balance(chains.cluster, first, ends);
        }
        if let Some(ends) = view.local() {
            let first = if view.local_only_inside() { self.strangers() } else { Vec::new() };
            self.balance(chains.local, first, ends);
        }
        if let Some(behind) = view.outer().filter(|_| view.cluster().is_some()) {
            self.external(&chains, behind);
        }
        self.firewall(&chains);
        for (door, behind) in &view.doors {
            self.door(door, behind, &chains);
        }
    }

    fn comment(&self, text: impl FnOnce(&ServicePortName) -> String) -> Option<Match> {
        match self.source.detail {
            Detail::Full => Some(Match::comment(&text(&self.view.port.name))),
            Detail::Lean => None,
        }
    }

    /// The protocol, a comment, and what else is asked.
    fn rule(
        &self,
        first: impl IntoIterator<Item = Match>,
        comment: Option<Match>,
        rest: impl IntoIterator<Item = Match>,
        target: Target,
    ) -> Rule {
        let matches: Vec<Match> = first.into_iter().chain(comment).chain(rest).collect();
        Rule::new(matches, target)
    }

    fn l4(&self) -> L4Protocol {
        L4Protocol(self.view.protocol.number())
    }

    fn has_chain(&self, endpoint: &EndpointAddress) -> bool {
        match self.source.detail {
            Detail::Full => true,
            Detail::Lean => self.view.port.affinity.is_some() || self.view.port.is_here(endpoint),
        }
    }

    fn endpoint(&mut self, endpoint: &EndpointAddress) {
        let name = self.chain_of(endpoint);
        let meets_itself = self.rule(
            [Match::source(endpoint.address)],
            self.comment(ToString::to_string),
            [],
            Target::Jump(MARK_MASQUERADE),
        );
        let remember = self.view.port.affinity.map(|_| recent(name, RecentAction::Set));
        let translate = self.translate(endpoint, self.comment(ToString::to_string), remember);
        self.draft.chains.insert(name, Wanted::Exactly(vec![meets_itself, translate]));
    }

    /// The rule that leads to an endpoint.
    fn translate(&self, endpoint: &EndpointAddress, comment: Option<Match>, also: Option<Match>) -> Rule {
        // Only the protocol has to be known, to translate ports.
        let transport = (self.source.detail == Detail::Full)
            .then(|| Match::Transport { protocol: self.l4(), destination_port: None });
        let to = Target::DestinationNat(SocketAddr::new(endpoint.address, endpoint.port.number()));
        self.rule([Match::Protocol(self.l4())], comment, also.into_iter().chain(transport), to)
    }

    fn chain_of(&self, endpoint: &EndpointAddress) -> ChainName {
        endpoint_chain(&self.view.port.name, self.view.protocol, endpoint)
    }

    /// Marks who comes to the virtual address and is no pod.
    fn strangers(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let at_cluster = self.view.doors.iter().filter(|(_, behind)| behind.kind == DoorKind::Cluster);
        for (door, behind) in at_cluster {
            let Door::Address { address, port, .. } = door else {
                continue;
            };
            let (unless, to) = match behind.masquerade(self.source.context) {
                Masquerade::Everybody => (None, MARK_MASQUERADE),
                Masquerade::Strangers => match skeleton::strangers(self.source.context, self.source.family) {
                    Some(found) => found,
                    None => continue,
                },
                Masquerade::OwnNode => continue,
            };
            // Addresses come before interfaces, sources before destinations.
            let (source, input) = match unless {
                Some(one @ Match::Input(..)) => (None, Some(one)),
                one => (one, None),
            };
            let [protocol, port] = Match::port(self.l4(), port.number());
            let first =
                source.into_iter().chain([Match::destination(*address)]).chain(input).chain([protocol]);
            let comment = self.comment(|name| format!("{name} cluster IP"));
            rules.push(self.rule(first, comment, [port], Target::Jump(to)));
        }
        rules
    }

    /// A chain that leads to one of its endpoints: to whom the client was led before, or by chance.
    fn balance(&mut self, name: ChainName, mut rules: Vec<Rule>, ends: &Ends) {
        let mut endpoints = ends.slots.clone();
        endpoints.sort_unstable();
        let comment = |endpoint: &EndpointAddress| self.comment(|name| format!("{name} -> {endpoint}"));
        if let Some(timeout) = self.view.port.affinity {
            let seconds = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
            for endpoint in &endpoints {
                let chain = self.chain_of(endpoint);
                let again = recent(chain, RecentAction::Check { seconds });
                rules.push(self.rule([], comment(endpoint), [again], Target::Jump(chain)));
            }
        }
        for (left, endpoint) in (1..=endpoints.len()).rev().zip(&endpoints) {
            let chance =
                (left > 1).then(|| Match::Chance(Chance::one_in(u32::try_from(left).unwrap_or(u32::MAX))));
            rules.push(if self.has_chain(endpoint) {
                self.rule([], comment(endpoint), chance, Target::Jump(self.chain_of(endpoint)))
            } else {
                self.translate(endpoint, comment(endpoint), chance)
            });
        }
        self.draft.chains.insert(name, Wanted::Exactly(rules));
    }

    /// The chain for connections from outside.
    fn external(&mut self, chains: &PortChains, behind: &Behind) {
        let cluster = || Target::Jump(chains.cluster);
        let mark = || Target::Jump(MARK_MASQUERADE);
        let comment =
            |what: &str| self.comment(|name| format!("{what} traffic for {name} external destinations"));
        let mut rules = Vec::new();
        if behind.outside().is_none() {
            rules.push(self.rule([], comment("masquerade"), [], mark()));
            rules.push(Rule::new([], cluster()));
        } else {
            // Pods and the node itself are inside already: no reason to keep them to this node.
            for pod in skeleton::pods(self.source.context, self.source.family) {
                rules.push(self.rule([pod], comment("pod"), [], cluster()));
            }
            let own = || [Match::SourceType(Sense::Is, AddressType::Local)];
            rules.push(self.rule([], comment("masquerade LOCAL"), own(), mark()));
            rules.push(self.rule([], comment("route LOCAL"), own(), cluster()));
            if self.view.local().is_some() {
                rules.push(Rule::new([], Target::Jump(chains.local)));
            }
        }
        self.draft.chains.insert(chains.external, Wanted::Exactly(rules));
    }

    /// The chain that lets in who is in a load balancer's source ranges; the others come back from it, and are dropped
    /// in `filter`.
    fn firewall(&mut self, chains: &PortChains) {
        let Some(behind) = self.view.doors.iter().find(|(_, behind)| self.is_guarded(behind)) else {
            return;
        };
        let comment = || self.comment(|name| format!("{name} loadbalancer IP"));
        let mut ranges: Vec<IpNet> = behind
            .1
            .sources
            .iter()
            .filter(|range| is_of(self.source.family, range))
            .map(IpNet::trunc)
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        let rules = ranges
            .into_iter()
            .map(|range| self.rule([Match::source(range)], comment(), [], Target::Jump(chains.external)))
            .collect();
        self.draft.chains.insert(chains.firewall, Wanted::Exactly(rules));
    }

    fn is_guarded(&self, behind: &Behind) -> bool {
        behind.kind == DoorKind::LoadBalancer && !behind.sources.is_empty() && self.view.cluster().is_some()
    }

    fn door(&mut self, door: &Door, behind: &Behind, chains: &PortChains) {
        let leads_to = match behind.kind {
            DoorKind::Cluster if behind.policy() == TrafficPolicy::Local => {
                self.view.local().map(|_| chains.local)
            }
            DoorKind::Cluster => self.view.cluster().map(|_| chains.cluster),
            DoorKind::LoadBalancer if self.is_guarded(behind) => Some(chains.firewall),
            DoorKind::External | DoorKind::LoadBalancer | DoorKind::Node => {
                self.view.cluster().map(|_| chains.external)
            }
        };
        if let Some(target) = leads_to {
            self.open(door, behind, Target::Jump(target));
        }
        if self.is_guarded(behind) {
            let comment = self.comment(|name| format!("{name} traffic not accepted by {}", chains.firewall));
            let rules = self.at(door, comment, Target::Drop);
            self.draft.firewall.extend(rules);
        }
        self.refuse(door, behind);
    }

    /// Leads connections to a door on.
    fn open(&mut self, door: &Door, behind: &Behind, target: Target) {
        let comment = self.comment(|name| match behind.kind {
            DoorKind::Cluster => format!("{name} cluster IP"),
            DoorKind::External => format!("{name} external IP"),
            DoorKind::LoadBalancer => format!("{name} loadbalancer IP"),
            DoorKind::Node => name.to_string(),
        });
        match door {
            Door::Address { .. } => {
                let rules = self.at(door, comment, target);
                self.draft.services.extend(rules);
            }
            // The way there has seen to it that it is a node port's address.
            Door::Node { port, .. } => {
                let [protocol, port] = Match::port(self.l4(), port.number());
                let rule = self.rule([protocol], comment, [port], target);
                self.draft.node_ports.push(rule);
            }
        }
    }

    /// Refuses or drops what finds nobody behind a door.
    fn refuse(&mut self, door: &Door, behind: &Behind) {
        let inside = Some(behind.inside());
        let Some(ends) = inside.into_iter().chain(behind.outside()).find(|ends| ends.slots.is_empty()) else {
            return;
        };
        let (words, target) = match ends.nobody {
            Nobody::Refuse => ("has no endpoints", Target::Reject(Reject::PortUnreachable)),
            Nobody::Drop => ("has no local endpoints", Target::Drop),
        };
        let comment = self.comment(|name| format!("{name} {words}"));
        let rules = self.at(door, comment, target);
        match behind.kind {
            DoorKind::Cluster => self.draft.refused.extend(rules),
            DoorKind::External | DoorKind::LoadBalancer | DoorKind::Node => {
                self.draft.refused_outside.extend(rules);
            }
        }
    }

    /// Rules for whatever comes to a door.
    fn at(&self, door: &Door, comment: Option<Match>, target: Target) -> Vec<Rule> {
        let [protocol, port] = Match::port(self.l4(), door.port().number());
        match door {
            Door::Address { address, .. } => {
                vec![self.rule([Match::destination(*address), protocol], comment, [port], target)]
            }
            Door::Node { .. } => skeleton::node_port_places(self.source.context, self.source.family)
                .into_iter()
                .map(|place| {
                    let local = Match::DestinationType(Sense::Is, AddressType::Local);
                    self.rule(
                        [place, protocol.clone()],
                        comment.clone(),
                        [local, port.clone()],
                        target.clone(),
                    )
                })
                .collect(),
        }
    }
}

fn recent(chain: ChainName, action: RecentAction) -> Match {
    Match::Recent(Box::new(Recent { list: chain.as_str().into(), action }))
}
