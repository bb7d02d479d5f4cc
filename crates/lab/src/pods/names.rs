//! How a pod finds others by name, and what it is called itself: `/etc/resolv.conf` and `/etc/hosts`, as the
//! kubelet writes them.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1 as core;

/// Whose name servers a pod asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The cluster's; for a pod in its node's network, the node's.
    ClusterFirst,
    /// The cluster's, whatever its network.
    ClusterFirstWithHostNet,
    /// Its node's.
    Default,
    /// Only those that its manifest names.
    None,
}

/// What the manifest says of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNames {
    policy: Policy,
    /// dnsConfig.
    own: Resolver,
    /// subdomain: the Service that the pod's full name is below.
    subdomain: Option<String>,
    /// hostAliases: an address and its names.
    aliases: Vec<(String, Vec<String>)>,
    host_network: bool,
}

/// The contents of a resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    /// Each with its value, if it has one.
    options: Vec<(String, Option<String>)>,
}

/// What the node knows.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The cluster's name server.
    pub server: IpAddr,
    /// The cluster's domain.
    pub domain: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The node's own resolv.conf.
    pub of_node: &'a str,
}

impl PodNames {
    /// Reads the manifest.
    #[must_use]
    pub fn of(spec: &core::PodSpec) -> Self {
        let config = spec.dns_config.clone().unwrap_or_default();
        let options = config.options.unwrap_or_default().into_iter();
        let aliases = spec.host_aliases.iter().flatten();
        Self {
            policy: match spec.dns_policy.as_deref() {
                Some("ClusterFirstWithHostNet") => Policy::ClusterFirstWithHostNet,
                Some("Default") => Policy::Default,
                Some("None") => Policy::None,
                _ => Policy::ClusterFirst,
            },
            own: Resolver {
                servers: config.nameservers.unwrap_or_default(),
                searches: config.searches.unwrap_or_default(),
                options: options.filter_map(|option| Some((option.name?, option.value))).collect(),
            },
            subdomain: spec.subdomain.clone().filter(|subdomain| !subdomain.is_empty()),
            aliases: aliases
                .map(|alias| (alias.ip.clone(), alias.hostnames.clone().unwrap_or_default()))
                .collect(),
            host_network: spec.host_network == Some(true),
        }
    }

    /// `/etc/resolv.conf`.
    #[must_use]
    pub fn resolv_conf(&self, around: Surroundings<'_>) -> String {
        let of_node = || Resolver::parse(around.of_node);
        let cluster = || Resolver {
            servers: vec![around.server.to_string()],
            searches: vec![
                format!("{}.svc.{}", around.namespace, around.domain),
                format!("svc.{}", around.domain),
                around.domain.to_owned(),
            ],
            options: vec![("ndots".to_owned(), Some("5".to_owned()))],
        };
        let mut resolver = match self.policy {
            Policy::ClusterFirst if self.host_network => of_node(),
            Policy::ClusterFirst | Policy::ClusterFirstWithHostNet => cluster(),
            Policy::Default => of_node(),
            Policy::None => Resolver::default(),
        };
        resolver.add(&self.own);
        resolver.text()
    }

    /// `/etc/hosts`: localhost, the pod's own name at its address, and what the manifest adds.
    #[must_use]
    pub fn hosts(&self, hostname: &str, address: Ipv4Addr, around: Surroundings<'_>) -> String {
        let mut text = String::from(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        let full = self
            .subdomain
            .as_ref()
            .map(|subdomain| format!("{hostname}.{subdomain}.{}.svc.{}\t", around.namespace, around.domain));
        text.push_str(&format!("{address}\t{}{hostname}\n", full.unwrap_or_default()));
        if !self.aliases.is_empty() {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        for (address, names) in &self.aliases {
            text.push_str(&format!("{address}\t{}\n", names.join("\t")));
        }
        text
    }
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // Each line replaces the one before.
                Some("search") => resolver.searches = words.map(str::to_owned).collect(),
                Some("options") => resolver.options.extend(words.map(|word| match word.split_once(':') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (word.to_owned(), None),
                })),
                _ => {}
            }
        }
        resolver
    }

    /// Adds what is not there yet; an option takes the place of its namesake.
    fn add(&mut self, other: &Self) {
        let lists = [(&mut self.servers, &other.servers), (&mut self.searches, &other.searches)];
        for (list, more) in lists {
            for entry in more {
                if !list.contains(entry) {
                    list.push(entry.clone());
                }
            }
        }
        for (name, value) in &other.options {
            self.options.retain(|(known, _)| known != name);
            self.options.push((name.clone(), value.clone()));
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        let options = self.options.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
        let options: Vec<String> = options.collect();
        if !options.is_empty() {
            text.push_str(&format!("options {}\n", options.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AROUND: Surroundings<'_> = Surroundings {
        server: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)),
        domain: "cluster.local",
        namespace: "default",
        of_node: "# local\nnameserver 192.0.2.53\nsearch example.com\noptions edns0 timeout:1\n",
    };

    fn names(spec: serde_json::Value) -> PodNames {
        let mut spec = spec;
        spec["containers"] = serde_json::json!([]);
        PodNames::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn resolv_conf_by_policy() {
        let cluster = "search default.svc.cluster.local svc.cluster.local cluster.local\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let node = "search example.com\nnameserver 192.0.2.53\noptions edns0 timeout:1\n";
        let config = serde_json::json!({
            "nameservers": ["10.96.0.10", "9.9.9.9"], "searches": ["example.org"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        });
        for (spec, expected) in [
            (serde_json::json!({}), cluster),
            (serde_json::json!({"dnsPolicy": "ClusterFirst"}), cluster),
            (serde_json::json!({"hostNetwork": true}), node),
            (serde_json::json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), cluster),
            (serde_json::json!({"dnsPolicy": "Default"}), node),
            (
                serde_json::json!({"dnsPolicy": "None", "dnsConfig": config}),
                "search example.org\nnameserver 10.96.0.10\nnameserver 9.9.9.9\noptions ndots:2 edns0\n",
            ),
            (
                serde_json::json!({"dnsConfig": config}),
                "search default.svc.cluster.local svc.cluster.local cluster.local example.org\n\
                 nameserver 10.96.0.10\nnameserver 9.9.9.9\noptions ndots:2 edns0\n",
            ),
        ] {
            assert_eq!(names(spec.clone()).resolv_conf(AROUND), expected, "{spec}");
        }
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let address = Ipv4Addr::new(10, 244, 1, 2);
        assert!(names(serde_json::json!({})).hosts("web", address, AROUND).ends_with("10.244.1.2\tweb\n"));
        let full = names(serde_json::json!({
            "subdomain": "db", "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a", "b.example"]}],
        }));
        let end = "10.244.1.2\tdb-0.db.default.svc.cluster.local\tdb-0\n\n\
                   # Entries added by HostAliases.\n192.0.2.1\ta\tb.example\n";
        assert!(full.hosts("db-0", address, AROUND).ends_with(end));
    }
}
