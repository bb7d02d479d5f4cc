//! The words of ipvsadm.

use std::fmt;

use super::{Destination, Forwarding, Op, ServiceId, Settings, Table};
use crate::nft::{Family, L4Protocol};

/// `-t 10.96.0.1:443`, as the commands of ipvsadm name a service.
impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, at } => {
                let option = match *protocol {
                    L4Protocol::TCP => "-t",
                    L4Protocol::UDP => "-u",
                    L4Protocol::SCTP => "--sctp-service",
                    _ => "--unknown-protocol",
                };
                write!(f, "{option} {at}")
            }
            Self::Mark { mark, family: Family::Ip } => write!(f, "-f {mark}"),
            Self::Mark { mark, family: Family::Ip6 } => write!(f, "-f {mark} -6"),
        }
    }
}

/// `rr persistent 10800`, as a listing shows it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scheduler)?;
        self.persistence.map_or(Ok(()), |seconds| write!(f, " persistent {seconds}"))
    }
}

/// The command that makes the change, without the name of the program.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = |f: &mut fmt::Formatter<'_>, settings: &Settings| {
            write!(f, " -s {}", settings.scheduler)?;
            settings.persistence.map_or(Ok(()), |seconds| write!(f, " -p {seconds}"))
        };
        match self {
            Self::AddService { id, settings } => write!(f, "-A {id}").and_then(|()| options(f, settings)),
            Self::SetService { id, settings } => write!(f, "-E {id}").and_then(|()| options(f, settings)),
            Self::DeleteService { id } => write!(f, "-D {id}"),
            Self::AddDestination { id, to, weight } => write!(f, "-a {id} -r {to} -m -w {weight}"),
            Self::SetWeight { id, to, weight } => write!(f, "-e {id} -r {to} -m -w {weight}"),
            Self::DeleteDestination { id, to } => write!(f, "-d {id} -r {to}"),
        }
    }
}

/// Shows a table as `ipvsadm -ln` does, but for the header and the width of the columns.
pub struct Listing<'a>(pub &'a Table);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, service) in self.0 {
            match id {
                ServiceId::Address { protocol, at } => {
                    writeln!(f, "{} {at} {}", protocol.to_string().to_uppercase(), service.settings)?;
                }
                ServiceId::Mark { mark, .. } => writeln!(f, "FWM {mark} {}", service.settings)?,
            }
            for (to, Destination { weight, forwarding, active, inactive }) in &service.destinations {
                let way = match forwarding {
                    Forwarding::Masquerade => "Masq".to_owned(),
                    Forwarding::Other(number) => format!("Other({number})"),
                };
                writeln!(f, "  -> {to} {way} {weight} {active} {inactive}")?;
            }
        }
        Ok(())
    }
}
