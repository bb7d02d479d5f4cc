//! The ipvs mode over time, with real packets under a kernel that has ip_vs, judged by `ipvsadm`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use model::{Endpoint, Object, Protocol};
use proxy::Dataplane as _;

use crate::asking::{Asker, Reply, SetOnDrop, eventually};
use crate::cases::Settings;
use crate::cluster::{ALL, Cluster, WithPort as _, httpd, ready, service, slice};
use crate::modes::Mode;
use crate::world::{OnNode, Rules, World};

const HTTPD: &str = "10.96.0.6:8080";
/// The ports of httpd-svc's endpoints.
const HTTPD_PORTS: [(&str, Protocol, u16); 2] = [("web", Protocol::Tcp, 80), ("dns", Protocol::Udp, 80)];
const STICKY: &str = "10.96.0.1:443";

#[test]
fn ipvs_over_time_inside_user_mode_linux() {
    uml::rerun(uml::Machine::SMALL, "ipvs::under_ip_vs");
}

/// httpd-svc, and a Service that remembers its clients for three hours, as the Service `kubernetes` of the articles.
fn objects(endpoints: &[&str]) -> Vec<Object> {
    let sticky = service("kubernetes", "10.96.0.1").port("https", Protocol::Tcp, 443);
    let ends = endpoints.iter().map(|address| ready(address)).collect();
    let mut objects = httpd(endpoints).to_vec();
    objects.push(Object::Service(sticky.remembers(Duration::from_secs(10_800))));
    objects.push(Object::EndpointSlice(slice(
        "kubernetes",
        "kubernetes",
        &[("https", Protocol::Tcp, 80)],
        ends,
    )));
    objects
}

fn served() -> (World, Cluster<OnNode>) {
    let world = World::with(Rules::Iptables);
    let mut cluster = Cluster::new(world.dataplane(Mode::Ipvs, Settings::Usual), objects(&ALL));
    cluster.sync();
    (world, cluster)
}

