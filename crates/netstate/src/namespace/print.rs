//! Operations as the `ip` commands that would do the same, for logs and errors.

use std::fmt;

use super::LinkOp;
use crate::link::{Link, LinkKind};
use crate::route::Route;

impl fmt::Display for LinkOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateLink(link) => print_create(f, link),
            Self::DeleteLink(link) => write!(f, "ip link delete {link}"),
            Self::SetUp { link, up } => write!(f, "ip link set {link} {}", if *up { "up" } else { "down" }),
            Self::SetMtu { link, mtu } => write!(f, "ip link set {link} mtu {mtu}"),
            Self::SetMac { link, mac } => write!(f, "ip link set {link} address {mac}"),
            Self::SetMaster { link, master: Some(master) } => write!(f, "ip link set {link} master {master}"),
            Self::SetMaster { link, master: None } => write!(f, "ip link set {link} nomaster"),
            Self::SetHairpin { link, hairpin } => {
                write!(
                    f,
                    "ip link set {link} type bridge_slave hairpin {}",
                    if *hairpin { "on" } else { "off" }
                )
            }
            Self::AddAddress { link, address } => write!(f, "ip address add {address} dev {link}"),
            Self::DeleteAddress { link, address } => write!(f, "ip address delete {address} dev {link}"),
            Self::ReplaceRoute(route) => write!(f, "ip route replace {route}"),
            Self::DeleteRoute(route) => write!(f, "ip route delete {route}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.destination.prefix_len() == 0 {
            f.write_str("default")?;
        } else {
            write!(f, "{}", self.key.destination)?;
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(device) = &self.device {
            write!(f, " dev {device}")?;
        }
        write!(f, " proto {}", self.protocol.0)?;
        if self.key.metric != 0 {
            write!(f, " metric {}", self.key.metric)?;
        }
        Ok(())
    }
}

fn print_create(f: &mut fmt::Formatter<'_>, link: &Link) -> fmt::Result {
    write!(f, "ip link add {}", link.name)?;
    if let Some(mac) = link.mac {
        write!(f, " address {mac}")?;
    }
    if let Some(mtu) = link.mtu {
        write!(f, " mtu {mtu}")?;
    }
    if let Some(master) = &link.master {
        write!(f, " master {master}")?;
    }
    if link.up {
        f.write_str(" up")?;
    }
    match &link.kind {
        LinkKind::Loopback => f.write_str(" type loopback"),
        LinkKind::Bridge => f.write_str(" type bridge"),
        LinkKind::Dummy => f.write_str(" type dummy"),
        LinkKind::Other(kind) => write!(f, " type {kind}"),
        LinkKind::Veth { peer: None } => f.write_str(" type veth"),
        LinkKind::Veth { peer: Some(peer) } => {
            write!(f, " type veth peer name {}", peer.name)?;
            if let Some(namespace) = &peer.namespace {
                write!(f, " netns {namespace}")?;
            }
            if let Some(mac) = peer.mac {
                write!(f, " address {mac}")?;
            }
            Ok(())
        }
    }
}
