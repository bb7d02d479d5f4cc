use clap::Parser;
use proxy::Mode;
use runtime::configuration::{DetectLocal, NodePortChoice};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn line(words: &str) -> Result<Arguments, String> {
    let words = std::iter::once("proxy").chain(words.split(' ').filter(|word| !word.is_empty()));
    Line::try_parse_from(words).map(|line| line.arguments).map_err(|error| error.to_string())
}

fn configuration(words: &str) -> (ProxyConfiguration, Vec<String>) {
    let (configuration, notes) = line(words).unwrap().configuration().unwrap();
    (configuration, notes.iter().map(Note::to_string).collect())
}

#[test]
fn without_flags_it_is_kube_proxy_s_default() {
    assert_eq!(configuration(""), (ProxyConfiguration::default(), Vec::new()));
}

#[test]
fn a_line_of_kube_proxy_is_understood() {
    let (configuration, notes) = configuration(
        "--kubeconfig=/k --cluster-cidr=10.244.0.0/16,fd00::/56 --proxy-mode ipvs --bind-address=10.0.0.7 \
         --hostname-override=Node1 --masquerade-all --feature-gates=A=true --v=5 --logtostderr=true \
         --nodeport-addresses=10.0.0.0/8 --healthz-port=0 --metrics-bind-address=0.0.0.0 --oom-score-adj=-1 \
         --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=1h --detect-local-mode=BridgeInterface \
         --pod-bridge-interface=cbr0",
    );
    let expected = ProxyConfiguration {
        mode: ModeChoice::This(Mode::Ipvs),
        node_name: Some("node1".to_owned()),
        kubeconfig: Some("/k".into()),
        node_address: "10.0.0.7".parse().ok(),
        health: None,
        metrics: "0.0.0.0:10249".parse().ok(),
        local: DetectLocal::Bridge("cbr0".to_owned()),
        cluster_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/56".parse().unwrap()],
        node_ports: NodePortChoice::Ranges(vec!["10.0.0.0/8".parse().unwrap()]),
        masquerade_all: true,
        conntrack: ConntrackSettings {
            max_per_core: 0,
            tcp_established: std::time::Duration::from_secs(3600),
            ..ConntrackSettings::default()
        },
        oom_score: -1,
        verbosity: 5,
        ..ProxyConfiguration::default()
    };
    assert_eq!(configuration, expected);
    let starts: Vec<&str> = notes.iter().filter_map(|note| note.split(" is ignored").next()).collect();
    assert_eq!(starts, ["--logtostderr", "--feature-gates"]);
}

#[test]
fn what_nobody_knows_is_refused_and_so_is_a_wrong_value() {
    for (words, expected) in [
        ("--magic", "--magic"),
        ("--proxy-mode=magic", "'magic' is no proxy mode"),
        ("--conntrack-min=-1", "--conntrack-min"),
        ("--conntrack-udp-timeout=5", "no duration"),
        ("--masquerade-all=maybe", "neither true nor false"),
        ("--oom-score-adj=2000", "2000"),
    ] {
        let refusal = line(words).err().unwrap_or_default();
        assert!(refusal.contains(expected), "{words}: {refusal}");
    }
    for (words, expected) in [
        ("--cluster-cidr=10.0.0.0/8,10.1.0.0/16", "--cluster-cidr: "),
        ("--iptables-masquerade-bit=15", "--iptables-masquerade-bit: 15 cannot be had"),
        ("--detect-local-mode=BridgeInterface", "--detect-local-mode: the bridge's name"),
        ("--config=/none/such", "--config /none/such: "),
    ] {
        let refusal = line(words).unwrap().configuration().unwrap_err().to_string();
        assert!(refusal.starts_with(expected), "{words}: {refusal}");
    }
}

#[test]
fn the_file_wins_but_for_the_node_s_name_and_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.conf");
    let text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n\
        mode: nftables\nhostnameOverride: file\nlogging: {verbosity: 1}\n";
    std::fs::write(&path, text).unwrap();
    let words = format!("--config={} --proxy-mode=iptables --hostname-override=flag -v 3", path.display());
    let (configuration, notes) = configuration(&words);
    let expected = ProxyConfiguration {
        mode: ModeChoice::This(Mode::Nftables),
        node_name: Some("flag".to_owned()),
        verbosity: 3,
        ..ProxyConfiguration::default()
    };
    assert_eq!(configuration, expected);
    assert_eq!(notes, ["--proxy-mode is ignored: with --config the file is all that counts"]);
}