/// `ipvsadm -ln`, a line for each service and destination, with single spaces.
fn listing(world: &World) -> Vec<String> {
    let shown = world.on_node("ipvsadm", &["-ln"]);
    shown.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The same without the numbers of connections.
fn picture(world: &World) -> Vec<String> {
    let still = |line: String| line.split(' ').take(4).collect::<Vec<_>>().join(" ");
    listing(world).into_iter().map(still).collect()
}

/// The destinations that `ipvsadm` shows of a service, with their weights.
fn destinations(world: &World, at: &str) -> Vec<(String, String)> {
    let lines = listing(world);
    let from = lines.iter().position(|line| line.starts_with(&format!("TCP {at} "))).unwrap();
    let own = lines[from + 1..].iter().take_while(|line| line.starts_with("->"));
    let fields = own.map(|line| line.split(' ').collect::<Vec<_>>());
    fields.map(|fields| (fields[1].to_owned(), fields[3].to_owned())).collect()
}

mod under_ip_vs {
    use super::*;

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn ipvsadm_shows_the_articles_picture_and_traffic_follows_it() {
        let (world, _cluster) = served();
        let lines = listing(&world);
        for line in
            ["TCP 10.96.0.6:8080 rr", "TCP 10.96.0.1:443 rr persistent 10800", "TCP 10.100.0.2:30000 rr"]
        {
            assert!(lines.iter().any(|shown| shown == line), "{line} is not in {lines:#?}");
        }
        let all = ALL.map(|address| (format!("{address}:80"), "1".to_owned()));
        assert_eq!(destinations(&world, HTTPD), all);
        assert_eq!(destinations(&world, STICKY), all);

        let mut shares = BTreeMap::<SocketAddr, u32>::new();
        for _ in 0..30 {
            *shares.entry(world.client(Asker::Pod, Protocol::Tcp, HTTPD).endpoint()).or_default() += 1;
        }
        assert_eq!(shares.into_values().collect::<Vec<_>>(), [10, 10, 10], "round robin");
        for from in [Asker::Pod, Asker::Outside, Asker::Node] {
            let first = world.client(from, Protocol::Tcp, STICKY).endpoint();
            for _ in 0..5 {
                assert_eq!(world.client(from, Protocol::Tcp, STICKY).endpoint(), first, "{from:?}");
            }
        }
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn an_endpoint_that_leaves_keeps_its_connections_until_they_end() {
        let (world, mut cluster) = served();
        let mut client = world.client(Asker::Outside, Protocol::Tcp, "10.100.0.2:30000");
        let first = client.endpoint();
        let others: Vec<&str> =
            ALL.into_iter().filter(|address| first.ip().to_string() != **address).collect();
        cluster.apply(objects(&others));
        let drained = (first.to_string(), "0".to_owned());
        assert!(destinations(&world, "10.100.0.2:30000").contains(&drained));
        assert!(!destinations(&world, HTTPD).contains(&drained), "where nobody was connected it is gone");
        for _ in 0..6 {
            assert_eq!(client.endpoint(), first);
            let new = world.client(Asker::Outside, Protocol::Tcp, "10.100.0.2:30000").endpoint();
            assert_ne!(new, first);
        }
        assert!(!cluster.proxy.may_be_disturbed().unwrap(), "whoever drains is no disturbance");
        client.reset();
        eventually("the endpoint is gone", || {
            assert!(!cluster.proxy.may_be_disturbed().unwrap());
            !destinations(&world, "10.100.0.2:30000").contains(&drained)
        });
    }

    /// As by a Deployment's rolling update: one endpoint after the other drains, goes, and another comes, while some
    /// clients connect anew and others keep their connections.
    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn endpoints_are_replaced_under_load() {
        let (world, mut cluster) = served();
        let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let (world, done, answered) = (&world, &done, &answered);
            let _end = SetOnDrop(done);
            for (from, door) in
                [(Asker::Pod, HTTPD), (Asker::Node, HTTPD), (Asker::Outside, "10.100.0.2:30000")]
            {
                scope.spawn(move || {
                    let mut kept = world.client(from, Protocol::Tcp, door);
                    while !done.load(Ordering::Relaxed) {
                        for reply in [world.ask(from, Protocol::Tcp, door), kept.ask()] {
                            assert!(matches!(reply, Reply::Answer { .. }), "{from:?} {door}: {reply}");
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for step in 0..2 * ALL.len() {
                let old = ALL[step % ALL.len()];
                let rest = || ALL.into_iter().filter(|other| *other != old).map(ready);
                let draining = Endpoint { ready: false, terminating: true, ..ready(old) };
                for endpoints in
                    [rest().chain([draining]).collect(), rest().collect(), ALL.map(ready).to_vec()]
                {
                    let before = answered.load(Ordering::Relaxed);
                    let slice = slice("httpd-svc", "httpd-svc", &HTTPD_PORTS, endpoints);
                    cluster.apply([Object::EndpointSlice(slice)]);
                    eventually("requests go on", || {
                        answered.load(Ordering::Relaxed) > before + 6 || done.load(Ordering::Relaxed)
                    });
                }
            }
        });
        assert!(answered.into_inner() > 100);
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn what_somebody_deletes_is_noticed_and_put_back() {
        let (world, mut cluster) = served();
        assert!(!cluster.proxy.may_be_disturbed().unwrap());
        let wanted = picture(&world);
        let disturbances: [(&str, &[&str]); 7] = [
            ("ipvsadm", &["-D", "-t", HTTPD]),
            ("ipvsadm", &["-d", "-t", HTTPD, "-r", "10.244.1.2:80"]),
            ("ipvsadm", &["-C"]),
            ("ipset", &["del", "KUBE-CLUSTER-IP", "10.96.0.6,tcp:8080"]),
            ("ip", &["address", "delete", "10.96.0.6/32", "dev", "kube-ipvs0"]),
            ("ip", &["link", "delete", "kube-ipvs0"]),
            ("iptables-legacy", &["-t", "mangle", "-F", "KUBE-PROXY-FIREWALL"]),
        ];
        for (program, arguments) in disturbances {
            world.on_node(program, arguments);
            assert!(cluster.proxy.may_be_disturbed().unwrap(), "{program} {arguments:?}");
            assert!(cluster.sync_everything().changes > 0, "{program} {arguments:?}");
            assert!(!cluster.proxy.may_be_disturbed().unwrap(), "{program} {arguments:?}");
            assert_eq!(picture(&world), wanted);
            let reply = world.ask(Asker::Pod, Protocol::Tcp, HTTPD);
            assert!(matches!(reply, Reply::Answer { .. }), "{program} {arguments:?}: {reply}");
        }
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn a_cleanup_leaves_nothing() {
        let (world, mut cluster) = served();
        let rules = || world.on_node("iptables-legacy-save", &[]);
        assert!(
            rules().contains("KUBE-SERVICES") && world.on_node("ipset", &["list", "-n"]).contains("KUBE-")
        );
        cluster.proxy.cleanup().unwrap();
        assert_eq!(listing(&world), [""; 0]);
        assert_eq!(world.on_node("ipset", &["list", "-n"]), "");
        assert!(!rules().contains("KUBE-"), "{}", rules());
        assert!(!world.on_node("ip", &["link"]).contains("kube-ipvs0"));
        assert!(cluster.sync_everything().changes > 0);
        assert!(matches!(world.ask(Asker::Pod, Protocol::Tcp, HTTPD), Reply::Answer { .. }));
    }
}
