//! Names and addresses from files in the form of `/etc/hosts`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::message::{Data, Owner, QUESTION, Section};
use crate::zone::reverse_address;
use crate::{Name, Query, RecordType, Reply, ResponseCode};

/// What hosts files say, and for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsTable {
    /// Only names below these are looked for.
    pub zones: Vec<Name>,
    /// How long clients may keep an answer, in seconds.
    pub ttl: u32,
    /// Whether addresses have names, too.
    pub reverse: bool,
    /// Names below these that are not here are asked of who comes next.
    pub fallthrough: Vec<Name>,
    names: BTreeMap<Name, Vec<IpAddr>>,
    addresses: BTreeMap<IpAddr, Vec<Name>>,
}

impl Default for HostsTable {
    /// Nothing, with CoreDNS's TTL.
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            ttl: 3600,
            reverse: true,
            fallthrough: Vec::new(),
            names: BTreeMap::new(),
            addresses: BTreeMap::new(),
        }
    }
}

impl HostsTable {
    /// Holds what these texts say from now on. Lines that make no sense are passed over, as every reader of such
    /// files does.
    pub fn replace(&mut self, texts: &[&str]) {
        self.names.clear();
        self.addresses.clear();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            // `fe80::1%eth0`: a link means nothing to a client.
            let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
            let Some(address) = address else { continue };
            for name in words.filter_map(|word| Name::parse(word).ok()) {
                let addresses = self.names.entry(name.clone()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
                let names = self.addresses.entry(address).or_default();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }

    /// Names held.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Answers, if the name is here, or nobody else is to be asked for it.
    pub(crate) fn answer(&self, query: &Query, reply: &mut Reply) -> bool {
        if let Some(address) = reverse_address(&query.name).filter(|_| self.reverse) {
            let Some(names) = self.addresses.get(&address).filter(|_| query.kind == RecordType::PTR) else {
                return false;
            };
            reply.set_authoritative();
            for name in names {
                reply.push(Section::Answer, Owner::At(QUESTION), self.ttl, Data::Pointer(name));
            }
            return true;
        }
        if !self.zones.iter().any(|zone| query.name.is_within(zone)) {
            return false;
        }
        let Some(addresses) = self.names.get(&query.name) else {
            let passed_on = self.fallthrough.iter().any(|zone| query.name.is_within(zone));
            if !passed_on {
                // As CoreDNS: without an SOA record a denial could not be kept, and this is no zone.
                reply.set_code(ResponseCode::SERV_FAIL);
            }
            return !passed_on;
        };
        reply.set_authoritative();
        for address in addresses {
            let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
            if query.kind == kind {
                reply.push(Section::Answer, Owner::At(QUESTION), self.ttl, Data::Address(*address));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::query;

    fn table() -> HostsTable {
        let mut table = HostsTable { zones: vec![Name::root()], ttl: 60, ..HostsTable::default() };
        table.replace(&[
            "10.0.0.1 Node1 node1.example # first\n\nnonsense\nfe80::1%eth0 node1\n",
            "10.0.0.2 node1\n",
        ]);
        table
    }

    /// Whether it answered, the code, and how many records.
    fn ask(table: &HostsTable, name: &str, kind: RecordType) -> (bool, u16, u8) {
        let query = Query::parse(&query(name, kind, None)).unwrap();
        let mut reply = Reply::to(&query, None);
        let done = table.answer(&query, &mut reply);
        (done, reply.code().0, reply.finish()[7])
    }

    #[test]
    fn files_are_read_as_others_read_them() {
        let table = table();
        assert_eq!(table.len(), 2);
        assert_eq!(ask(&table, "NODE1", RecordType::A), (true, 0, 2));
        assert_eq!(ask(&table, "node1", RecordType::AAAA), (true, 0, 1));
        assert_eq!(ask(&table, "node1.example", RecordType::AAAA), (true, 0, 0), "no such address");
        assert_eq!(ask(&table, "node1", RecordType::TXT), (true, 0, 0));
        assert_eq!(ask(&table, "1.0.0.10.in-addr.arpa", RecordType::PTR), (true, 0, 2));
        assert_eq!(ask(&table, "9.0.0.10.in-addr.arpa", RecordType::PTR), (false, 0, 0));
    }

    #[test]
    fn what_is_not_here_is_passed_on_if_it_may_be() {
        let mut table = table();
        assert_eq!(ask(&table, "node2", RecordType::A), (true, 2, 0));
        table.fallthrough = vec![Name::parse("example").unwrap()];
        assert_eq!(ask(&table, "node2", RecordType::A), (true, 2, 0));
        assert_eq!(ask(&table, "node2.example", RecordType::A), (false, 0, 0));
        table.zones = vec![Name::parse("example").unwrap()];
        assert_eq!(ask(&table, "node1", RecordType::A), (false, 0, 0), "not its zone");
        table.reverse = false;
        assert_eq!(ask(&table, "1.0.0.10.in-addr.arpa", RecordType::PTR), (false, 0, 0));
    }
}
