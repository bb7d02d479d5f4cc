//! One query, one reply: RFC 1034 and 1035, RFC 2308 for what there is not, RFC 8482 for `ANY`.

use std::net::IpAddr;

use model::{ServiceKey, ServiceKind};

use crate::message::{Data, HEADER, Owner, QUESTION, Section};
use crate::zone::{At, Place};
use crate::{Name, Query, RecordType, Reply, ResponseCode, Zone};

/// The version of the specification that the names follow.
const SCHEMA: &str = "1.1.0";
/// The priority of every SRV record is the same; weights share 100 out, as CoreDNS does.
const WEIGHTS: u16 = 100;
/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The reply is whole.
    Done,
    /// The name is not ours: somebody else is to be asked.
    Elsewhere,
    /// The reply holds an alias that leads out of the zone: what stands at its target is to be added.
    Alias(Name),
}

/// Answers from the zone.
///
/// Before the zone is in sync, its names cannot be answered for: SERVFAIL makes clients ask again or elsewhere,
/// whereas NXDOMAIN they would believe.
pub fn answer(zone: &Zone, query: &Query, reply: &mut Reply) -> Verdict {
    let place = zone.at(&query.name);
    if !matches!(place, Place::Elsewhere) && !zone.is_in_sync() {
        reply.set_code(ResponseCode::SERV_FAIL);
        return Verdict::Done;
    }
    let mut answer = Answer { zone, query, reply, found: false };
    match place {
        Place::Elsewhere => return Verdict::Elsewhere,
        Place::Reverse(services) => answer.reverse(&services),
        Place::Zone(at) => {
            if let Some(target) = answer.zone(at) {
                return Verdict::Alias(target);
            }
        }
    }
    Verdict::Done
}

struct Answer<'a> {
    zone: &'a Zone,
    query: &'a Query,
    reply: &'a mut Reply,
    /// Whether there is a record of the type asked for.
    found: bool,
}

