//! The sets of this mode: their names, as kube-proxy's where it has them, and what is in each.

use netstate::ipset::{IpPort, Member, Set, SetKind, SetName, Sets};
use netstate::ipvs::ServiceId;
use netstate::nft::{Family, L4Protocol};

/// What a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Role {
    /// Endpoints of this node that may meet themselves: endpoint, its port, the endpoint again.
    LoopBack,
    /// Doors at cluster addresses.
    ClusterIp,
    /// Doors at external addresses, but for those of the next role.
    ExternalIp,
    /// Those behind which sources from outside keep their addresses.
    ExternalIpLocal,
    /// Doors at load balancers' addresses.
    LoadBalancer,
    /// Those of them behind which sources from outside keep their addresses.
    LoadBalancerLocal,
    /// Those of them that are for certain sources only.
    LoadBalancerFirewall,
    /// The door and the range of such sources.
    LoadBalancerSourceRange,
    /// The door and the node's own source address there, which is the door's.
    LoadBalancerSourceIp,
    /// Node ports.
    NodePortTcp,
    /// Those behind which sources from outside keep their addresses.
    NodePortLocalTcp,
    NodePortUdp,
    NodePortLocalUdp,
    NodePortSctp,
    NodePortLocalSctp,
    /// The addresses at which node ports are served.
    NodeIp,
    /// Every address of `kube-ipvs0`, of which ports without a service refuse.
    VirtualIp,
    /// Doors that drop what comes: nobody serves here, but others elsewhere do.
    NoLocalEndpoint,
    /// Doors that lead those inside the cluster elsewhere than others, with the marks of the services for them.
    Inside,
}

impl Role {
    pub(super) const ALL: [Self; 19] = [
        Self::LoopBack,
        Self::ClusterIp,
        Self::ExternalIp,
        Self::ExternalIpLocal,
        Self::LoadBalancer,
        Self::LoadBalancerLocal,
        Self::LoadBalancerFirewall,
        Self::LoadBalancerSourceRange,
        Self::LoadBalancerSourceIp,
        Self::NodePortTcp,
        Self::NodePortLocalTcp,
        Self::NodePortUdp,
        Self::NodePortLocalUdp,
        Self::NodePortSctp,
        Self::NodePortLocalSctp,
        Self::NodeIp,
        Self::VirtualIp,
        Self::NoLocalEndpoint,
        Self::Inside,
    ];

    /// Of all node ports of a protocol.
    pub(super) const fn node_port(protocol: L4Protocol) -> Option<Self> {
        match protocol {
            L4Protocol::TCP => Some(Self::NodePortTcp),
            L4Protocol::UDP => Some(Self::NodePortUdp),
            L4Protocol::SCTP => Some(Self::NodePortSctp),
            _ => None,
        }
    }

