//! Names of chains, the same as kube-proxy's: whoever knows its `iptables-save` knows ours.

use std::fmt::{self, Write as _};

use model::{EndpointAddress, Protocol, ServicePortName};
use netstate::iptables::ChainName;
use sha2::{Digest as _, Sha256};

/// From PREROUTING and OUTPUT: one rule for each address and port of a service. In `filter`, those that nobody serves.
pub(super) const SERVICES: ChainName = ChainName::constant("KUBE-SERVICES");
/// The end of SERVICES: one rule for each node port. In `filter`, the ports that load balancers check.
pub(super) const NODE_PORTS: ChainName = ChainName::constant("KUBE-NODEPORTS");
/// Addresses and ports known outside the cluster that nobody serves.
pub(super) const EXTERNAL_SERVICES: ChainName = ChainName::constant("KUBE-EXTERNAL-SERVICES");
/// From POSTROUTING: masquerades what is marked.
pub(super) const POSTROUTING: ChainName = ChainName::constant("KUBE-POSTROUTING");
/// Marks what is to be masqueraded.
pub(super) const MARK_MASQUERADE: ChainName = ChainName::constant("KUBE-MARK-MASQ");
/// From FORWARD: lets pass what the rules have led elsewhere.
pub(super) const FORWARD: ChainName = ChainName::constant("KUBE-FORWARD");
/// Drops what a load balancer's source ranges keep out.
pub(super) const FIREWALL: ChainName = ChainName::constant("KUBE-PROXY-FIREWALL");
/// Marks whoever is in none of several pod ranges. Not kube-proxy's, which knows one range.
pub(super) const STRANGERS: ChainName = ChainName::constant("PORTOLAN-STRANGERS");
/// One rule for each virtual address: it refuses what no service has a port for. Not kube-proxy's, which lets that go
/// wherever the default route leads.
pub(super) const ADDRESSES: ChainName = ChainName::constant("PORTOLAN-ADDRESSES");
/// Empty; says that the chains under kube-proxy's names are ours.
pub(super) const MARKER: ChainName = ChainName::constant("PORTOLAN-IPTABLES");

/// Chains that the ipvs mode has under the same names.
const SHARED: [ChainName; 5] = [SERVICES, POSTROUTING, MARK_MASQUERADE, FORWARD, FIREWALL];
const ALONE: [ChainName; 5] = [NODE_PORTS, EXTERNAL_SERVICES, STRANGERS, ADDRESSES, MARKER];
/// What names of chains begin with that belong to one service port or endpoint. KUBE-XLB, which kube-proxy has not
/// written since 1.24, is among them so that it goes.
const PREFIXES: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-XLB-"];

/// Whether a chain of this name is ours to write and to remove.
pub(super) fn is_ours(name: ChainName) -> bool {
    SHARED.contains(&name) || is_ours_alone(name)
}

/// Whether no other mode has chains of this name.
pub(super) fn is_ours_alone(name: ChainName) -> bool {
    ALONE.contains(&name) || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// The names of one service port's chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortChains {
    /// Balances over the endpoints of the cluster.
    pub cluster: ChainName,
    /// Balances over the endpoints of this node.
    pub local: ChainName,
    /// For connections that came from outside.
    pub external: ChainName,
    /// Lets in who is in a load balancer's source ranges.
    pub firewall: ChainName,
}

impl PortChains {
    pub(super) fn of(port: &ServicePortName, protocol: Protocol) -> Self {
        let hash = hash(format_args!("{port}{}", word(protocol)));
        Self {
            cluster: named("KUBE-SVC-", &hash),
            local: named("KUBE-SVL-", &hash),
            external: named("KUBE-EXT-", &hash),
            firewall: named("KUBE-FW-", &hash),
        }
    }
}

/// The name of an endpoint's chain, which is of one service port.
pub(super) fn endpoint_chain(
    port: &ServicePortName,
    protocol: Protocol,
    endpoint: &EndpointAddress,
) -> ChainName {
    named("KUBE-SEP-", &hash(format_args!("{port}{}{endpoint}", word(protocol))))
}