impl Answer<'_> {
    fn reverse(&mut self, services: &[Name]) {
        self.reply.set_authoritative();
        if services.is_empty() {
            self.reply.set_code(ResponseCode::NX_DOMAIN);
        }
        if self.wants(RecordType::PTR) {
            for name in services {
                self.own(Data::Pointer(name));
            }
        } else if self.query.kind == RecordType::ANY && !services.is_empty() {
            self.minimal_any();
        }
        if !self.found {
            // The parent of the address, which is always there: `1.96.10.in-addr.arpa` for 10.96.1.7.
            let parent = QUESTION + 1 + u16::from(self.query.question()[0]);
            self.authority(parent);
        }
    }

    /// The target of an alias that leads out of the zone.
    fn zone(&mut self, at: At<'_>) -> Option<Name> {
        self.reply.set_authoritative();
        match at {
            At::Nothing => self.reply.set_code(ResponseCode::NX_DOMAIN),
            At::Between => {}
            _ if self.query.kind == RecordType::ANY => self.minimal_any(),
            At::Apex => self.apex(),
            At::Version => {
                if self.wants(RecordType::TXT) {
                    self.own(Data::Text(SCHEMA));
                }
            }
            At::NameServer => self.addresses(&self.zone.config().name_servers),
            At::Addresses(addresses) => self.addresses(&addresses),
            At::Port(key, port) => self.port(&key, port.port.number()),
            At::Ports(key, endpoints) => self.ports(&key, &endpoints),
            At::Service(known) => {
                if let Some(ServiceKind::ExternalName(target)) =
                    known.service.as_ref().map(|service| &service.kind)
                {
                    return self.alias(target);
                }
                let service =
                    known.service.iter().flat_map(|service| service.cluster_addresses.iter().copied());
                let endpoints =
                    known.ready().filter(|_| known.is_headless()).map(|(_, endpoint)| endpoint.address);
                let mut addresses: Vec<IpAddr> = service.chain(endpoints).collect();
                addresses.sort_unstable();
                addresses.dedup();
                self.addresses(&addresses);
            }
        }
        if !self.found {
            self.zone_authority();
        }
        None
    }

    fn wants(&self, kind: RecordType) -> bool {
        self.query.kind == kind
    }

    /// A record of the name asked for.
    fn own(&mut self, data: Data<'_>) -> Option<u16> {
        self.found = true;
        let ttl = self.zone.config().ttl;
        self.reply.push(Section::Answer, Owner::At(QUESTION), ttl, data)
    }

    fn minimal_any(&mut self) {
        self.own(Data::Machine("RFC8482"));
    }

    fn apex(&mut self) {
        let Some([primary, mailbox]) = self.persons() else { return };
        let ttl = self.zone.config().ttl;
        if self.wants(RecordType::SOA) {
            self.own(Data::Authority {
                primary: &primary,
                mailbox: &mailbox,
                serial: self.zone.serial(),
                minimum: ttl,
            });
        } else if self.wants(RecordType::NS) {
            let at = self.own(Data::NameServer(&primary));
            for address in &self.zone.config().name_servers {
                if let Some(at) = at {
                    self.reply.push(Section::Additional, Owner::At(at), ttl, Data::Address(*address));
                }
            }
        }
    }

    /// Those of the family asked for. Which comes first differs from query to query: many clients take the first.
    fn addresses(&mut self, addresses: &[IpAddr]) {
        let family: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|address| match address {
                IpAddr::V4(_) => self.wants(RecordType::A),
                IpAddr::V6(_) => self.wants(RecordType::AAAA),
            })
            .collect();
        let turn = usize::from(self.query.id) % family.len().max(1);
        for address in family[turn..].iter().chain(&family[..turn]) {
            self.own(Data::Address(*address));
        }
    }

    fn port(&mut self, key: &ServiceKey, port: u16) {
        let Some(host) = self.zone.service_name(key, None) else { return };
        if !self.wants(RecordType::SRV) {
            return;
        }
        let at = self.own(Data::Server { port, weight: WEIGHTS, host: &host });
        let ttl = self.zone.config().ttl;
        if let (Some(at), Place::Zone(At::Service(known))) = (at, self.zone.at(&host)) {
            for address in known.service.iter().flat_map(|service| &service.cluster_addresses) {
                self.reply.push(Section::Additional, Owner::At(at), ttl, Data::Address(*address));
            }
        }
    }

    fn ports(&mut self, key: &ServiceKey, endpoints: &[(Box<str>, u16, IpAddr)]) {
        if !self.wants(RecordType::SRV) {
            return;
        }
        // The two addresses of one hostname are one server.
        let servers = || endpoints.chunk_by(|one, other| (&one.0, one.1) == (&other.0, other.1));
        let weight = (WEIGHTS / u16::try_from(servers().count()).unwrap_or(WEIGHTS)).max(1);
        let mut courtesies = Vec::with_capacity(endpoints.len());
        for server in servers() {
            let (name, port, _) = &server[0];
            let Some(host) = self.zone.service_name(key, Some(name)) else { continue };
            if let Some(at) = self.own(Data::Server { port: *port, weight, host: &host }) {
                courtesies.extend(server.iter().map(|(_, _, address)| (at, *address)));
            }
        }
        let ttl = self.zone.config().ttl;
        for (at, address) in courtesies {
            self.reply.push(Section::Additional, Owner::At(at), ttl, Data::Address(address));
        }
    }

    /// An alias, followed as long as it stays in the zone.
    fn alias(&mut self, target: &str) -> Option<Name> {
        let Ok(mut target) = Name::parse(target) else {
            self.reply.set_code(ResponseCode::SERV_FAIL);
            return None;
        };
        let ttl = self.zone.config().ttl;
        let mut at = self.own(Data::Alias(&target));
        if self.wants(RecordType::CNAME) {
            return None;
        }
        // An alias of an alias is rare, a circle of them a mistake.
        for _ in 0..8 {
            let known = match self.zone.at(&target) {
                Place::Elsewhere | Place::Reverse(_) => return Some(target),
                Place::Zone(At::Service(known)) => known,
                Place::Zone(At::Nothing) => {
                    self.reply.set_code(ResponseCode::NX_DOMAIN);
                    break;
                }
                Place::Zone(_) => break,
            };
            let owner = at?;
            if let Some(ServiceKind::ExternalName(next)) = known.service.as_ref().map(|service| &service.kind)
            {
                let Ok(next) = Name::parse(next) else { break };
                at = self.reply.push(Section::Answer, Owner::At(owner), ttl, Data::Alias(&next));
                target = next;
                continue;
            }
            let service = known.service.iter().flat_map(|service| service.cluster_addresses.iter().copied());
            let endpoints =
                known.ready().filter(|_| known.is_headless()).map(|(_, endpoint)| endpoint.address);
            for address in service.chain(endpoints) {
                let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
                if self.wants(kind) {
                    self.reply.push(Section::Answer, Owner::At(owner), ttl, Data::Address(address));
                }
            }
            break;
        }
        None
    }

    /// Says who is responsible: for the zone, beside an answer that there is nothing (RFC 2308).
    fn zone_authority(&mut self) {
        let below = self.query.name.wire().len() - self.zone.config().zone.wire().len();
        self.authority(QUESTION + u16::try_from(below).unwrap_or(0));
    }

    fn authority(&mut self, owner: u16) {
        let Some([primary, mailbox]) = self.persons() else { return };
        let minimum = self.zone.config().ttl;
        let serial = self.zone.serial();
        let data = Data::Authority { primary: &primary, mailbox: &mailbox, serial, minimum };
        self.reply.push(Section::Authority, Owner::At(owner), minimum, data);
    }

    fn persons(&self) -> Option<[Name; 2]> {
        let zone = &self.zone.config().zone;
        Some([Name::below(&["ns", "dns"], zone).ok()?, Name::below(&["hostmaster"], zone).ok()?])
    }
}

// Owners of records below the question rely on it.
const _: () = assert!(QUESTION as usize == HEADER);

#[cfg(test)]
pub(crate) mod tests;
