use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Name, PodNames, Policy, StaleMode};

/// Files that are only here.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<PathBuf, String>);

impl Sources for Files {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn matching(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let last = pattern.file_name().unwrap().to_str().unwrap();
        let fits = |path: &&PathBuf| {
            path.parent() == pattern.parent()
                && sources::fits(path.file_name().unwrap().to_str().unwrap(), last)
        };
        Ok(self.0.keys().filter(fits).cloned().collect())
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "UPSTREAM").then(|| "192.0.2.53".to_owned())
    }
}

fn files(files: &[(&str, &str)]) -> Files {
    let resolv = ("/etc/resolv.conf", "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
    let all = files.iter().copied().chain([resolv]);
    Files(all.map(|(path, text)| (path.into(), text.to_owned())).collect())
}

fn load(text: &str) -> Result<Corefile, CorefileError> {
    Corefile::load(Path::new("/etc/coredns/Corefile"), &files(&[("/etc/coredns/Corefile", text)]))
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// What kubeadm installs.
const KUBEADM: &str = ".:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

/// What k3s installs.
const K3S: &str = ".:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
    forward . /etc/resolv.conf
}
import /etc/coredns/custom/*.server
";

#[test]
fn the_corefile_of_kubeadm() {
    let corefile = load(KUBEADM).unwrap();
    let [server] = corefile.servers.as_slice() else { panic!("{corefile:?}") };
    assert_eq!(server.zones, [ServerZone { name: Name::root(), port: 53 }]);
    assert!(server.errors && server.loop_detection && server.log.is_none());
    let kubernetes = server.kubernetes.as_ref().unwrap();
    assert_eq!((kubernetes.ttl, kubernetes.pods), (30, PodNames::Insecure));
    assert_eq!(kubernetes.zones, [name("cluster.local")]);
    assert_eq!(kubernetes.reverse.len(), 2);
    assert_eq!(kubernetes.own_addresses, [], "names of unknown addresses are passed on");
    let [zone] = kubernetes.zone_configs().try_into().unwrap();
    assert!(!zone.fallthrough, "names of the cluster are not");
    let [forward] = server.forwards.as_slice() else { panic!("{server:?}") };
    assert_eq!(
        forward.resolver.upstreams,
        ["192.0.2.1:53", "192.0.2.2:53"].map(|text| text.parse().unwrap())
    );
    assert_eq!((forward.resolver.policy, forward.resolver.max_concurrent), (Policy::Random, Some(1000)));
    let cache = &forward.resolver.cache;
    assert_eq!((cache.success.longest, cache.denial.longest, cache.stale), (30, 30, None));
    assert_eq!(cache.uncached_success, [name("cluster.local")]);
    assert_eq!(corefile.health.unwrap().lameduck, Duration::from_secs(5));
    assert_eq!(corefile.health.unwrap().address.port(), 8080);
    assert_eq!(corefile.ready.unwrap().port(), 8181);
    assert_eq!(corefile.prometheus.unwrap().port(), 9153);
    assert_eq!(corefile.reload, Some(Duration::from_secs(30)));
}

#[test]
fn the_corefile_of_k3s_with_what_it_imports() {
    let corefile = load(K3S).unwrap();
    assert_eq!(corefile.servers.len(), 1, "a pattern may fit nothing");
    let files = files(&[
        ("/etc/coredns/Corefile", K3S),
        ("/etc/coredns/NodeHosts", "10.0.0.1 node1\n"),
        ("/etc/coredns/custom/a.override", "log\n"),
        ("/etc/coredns/custom/b.server", "example.org:5353 {\n forward . {$UPSTREAM}:5300\n}\n"),
    ]);
    let corefile = Corefile::load(Path::new("/etc/coredns/Corefile"), &files).unwrap();
    let [server, other] = corefile.servers.as_slice() else { panic!("{corefile:?}") };
    assert_eq!(server.log, Some(QueryLog::default()));
    let hosts = server.hosts.as_ref().unwrap();
    assert_eq!((hosts.table.len(), hosts.table.ttl, hosts.reload), (1, 60, Some(Duration::from_secs(15))));
    assert_eq!(other.zones, [ServerZone { name: name("example.org"), port: 5353 }]);
    assert_eq!(other.forwards[0].resolver.upstreams, ["192.0.2.53:5300".parse().unwrap()]);
}

#[test]
fn options_are_understood() {
    let corefile = load(
        "(common) {
            errors
            log example.org {
                class denial error
            }
        }
        a.example b.example:54, dns://c.example 10.1.0.0/23 {
            import common
            bind 10.0.0.1 ::1
            cache 60 a.example {
                success 5000 40 2
                denial 500
                prefetch 5 2m 20%
                serve_stale 2h verify
                servfail 0
                keepttl
            }
            rewrite name exact x.example y.example
            rewrite continue name regex (.*)\\.a\\.example\\. {1}.svc.cluster.local answer name (.*)\\.svc\\. {1}.a.
            hosts {
                10.0.0.9 inline.example # a remark
                no_reverse
                fallthrough
            }
            kubernetes one.local two.local 10.0.0.0/8 {
                namespaces a b
                labels app in (x, y)
                endpoint_pod_names
                ignore empty_service
                fallthrough one.local
                endpoint https://10.0.0.1:6443
                tls cert key ca
            }
            forward a.example 192.0.2.1 192.0.2.2:54 {
                except x.a.example
                force_tcp
                prefer_udp
                expire 20s
                max_fails 3
                policy round_robin
                health_check 2s no_rec domain example.org
                failover REFUSED
                failfast_all_unhealthy_upstreams
            }
            reload 5s 2s
        }",
    )
    .unwrap();
    let [server] = corefile.servers.as_slice() else { panic!("{corefile:?}") };
    let zones: Vec<_> = server.zones.iter().map(|zone| format!("{}{}", zone.name, zone.port)).collect();
    let expected =
        ["0.1.10.in-addr.arpa.53", "1.1.10.in-addr.arpa.53", "a.example.53", "b.example.54", "c.example.53"];
    let mut sorted = zones.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    assert_eq!(server.bind.len(), 2);
    assert_eq!(server.log.as_ref().unwrap().classes, [LogClass::Denial, LogClass::Error]);
    let kubernetes = server.kubernetes.as_ref().unwrap();
    assert_eq!(kubernetes.own_addresses, ["10.0.0.0/8".parse().unwrap()], "no fallthrough for it");
    assert_eq!(kubernetes.tls.as_ref().unwrap()[0], Path::new("/etc/coredns/cert"));
    let zones = kubernetes.zone_configs();
    assert_eq!(zones.iter().map(|zone| zone.fallthrough).collect::<Vec<_>>(), [true, false]);
    let resolver = &server.forwards[0].resolver;
    assert!(resolver.force_tcp && resolver.fail_fast && !resolver.probe.recursion && resolver.max_fails == 3);
    assert_eq!(resolver.cache.success, crate::CacheLimit { capacity: 5000, longest: 40, shortest: 2 });
    assert_eq!(resolver.cache.stale.unwrap().mode, StaleMode::Verified);
    assert_eq!(resolver.cache.prefetch.unwrap().percent, 20);
    assert!(server.rewrites.len() == 2 && server.hosts.as_ref().unwrap().table.len() == 1);
    assert_eq!(corefile.reload, Some(Duration::from_secs(5)));
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    for (text, line, reason) in [
        ("", 1, "no server block"),
        ("errors\n", 1, "outside any server block"),
        (".:53 {\n errors\n", 1, "is not closed"),
        (". {\n\n whoami\n}", 3, "the plugin 'whoami' is not understood"),
        (". {\n forward . tls://9.9.9.9\n}", 2, "plain DNS only"),
        (". {\n forward . 9.9.9.9 {\n  tls\n }\n}", 3, "DNS over TLS"),
        (". {\n forward . 9.9.9.9 {\n  next NXDOMAIN\n }\n}", 3, "'next'"),
        (". {\n forward .\n}", 2, "lacks the servers"),
        (". {\n forward . dns.example\n}", 2, "neither an address"),
        (". {\n forward . /nowhere/resolv.conf\n}", 2, "cannot read /nowhere/resolv.conf"),
        (". {\n cache 30 {\n  success many\n }\n}", 3, "'many' is not a number"),
        (". {\n cache 30\n cache 60\n}", 3, "was set up in another way"),
        (". {\n cache {\n  prefetch 1 1m 5%\n }\n}", 3, "from 10% to 90%"),
        (". {\n kubernetes cluster.local {\n  pods sometimes\n }\n}", 3, "disabled, insecure and verified"),
        (". {\n kubernetes in-addr.arpa\n}", 2, "lacks the cluster's domain"),
        (". {\n kubernetes cluster.local {\n  noendpoints\n }\n}", 3, "not done here"),
        (". {\n rewrite ttl example.org 5\n}", 2, "rewriting 'ttl'"),
        (". {\n rewrite name regex (a b\n}", 2, "not a regular expression"),
        (". {\n rewrite name substring a b answer auto\n}", 2, "'answer auto' cannot"),
        (". {\n reload 1s\n}", 2, "two seconds"),
        (". {\n health {\n  lameduck soon\n }\n}", 3, "'soon' is not a time"),
        (". {\n log . \"{remote}\"\n}", 2, "formats"),
        (". {\n import self\n}", 2, "cannot read /etc/coredns/self"),
        ("(a) {\n import a\n}\n. {\n import a\n}", 2, "form a circle"),
        (". {\n}\n.:53 {\n}", 3, "already"),
        ("tls://.:853 {\n}", 1, "only plain DNS"),
        (".:seven {\n}", 1, "'seven' is not a port"),
        (". {\n errors \"a\n}", 2, "does not end"),
        (". {\n forward . {$NOTHING}\n}", 2, "no variable NOTHING"),
        (". {\n loadbalance weighted\n}", 2, "round_robin"),
        (". { errors }", 1, "a brace opens at the end"),
    ] {
        let error = load(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.reason.contains(reason), "{text}: {error}");
        assert_eq!(error.file, Path::new("/etc/coredns/Corefile"));
    }
}

#[test]
fn a_mistake_in_an_imported_file_is_named_there() {
    let files = files(&[
        ("/etc/coredns/Corefile", ". {\n import extra\n}\n"),
        ("/etc/coredns/extra", "\nnonsense\n"),
    ]);
    let error = Corefile::load(Path::new("/etc/coredns/Corefile"), &files).unwrap_err();
    assert!(error.to_string().starts_with("/etc/coredns/extra:2: the plugin 'nonsense'"), "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,300}") {
        let _ = load(&text);
    }

    /// Words of the language in any order, which come further than any text.
    #[test]
    fn no_words_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        let _ = load(&words.join(" "));
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "{\n",
    "}\n",
    ".:53 {\n",
    ".",
    "errors",
    "log",
    "cache",
    "30",
    "success",
    "forward",
    "192.0.2.1",
    "/etc/resolv.conf",
    "kubernetes",
    "cluster.local",
    "in-addr.arpa",
    "10.0.0.0/9",
    "fd00::/7",
    "fallthrough",
    "pods",
    "insecure",
    "hosts",
    "10.0.0.1",
    "rewrite",
    "name",
    "regex",
    "(.*)",
    "{1}",
    "answer",
    "auto",
    "import",
    "(x)",
    "x",
    "reload",
    "5s",
    "health",
    ":8080",
    "\"",
    "#",
    "é",
    "prefetch",
    "10%",
    "\\",
    "policy",
    "random",
    ",",
];