/// As the names of chains are made from it.
pub(super) const fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// The first 16 characters of the base32 of the SHA-256.
fn hash(text: fmt::Arguments<'_>) -> [u8; 16] {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    struct Hasher(Sha256);
    impl fmt::Write for Hasher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut hasher = Hasher(Sha256::new());
    // Writing into a hash cannot fail.
    let _ = hasher.write_fmt(text);
    let digest = hasher.0.finalize();
    // 16 characters of 5 bits are 80 bits.
    let bits = digest.iter().take(10).fold(0u128, |bits, byte| bits << 8 | u128::from(*byte));
    std::array::from_fn(|index| ALPHABET[(bits >> (75 - 5 * index)) as usize & 31])
}

fn named(prefix: &str, hash: &[u8; 16]) -> ChainName {
    let mut text = prefix.to_owned();
    text.extend(hash.iter().map(|byte| char::from(*byte)));
    // At most 25 letters, digits and `-`: always a name.
    ChainName::new(&text).unwrap_or(MARKER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::endpoint;
    use model::ServiceKey;

    /// Every name that the articles print, but KUBE-SEP-IN2YML2VIFH5RO2T for default/mysql-service at 192.168.125.131:3306:
    /// no address of 192.168.0.0/16 has that name.
    #[test]
    fn names_are_those_of_the_articles() {
        let printed = [
            (
                "httpd-svc",
                "RL3JAE4GN7VOGDGP",
                80,
                vec![
                    ("10.244.1.28", "CR63JSDONEUBE2YK"),
                    ("10.244.1.29", "Y5EOPQEI6R2HKSKZ"),
                    ("10.244.2.22", "XY6KDITI4WWURGO2"),
                ],
            ),
            (
                "myhttpd-svc",
                "7P7YXYLZA3ZMJCMD",
                80,
                vec![
                    ("10.244.1.32", "5JFNR2OVUEO7ADZR"),
                    ("10.244.1.33", "MXGVDRPRKF4FCFQ7"),
                    ("10.244.2.26", "3ZRQHJQFDZH6HPK7"),
                ],
            ),
            (
                "nginx",
                "4N57TFCL4MD7ZTDA",
                80,
                vec![
                    ("10.244.3.4", "6QCC2MHJZP35QQAR"),
                    ("10.244.2.4", "TOYRWPNILILHH3OR"),
                    ("10.244.1.2", "UXHBWR5XIMVGXW3H"),
                ],
            ),
            ("mysql-service", "67RL4FN6JRUPOJYM", 3306, vec![("192.168.125.129", "ID6YWIT3F6WNZ47P")]),
        ];
        for (service, hash, port, endpoints) in printed {
            let name = ServicePortName { service: ServiceKey::new("default", service), port: "".into() };
            let chains = PortChains::of(&name, Protocol::Tcp);
            assert_eq!(chains.cluster.as_str(), format!("KUBE-SVC-{hash}"), "{service}");
            assert_eq!(chains.firewall.as_str(), format!("KUBE-FW-{hash}"), "{service}");
            assert_eq!(chains.local.as_str(), format!("KUBE-SVL-{hash}"), "{service}");
            assert_eq!(chains.external.as_str(), format!("KUBE-EXT-{hash}"), "{service}");
            for (address, hash) in endpoints {
                let chain = endpoint_chain(&name, Protocol::Tcp, &endpoint(address, port));
                assert_eq!(chain.as_str(), format!("KUBE-SEP-{hash}"), "{service} {address}");
            }
        }
    }

    #[test]
    fn ours_are_told_from_others() {
        let name = |text: &str| ChainName::new(text).unwrap();
        for own in ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-SEP-CR63JSDONEUBE2YK", "PORTOLAN-IPTABLES"] {
            assert!(is_ours(name(own)), "{own}");
        }
        for other in ["KUBE-KUBELET-CANARY", "KUBE-FIREWALL", "KUBE-LOAD-BALANCER", "CNI-HOSTPORT", "INPUT"] {
            assert!(!is_ours(name(other)), "{other}");
        }
        assert!(!is_ours_alone(name("KUBE-SERVICES")) && is_ours_alone(name("KUBE-EXT-A")));
    }
}
