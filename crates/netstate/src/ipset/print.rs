//! The words of ipset.

use std::fmt;

use super::{Definition, IpPort, Member, Op, SetKind, Sets};
use crate::nft::Family;

impl fmt::Display for IpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}:{}", self.address, self.protocol, self.port)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::IpPort(at) => write!(f, "{at}"),
            Self::IpPortMark(at, mark) => write!(f, "{at} skbmark {mark:#x}"),
            Self::IpPortIp(at, other) => write!(f, "{at},{other}"),
            Self::IpPortNet(at, net) => write!(f, "{at},{net}"),
            Self::Port(port) => write!(f, "{port}"),
        }
    }
}

impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::Ip => "inet",
            Family::Ip6 => "inet6",
        };
        match self.kind {
            SetKind::Port => write!(f, "{} range 0-65535", self.kind.as_str()),
            SetKind::Foreign => f.write_str(self.kind.as_str()),
            SetKind::IpPortMark => write!(f, "{} family {family} skbinfo", self.kind.as_str()),
            SetKind::Ip | SetKind::IpPort | SetKind::IpPortIp | SetKind::IpPortNet => {
                write!(f, "{} family {family}", self.kind.as_str())
            }
        }
    }
}

/// The command that makes the change, without the name of the program; of many members the first.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, verb: &str, set: &dyn fmt::Display, members: &[Member]| {
            write!(f, "{verb} {set}")?;
            match members {
                [] => Ok(()),
                [one] => write!(f, " {one}"),
                [first, others @ ..] => write!(f, " {first} and {} more", others.len()),
            }
        };
        match self {
            Self::Create { set, definition } => write!(f, "create {set} {definition}"),
            Self::Destroy { set } => write!(f, "destroy {set}"),
            Self::Add { set, members } => with(f, "add", set, members),
            Self::Delete { set, members } => with(f, "del", set, members),
        }
    }
}

/// Shows sets as `ipset save` does, in order, without the details of hash tables.
pub struct Saved<'a>(pub &'a Sets);

impl fmt::Display for Saved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, set) in self.0 {
            writeln!(f, "create {name} {}", set.definition)?;
            set.members.iter().try_for_each(|member| writeln!(f, "add {name} {member}"))?;
        }
        Ok(())
    }
}
