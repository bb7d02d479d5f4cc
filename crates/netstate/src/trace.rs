//! A packet's way through a host: what every tracer of rules needs, whatever the rules are written in.
//!
//! ```text
//! arrives ─► prerouting ─► routing ─┬─► forward ─► postrouting ─► sent
//!                                   └─► input ─► delivered
//! made here ─► output ─► routing ─► postrouting ─► sent, or delivered here
//! ```
//!
//! The rules of nftables and of iptables stand at the same hooks; each tracer hands its walk through one hook to
//! [`Passage::through`]. Packets are the first of their connection unless they say otherwise, and only first packets
//! are translated. Deliberately absent: time, replies, fragments, ICMP errors.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::nft::{AddressType, ConnectionState, Hook, InterfaceName, L4Protocol, Reject};

/// A packet, or what the rules made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// TCP, UDP, …
    pub protocol: L4Protocol,
    /// Who sends, with the port (0 for protocols without).
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// The mark, 0 for a fresh packet.
    pub mark: u32,
    /// The priority, 0 unless the sender asked for another.
    pub priority: u32,
    /// What connection tracking says about it.
    pub state: ConnectionState,
}

impl Packet {
    /// The first packet of a connection.
    pub const fn first(protocol: L4Protocol, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { protocol, source, destination, mark: 0, priority: 0, state: ConnectionState::New }
    }
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process on this host.
    Local,
    /// It arrives on this interface.
    Interface(InterfaceName),
}

/// What routing knows of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Its own addresses and the interfaces that have them. 127.0.0.0/8 and ::1 need not be listed.
    pub addresses: BTreeMap<IpAddr, InterfaceName>,
    /// Which way packets go; the longest prefix wins.
    pub routes: BTreeMap<IpNet, InterfaceName>,
}

impl Host {
    /// Whether an address is the host's own.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains_key(&address)
    }

    /// The interface that leads to an address.
    pub fn route(&self, address: IpAddr) -> Option<InterfaceName> {
        let fitting = self.routes.iter().filter(|(net, _)| net.contains(&address));
        fitting.max_by_key(|(net, _)| net.prefix_len()).map(|(_, interface)| *interface)
    }

    /// What kind of address it is on this host, as `fib` and `addrtype` say.
    pub fn address_type(&self, address: IpAddr) -> AddressType {
        match address {
            _ if self.is_local(address) => AddressType::Local,
            _ if address.is_multicast() => AddressType::Multicast,
            IpAddr::V4(address) if address.is_broadcast() => AddressType::Broadcast,
            _ => AddressType::Unicast,
        }
    }

    /// The address that masquerading gives a packet which leaves by this interface, and redirecting one which arrives
    /// there.
    fn address_of(&self, interface: InterfaceName, like: IpAddr) -> Option<IpAddr> {
        let mut own = self.addresses.iter().filter(|(address, _)| address.is_ipv4() == like.is_ipv4());
        own.find(|(_, candidate)| **candidate == interface).map(|(address, _)| *address)
    }
}

/// How a walk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// A process on this host gets it.
    Delivered,
    /// It leaves by this interface.
    Sent(InterfaceName),
    /// Thrown away.
    Dropped,
    /// Refused, and the sender is told.
    Rejected(Reject),
    /// No route leads there.
    Unroutable,
}

/// What became of a packet. `S` is a step of the tracer that walked it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<S> {
    /// How it ended.
    pub fate: Fate,
    /// The packet at the end: where it goes, and the source address that is seen there.
    pub packet: Packet,
    /// Where its destination was translated to.
    pub destination_nat: Option<SocketAddr>,
    /// The address that its source was translated to.
    pub masqueraded: Option<IpAddr>,
    /// What happened on the way, in order.
    pub trail: Vec<S>,
}

/// A packet on its way through a host.
#[derive(Debug, Clone)]
pub struct Passage<'a> {
    /// The packet as it is now.
    pub packet: Packet,
    /// The interface it came in by; `None` while the host's own packet has not been on one.
    pub input: Option<InterfaceName>,
    /// The interface it will leave by, once that is known.
    pub output: Option<InterfaceName>,
    /// Where the client wanted to go.
    pub original: SocketAddr,
    /// Where its destination was translated to.
    pub destination_nat: Option<SocketAddr>,
    /// The address that its source was translated to.
    pub masqueraded: Option<IpAddr>,
    /// What routing knows.
    pub host: &'a Host,
    destination_done: bool,
    source_done: bool,
}

