use std::time::Duration;

use proxy::{Mode, ModeChoice};

use super::*;

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn file(text: &str) -> (ProxyConfiguration, Vec<String>) {
    let (configuration, notes) = read(format!("{HEAD}{text}").as_bytes()).unwrap();
    (configuration, notes.iter().map(Note::to_string).collect())
}

fn refusal(text: &str) -> String {
    read(format!("{HEAD}{text}").as_bytes()).unwrap_err().to_string()
}

/// As kubeadm writes it into its ConfigMap.
const KUBEADM: &str = r#"
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
"#;

#[test]
fn the_file_of_kubeadm_says_two_things() {
    let (configuration, notes) = file(KUBEADM);
    let expected = ProxyConfiguration {
        kubeconfig: Some("/var/lib/kube-proxy/kubeconfig.conf".into()),
        cluster_ranges: vec!["10.244.0.0/16".parse().unwrap()],
        ..ProxyConfiguration::default()
    };
    assert_eq!(configuration, expected);
    let buffers = "logging.options is ignored: the log is lines of text on standard error";
    assert_eq!(notes, [buffers], "only sizes of buffers, which are texts");
}

#[test]
fn every_field_that_has_a_meaning_is_read() {
    let (configuration, notes) = file(
        r#"
mode: ipvs
bindAddress: "2001:db8::7"
hostnameOverride: " Node-7 "
healthzBindAddress: 10.0.0.7
metricsBindAddress: "[::]:9999"
bindAddressHardFail: true
detectLocalMode: BridgeInterface
detectLocal: {bridgeInterface: cbr0}
clusterCIDR: "10.244.0.0/16,fd00::/56"
nodePortAddresses: [192.0.2.0/24, "2001:db8::/64"]
iptables: {masqueradeAll: true, masqueradeBit: 14}
ipvs: {scheduler: wlc, strictARP: true, excludeCIDRs: [192.0.2.0/24]}
oomScoreAdj: -500
logging: {verbosity: 5}
conntrack:
  maxPerCore: 0
  min: 1000
  tcpEstablishedTimeout: 2h30m
  tcpCloseWaitTimeout: 90s
  tcpBeLiberal: true
  udpTimeout: 45s
  udpStreamTimeout: 1m30s
"#,
    );
    let expected = ProxyConfiguration {
        mode: ModeChoice::This(Mode::Ipvs),
        node_name: Some("node-7".to_owned()),
        kubeconfig: None,
        node_address: "2001:db8::7".parse().ok(),
        health: "10.0.0.7:10256".parse().ok(),
        metrics: "[::]:9999".parse().ok(),
        must_bind: true,
        local: DetectLocal::Bridge("cbr0".to_owned()),
        cluster_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/56".parse().unwrap()],
        node_ports: NodePortChoice::Ranges(vec![
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8::/64".parse().unwrap(),
        ]),
        masquerade_all: true,
        ipvs: proxy::ipvs::Config {
            scheduler: proxy::ipvs::Scheduler::parse("wlc").unwrap(),
            strict_arp: true,
            exclude: vec!["192.0.2.0/24".parse().unwrap()],
        },
        conntrack: ConntrackSettings {
            max_per_core: 0,
            min: 1000,
            tcp_established: Duration::from_secs(9000),
            tcp_close_wait: Duration::from_secs(90),
            tcp_be_liberal: true,
            udp: Duration::from_secs(45),
            udp_stream: Duration::from_secs(90),
        },
        oom_score: -500,
        verbosity: 5,
    };
    assert_eq!((configuration, notes), (expected, Vec::new()));
}

#[test]
fn what_has_no_effect_is_named_and_so_is_what_nobody_knows() {
    let (_, notes) =
        file("featureGates: {TopologyAwareHints: true}\nipvs: {udpTimeout: 5s}\nmodus: iptables\n");
    let starts: Vec<&str> = notes.iter().filter_map(|note| note.split(" is ignored").next()).collect();
    assert_eq!(starts, ["ipvs.udpTimeout", "featureGates", "modus"]);
    assert!(notes[2].contains("no such field"), "{notes:?}");
}

#[test]
fn an_error_says_where_and_what() {
    let cases = [
        ("mode: magic\n", "mode: 'magic' is no proxy mode"),
        ("clusterCIDR: 10.0.0.0/8,10.1.0.0/16\n", "clusterCIDR: "),
        ("conntrack: {maxPerCore: -1}\n", "conntrack.maxPerCore: -1 is no whole number"),
        ("conntrack: {udpTimeout: 5 minutes}\n", "conntrack.udpTimeout: '5 minutes' is no duration"),
        ("healthzBindAddress: localhost\n", "healthzBindAddress: 'localhost' is no address"),
        ("detectLocalMode: BridgeInterface\n", "detectLocalMode: the bridge's name must be given"),
        ("nodePortAddresses: [primary, 10.0.0.0/8]\n", "nodePortAddresses: 'primary' stands alone"),
        ("nodePortAddresses: [7]\n", "nodePortAddresses[0]: 7 is no text"),
        ("iptables: {masqueradeBit: 15}\n", "iptables.masqueradeBit: 15 cannot be had"),
        ("iptables: 7\n", "iptables: 7 is no object"),
        ("oomScoreAdj: 2000\n", "oomScoreAdj: 2000 is no whole number from -1000 to 1000"),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }
    let kind = read(b"apiVersion: v1\nkind: Pod\n").unwrap_err().to_string();
    assert!(kind.contains("v1, kind Pod"), "{kind}");
    assert!(read(b"mode: [").unwrap_err().to_string().contains("YAML"));
}

#[test]
fn durations_are_go_s() {
    let read = |text| forms::duration(text).map(|duration| duration.as_millis());
    assert_eq!(read("24h0m0s"), Ok(86_400_000));
    assert_eq!(
        (read("1.5h"), read("250ms"), read("0"), read("+2m3s")),
        (Ok(5_400_000), Ok(250), Ok(0), Ok(123_000))
    );
    for wrong in ["", "5", "-5s", "5 s", "s", "1h-5m", "1..5s", "9999999999999h", "1d"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn listeners_take_the_usual_port() {
    let read = |text| forms::listener(text, 10256).map(|at| at.map(|at| at.to_string()));
    assert_eq!(read("10.0.0.1"), Ok(Some("10.0.0.1:10256".to_owned())));
    assert_eq!(read("[::1]"), Ok(Some("[::1]:10256".to_owned())));
    assert_eq!(read("::"), Ok(Some("[::]:10256".to_owned())));
    assert_eq!((read(""), read("0.0.0.0:0")), (Ok(None), Ok(None)), "served nowhere");
    assert!(read("1.2.3.4:99999").is_err());
}

#[test]
fn connections_grow_with_processors() {
    let settings = ConntrackSettings::default();
    assert_eq!((settings.max(2), settings.max(64)), (Some(131_072), Some(2_097_152)));
    assert_eq!(ConntrackSettings { max_per_core: 0, ..settings }.max(64), None);
}
