use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Protocol, ServiceKey, ServicePort};

use super::{Known, PodNames, Zone};
use crate::Name;

/// Most labels that a name of the zone has in front of it: `_port._protocol.service.namespace.svc`.
const DEEPEST: usize = 5;

/// Whose name it is.
pub(crate) enum Place<'z> {
    /// One of this zone, with what stands there.
    Zone(At<'z>),
    /// The name of an address, and the services that have it: none if only we could know.
    Reverse(Vec<Name>),
    /// Somebody else's.
    Elsewhere,
}

/// What stands at a name of the zone.
pub(crate) enum At<'z> {
    /// No such name, and none below it.
    Nothing,
    /// A name without records, because there are names below it.
    Between,
    Apex,
    Version,
    NameServer,
    Service(&'z Known),
    /// An SRV name of a Service with its own address.
    Port(ServiceKey, &'z ServicePort),
    /// An SRV name of a headless service: each endpoint with its port, in order of their names.
    Ports(ServiceKey, Vec<(Box<str>, u16, IpAddr)>),
    /// Endpoints of a headless service by that name.
    Addresses(Vec<IpAddr>),
}

impl Zone {
    /// What stands at a name.
    pub(crate) fn at(&self, name: &Name) -> Place<'_> {
        let Some(labels) = name.labels_below(&self.config.zone) else {
            return self.reverse(name);
        };
        let mut found: [&str; DEEPEST] = [""; DEEPEST];
        let mut count = 0;
        for label in labels {
            // What is no text is the name of no object; the API allows letters, digits and dashes.
            let (Some(slot), Ok(text)) = (found.get_mut(count), std::str::from_utf8(label)) else {
                return if self.config.fallthrough { Place::Elsewhere } else { Place::Zone(At::Nothing) };
            };
            *slot = text;
            count += 1;
        }
        let at = self.at_labels(&found[..count]);
        match at {
            At::Nothing if self.config.fallthrough => Place::Elsewhere,
            at => Place::Zone(at),
        }
    }

    fn at_labels(&self, labels: &[&str]) -> At<'_> {
        match labels {
            [] => At::Apex,
            ["dns-version"] => At::Version,
            ["dns"] | ["svc"] => At::Between,
            ["ns", "dns"] => At::NameServer,
            ["pod"] if self.config.pods != PodNames::Disabled => At::Between,
            [namespace, "svc"] => self.between(namespace),
            [namespace, "pod"] if self.config.pods != PodNames::Disabled => self.between(namespace),
            [pod, namespace, "pod"] => self.pod(pod, namespace),
            [service, namespace, "svc"] => match self.known(service, namespace) {
                Some((_, known)) => At::Service(known),
                None => At::Nothing,
            },
            [inner, service, namespace, "svc"] => self.endpoint_or_protocol(inner, service, namespace),
            [port, protocol, service, namespace, "svc"] => self.port(port, protocol, service, namespace),
            _ => At::Nothing,
        }
    }

    fn between(&self, namespace: &str) -> At<'_> {
        if self.namespaces.contains(namespace) { At::Between } else { At::Nothing }
    }

    fn known(&self, service: &str, namespace: &str) -> Option<(ServiceKey, &Known)> {
        let (name_space, names) = self.services.get_key_value(namespace)?;
        let (name, known) = names.get_key_value(service)?;
        let key = ServiceKey { namespace: name_space.clone(), name: name.clone() };
        let hidden = self.config.ignore_empty_services && known.is_empty();
        (known.service.is_some() && !hidden).then_some((key, known))
    }

    fn pod(&self, pod: &str, namespace: &str) -> At<'_> {
        let Some(address) = dashed_address(pod) else {
            return At::Nothing;
        };
        let exists = match self.config.pods {
            PodNames::Disabled => false,
            PodNames::Insecure => self.namespaces.contains(namespace),
            PodNames::Verified => {
                let first = (namespace.into(), address, "".into());
                self.pod_addresses
                    .range(first..)
                    .next()
                    .is_some_and(|(found, at, _)| **found == *namespace && *at == address)
            }
        };
        if exists { At::Addresses(vec![address]) } else { At::Nothing }
    }

    fn endpoint_or_protocol(&self, inner: &str, service: &str, namespace: &str) -> At<'_> {
        let Some((_, known)) = self.known(service, namespace) else {
            return At::Nothing;
        };
        if let Some(protocol) = protocol(inner) {
            let has = known.port_names().any(|(name, of)| of == protocol && !name.is_empty());
            return if has { At::Between } else { At::Nothing };
        }
        if !known.is_headless() {
            return At::Nothing;
        }
        let dashed = dashed_address(inner);
        let mut addresses: Vec<IpAddr> = known
            .ready()
            .map(|(_, endpoint)| endpoint)
            .filter(|endpoint| match &endpoint.hostname {
                Some(hostname) => hostname.eq_ignore_ascii_case(inner),
                None => dashed == Some(endpoint.address),
            })
            .map(|endpoint| endpoint.address)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() { At::Nothing } else { At::Addresses(addresses) }
    }

    fn port(&self, port: &str, of: &str, service: &str, namespace: &str) -> At<'_> {
        let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol(of)) else {
            return At::Nothing;
        };
        let Some((key, known)) = self.known(service, namespace).filter(|_| !port.is_empty()) else {
            return At::Nothing;
        };
        if !known.is_headless() {
            let ports = known.service.iter().flat_map(|service| &service.ports);
            let mut named =
                ports.filter(|candidate| candidate.protocol == protocol && *candidate.name == *port);
            return match named.next() {
                Some(port) if known.has_address() => At::Port(key, port),
                _ => At::Nothing,
            };
        }
        let mut found: Vec<_> = known
            .ready()
            .flat_map(|(slice, endpoint)| {
                let ports = slice.ports.iter();
                ports
                    .filter(|candidate| candidate.protocol == protocol && *candidate.name == *port)
                    .map(move |port| (endpoint_name(endpoint), port.port.number(), endpoint.address))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() { At::Nothing } else { At::Ports(key, found) }
    }

    fn reverse(&self, name: &Name) -> Place<'_> {
        let Some(address) = reverse_address(name) else {
            return Place::Elsewhere;
        };
        if !self.config.reverse.iter().any(|range| range.contains(&address)) {
            return Place::Elsewhere;
        }
        let first = (address, ServiceKey { namespace: "".into(), name: "".into() });
        let at = self.addresses.range(first..).take_while(|(found, _)| *found == address);
        let services: Vec<Name> = at.flat_map(|(_, key)| self.reverse_names(key, address)).collect();
        if services.is_empty() && !self.config.own_addresses.iter().any(|range| range.contains(&address)) {
            return Place::Elsewhere;
        }
        Place::Reverse(services)
    }

    /// What a service calls that address: itself, or its endpoints there.
    fn reverse_names(&self, key: &ServiceKey, address: IpAddr) -> Vec<Name> {
        let Some((_, known)) = self.known(&key.name, &key.namespace) else {
            return Vec::new();
        };
        if !known.is_headless() {
            return self.service_name(key, None).into_iter().collect();
        }
        let mut names: Vec<Name> = known
            .ready()
            .filter(|(_, endpoint)| endpoint.address == address)
            .filter_map(|(_, endpoint)| self.service_name(key, Some(&endpoint_name(endpoint))))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The full name of a service, or of an endpoint of it. `None` only for names that the API does not allow.
    pub(crate) fn service_name(&self, key: &ServiceKey, endpoint: Option<&str>) -> Option<Name> {
        let zone = &self.config.zone;
        match endpoint {
            Some(endpoint) => Name::below(&[endpoint, &key.name, &key.namespace, "svc"], zone),
            None => Name::below(&[&key.name, &key.namespace, "svc"], zone),
        }
        .ok()
    }
}