impl<'a> Passage<'a> {
    /// A packet that has not met any hook yet.
    pub const fn new(host: &'a Host, origin: &Origin, packet: Packet) -> Self {
        let input = match origin {
            Origin::Local => None,
            Origin::Interface(interface) => Some(*interface),
        };
        Self {
            packet,
            input,
            output: None,
            original: packet.destination,
            destination_nat: None,
            masqueraded: None,
            host,
            destination_done: false,
            source_done: false,
        }
    }

    /// Whether translations of a hook still see the packet: each direction is decided once for a connection.
    pub fn may_translate(&self, hook: Hook) -> bool {
        let done = match hook {
            Hook::Prerouting | Hook::Output => self.destination_done,
            Hook::Input | Hook::Postrouting | Hook::Forward => self.source_done,
        };
        self.packet.state == ConnectionState::New && !done
    }

    /// Gives the packet another destination.
    pub fn translate_destination(&mut self, destination: SocketAddr) {
        self.packet.destination = destination;
        self.destination_nat = Some(destination);
        self.destination_done = true;
    }

    /// Gives the packet this host as its destination, and tells the address. `None`: the interface that it arrived on has
    /// none, and the kernel drops the packet.
    pub fn redirect(&mut self, port: u16) -> Option<SocketAddr> {
        let like = self.packet.destination.ip();
        let here = match self.input {
            Some(input) => self.host.address_of(input, like)?,
            None if like.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
            None => Ipv6Addr::LOCALHOST.into(),
        };
        let here = SocketAddr::new(here, port);
        self.translate_destination(here);
        Some(here)
    }

    /// Gives the packet the source address of the interface it leaves by, and tells it. `None`: the interface has none,
    /// and the kernel drops the packet.
    pub fn masquerade(&mut self) -> Option<IpAddr> {
        let source = self.packet.source.ip();
        let address = match self.output {
            Some(output) if output.as_str() != "lo" => self.host.address_of(output, source)?,
            // On lo the kernel picks an address of the host that may talk to the destination: its own stays.
            Some(_) | None => source,
        };
        self.packet.source.set_ip(address);
        self.masqueraded = Some(address);
        self.source_done = true;
        Some(address)
    }

    /// What became of the packet.
    pub fn outcome<S>(self, fate: Fate, trail: Vec<S>) -> Outcome<S> {
        let Self { packet, destination_nat, masqueraded, .. } = self;
        Outcome { fate, packet, destination_nat, masqueraded, trail }
    }

    /// Takes the packet through the host. `hook` walks it through all rules that stand at one hook, and ends the way
    /// with an error.
    pub fn through(&mut self, hook: &mut dyn FnMut(Hook, &mut Self) -> Result<(), Fate>) -> Fate {
        let made_here = self.input.is_none();
        if made_here {
            // Routing comes first for packets made here, on what the process asked for; translated ones are routed
            // again.
            self.output = self.host.route(self.packet.destination.ip());
        }
        if let Err(fate) = hook(if made_here { Hook::Output } else { Hook::Prerouting }, self) {
            return fate;
        }
        let destination = self.packet.destination.ip();
        if self.host.is_local(destination) {
            return self.arrive_here(made_here, hook);
        }
        let Some(output) = self.host.route(destination) else {
            return Fate::Unroutable;
        };
        self.output = Some(output);
        let forwarded = if made_here { Ok(()) } else { hook(Hook::Forward, self) };
        match forwarded.and_then(|()| hook(Hook::Postrouting, self)) {
            Ok(()) => Fate::Sent(output),
            Err(fate) => fate,
        }
    }

    fn arrive_here(
        &mut self,
        made_here: bool,
        hook: &mut dyn FnMut(Hook, &mut Self) -> Result<(), Fate>,
    ) -> Fate {
        if made_here {
            self.output = InterfaceName::new("lo").ok();
            if let Err(fate) = hook(Hook::Postrouting, self) {
                return fate;
            }
            // It comes in again on lo, with its translations done.
            self.input = self.output.take();
            self.destination_done = true;
            self.source_done = true;
            if let Err(fate) = hook(Hook::Prerouting, self) {
                return fate;
            }
        }
        hook(Hook::Input, self).err().unwrap_or(Fate::Delivered)
    }
}