    /// The set's name in each family. A name has at most 31 bytes, so kube-proxy cuts one of them short.
    pub(super) const fn name(self, family: Family) -> SetName {
        let (v4, v6) = match self {
            Self::LoopBack => ("KUBE-LOOP-BACK", "KUBE-6-LOOP-BACK"),
            Self::ClusterIp => ("KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP"),
            Self::ExternalIp => ("KUBE-EXTERNAL-IP", "KUBE-6-EXTERNAL-IP"),
            Self::ExternalIpLocal => ("KUBE-EXTERNAL-IP-LOCAL", "KUBE-6-EXTERNAL-IP-LOCAL"),
            Self::LoadBalancer => ("KUBE-LOAD-BALANCER", "KUBE-6-LOAD-BALANCER"),
            Self::LoadBalancerLocal => ("KUBE-LOAD-BALANCER-LOCAL", "KUBE-6-LOAD-BALANCER-LOCAL"),
            Self::LoadBalancerFirewall => ("KUBE-LOAD-BALANCER-FW", "KUBE-6-LOAD-BALANCER-FW"),
            Self::LoadBalancerSourceRange => {
                ("KUBE-LOAD-BALANCER-SOURCE-CIDR", "KUBE-6-LOAD-BALANCER-SOURCE-CID")
            }
            Self::LoadBalancerSourceIp => ("KUBE-LOAD-BALANCER-SOURCE-IP", "KUBE-6-LOAD-BALANCER-SOURCE-IP"),
            Self::NodePortTcp => ("KUBE-NODE-PORT-TCP", "KUBE-6-NODE-PORT-TCP"),
            Self::NodePortLocalTcp => ("KUBE-NODE-PORT-LOCAL-TCP", "KUBE-6-NODE-PORT-LOCAL-TCP"),
            Self::NodePortUdp => ("KUBE-NODE-PORT-UDP", "KUBE-6-NODE-PORT-UDP"),
            Self::NodePortLocalUdp => ("KUBE-NODE-PORT-LOCAL-UDP", "KUBE-6-NODE-PORT-LOCAL-UDP"),
            Self::NodePortSctp => ("KUBE-NODE-PORT-SCTP", "KUBE-6-NODE-PORT-SCTP"),
            Self::NodePortLocalSctp => ("KUBE-NODE-PORT-LOCAL-SCTP", "KUBE-6-NODE-PORT-LOCAL-SCTP"),
            Self::NodeIp => ("KUBE-NODE-IP", "KUBE-6-NODE-IP"),
            Self::VirtualIp => ("KUBE-IPVS-IPS", "KUBE-6-IPVS-IPS"),
            Self::NoLocalEndpoint => ("KUBE-NO-LOCAL-ENDPOINT", "KUBE-6-NO-LOCAL-ENDPOINT"),
            Self::Inside => ("KUBE-INSIDE", "KUBE-6-INSIDE"),
        };
        SetName::constant(match family {
            Family::Ip => v4,
            Family::Ip6 => v6,
        })
    }

    pub(super) const fn kind(self) -> SetKind {
        match self {
            Self::LoopBack | Self::LoadBalancerSourceIp => SetKind::IpPortIp,
            Self::LoadBalancerSourceRange => SetKind::IpPortNet,
            Self::ClusterIp
            | Self::ExternalIp
            | Self::ExternalIpLocal
            | Self::LoadBalancer
            | Self::LoadBalancerLocal
            | Self::LoadBalancerFirewall
            | Self::NoLocalEndpoint => SetKind::IpPort,
            Self::NodePortTcp
            | Self::NodePortLocalTcp
            | Self::NodePortUdp
            | Self::NodePortLocalUdp
            | Self::NodePortSctp
            | Self::NodePortLocalSctp => SetKind::Port,
            Self::NodeIp | Self::VirtualIp => SetKind::Ip,
            Self::Inside => SetKind::IpPortMark,
        }
    }
}

/// Whether our sets hold a virtual service's place as a node port.
pub(super) fn hold_node_port(sets: &Sets, id: &ServiceId) -> bool {
    let ServiceId::Address { protocol, at } = id else {
        return false;
    };
    let role = Role::node_port(*protocol);
    role.is_some_and(|role| holds(sets, role, id.family(), &Member::Port(at.port())))
}

/// Whether our sets hold a virtual service's place as a door of any kind. Not every door is at an address of
/// `kube-ipvs0`: an external address may be the node's own.
pub(super) fn hold_door(sets: &Sets, id: &ServiceId) -> bool {
    let ServiceId::Address { protocol, at } = *id else {
        return false;
    };
    let member = Member::IpPort(IpPort { address: at.ip(), protocol, port: at.port() });
    let roles = [Role::ClusterIp, Role::ExternalIp, Role::ExternalIpLocal, Role::LoadBalancer];
    hold_node_port(sets, id) || roles.into_iter().any(|role| holds(sets, role, id.family(), &member))
}

fn holds(sets: &Sets, role: Role, family: Family, member: &Member) -> bool {
    sets.get(&role.name(family)).is_some_and(|set| set.members.contains(member))
}

/// Every set of a family, empty.
pub(super) fn empty(family: Family) -> Sets {
    Role::ALL.into_iter().map(|role| (role.name(family), Set::new(role.kind(), family))).collect()
}