impl Known {
    fn has_address(&self) -> bool {
        self.service.as_ref().is_some_and(|service| !service.cluster_addresses.is_empty())
    }

    /// Names and protocols of the ports that have SRV names.
    fn port_names(&self) -> impl Iterator<Item = (&str, Protocol)> {
        let headless = self.is_headless();
        let own = self.service.iter().filter(move |_| !headless && self.has_address());
        let own = own.flat_map(|service| &service.ports).map(|port| (&*port.name, port.protocol));
        let of_endpoints = self.ready().filter(move |_| headless).flat_map(|(slice, _)| &slice.ports);
        own.chain(of_endpoints.map(|port| (&*port.name, port.protocol)))
    }
}

/// An endpoint's name inside its service: its hostname, or its address with dashes.
fn endpoint_name(endpoint: &super::Endpoint) -> Box<str> {
    match &endpoint.hostname {
        Some(hostname) => hostname.to_ascii_lowercase().into(),
        None => endpoint.address.to_string().replace(['.', ':'], "-").into(),
    }
}

fn protocol(label: &str) -> Option<Protocol> {
    match label {
        "_tcp" => Some(Protocol::Tcp),
        "_udp" => Some(Protocol::Udp),
        "_sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// `10-244-1-7` or `fd00--7` as an address.
fn dashed_address(label: &str) -> Option<IpAddr> {
    if !label.contains('-') {
        return None;
    }
    label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4).ok().or_else(|| {
        // `::1` is written `--1`, and labels neither begin nor end with a dash: a zero is put in front.
        label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6).ok()
    })
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` means.
pub(crate) fn reverse_address(name: &Name) -> Option<IpAddr> {
    let mut labels: Vec<&str> = Vec::with_capacity(6);
    for label in name.labels() {
        labels.push(std::str::from_utf8(label).ok()?);
    }
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => {
            let octets =
                [a, b, c, d].map(|label| label.parse::<u8>().ok().filter(|n| n.to_string() == **label));
            let [Some(a), Some(b), Some(c), Some(d)] = octets else { return None };
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let mut number = 0_u128;
            for nibble in nibbles.iter().rev() {
                let [digit] = nibble.as_bytes() else { return None };
                number = number << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(IpAddr::V6(number.into()))
        }
        _ => None,
    }
}
