//! The files that make a container part of its pod and cluster: `/etc/hosts` and `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The most that a log says in place of a container's last words: lines and bytes, as in the kubelet.
const TAIL: (usize, usize) = (80, 2048);

/// `/etc/hosts`: localhost, and the pod's own name at its address.
#[must_use]
pub fn hosts(hostname: &str, address: Ipv4Addr) -> String {
    format!(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n\
         {address}\t{hostname}\n"
    )
}

/// `/etc/resolv.conf`: the cluster's name server, and the search list by which short names find services.
#[must_use]
pub fn resolv_conf(server: IpAddr, namespace: &str, domain: &str) -> String {
    format!(
        "search {namespace}.svc.{domain} svc.{domain} {domain}\n\
         nameserver {server}\n\
         options ndots:5\n"
    )
}

/// The end of a container's log, without the times; empty when there is none.
#[must_use]
pub fn log_tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // `TIME STREAM TAG CONTENT`
    let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let tail: String =
        lines[lines.len().saturating_sub(TAIL.0)..].iter().map(|line| format!("{line}\n")).collect();
    let mut start = tail.len().saturating_sub(TAIL.1);
    while !tail.is_char_boundary(start) {
        start += 1;
    }
    tail[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_what_kubernetes_writes() {
        let text = resolv_conf("10.96.0.10".parse().unwrap(), "default", "cluster.local");
        assert_eq!(
            text,
            "search default.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\noptions ndots:5\n"
        );
    }

    #[test]
    fn hosts_names_the_pod() {
        assert!(hosts("web", "10.244.1.2".parse().unwrap()).ends_with("10.244.1.2\tweb\n"));
    }
}
