use http::HeaderMap;
use serde_json::json;

use super::headers::{for_client, for_pod, rewritten, upgrade};
use super::place::{Asked, Place, candidates, cleaned, of_pod, port_name};

fn asked(whole: &str) -> Asked<'_> {
    Asked::parse("pod", whole).unwrap()
}

fn place(text: &str) -> Place {
    Place { secure: false, address: text.parse().unwrap() }
}

#[test]
fn names_carry_scheme_and_port() {
    assert_eq!(asked("web"), Asked { whole: "web", secure: false, name: "web", port: "" });
    assert_eq!(asked("web:80"), Asked { whole: "web:80", secure: false, name: "web", port: "80" });
    let secure = Asked { whole: "https:web:tls", secure: true, name: "web", port: "tls" };
    assert_eq!(asked("https:web:tls"), secure);
    assert_eq!(asked("https:web:").port, "");
    for wrong in ["ftp:web:21", "a:b:c:d", ":80", "::"] {
        let refused = Asked::parse("service", wrong).unwrap_err();
        assert_eq!(refused.message, format!("invalid service request {wrong:?}"));
    }
}

#[test]
fn a_pod_is_asked_at_its_first_port() {
    let pod = |address: &str| {
        json!({
            "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
            "status": {"podIP": address},
        })
    };
    assert_eq!(of_pod(&asked("web"), &pod("10.0.0.9")).unwrap(), place("10.0.0.9:8080"));
    assert_eq!(of_pod(&asked("web:81"), &pod("fd00::9")).unwrap(), place("[fd00::9]:81"));
    let bare = json!({"spec": {"containers": [{"name": "a"}]}, "status": {"podIP": "10.0.0.9"}});
    assert_eq!(of_pod(&asked("https:web:"), &bare).unwrap().address.port(), 443);
    for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "", "x"] {
        let refused = of_pod(&asked("web"), &pod(address)).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (400, "address not allowed"), "{address}");
    }
    assert_eq!(of_pod(&asked("web:http"), &bare).unwrap_err().code, 400);
    assert_eq!(of_pod(&asked("web:0"), &bare).unwrap_err().code, 400);
}

#[test]
fn a_service_is_asked_at_the_ready_pods_that_have_the_port() {
    let service = json!({"spec": {"ports": [{"port": 80, "name": "http"}, {"port": 81}]}});
    assert_eq!(port_name(&service, "web", 80).unwrap(), "http");
    assert_eq!(port_name(&service, "web", 81).unwrap(), "");
    let missing = port_name(&service, "web", 82).unwrap_err();
    assert_eq!(missing.message, r#"no service port 82 found for service "web""#);
    let endpoints = json!({"subsets": [
        {"addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "namespace": "default", "name": "a"}},
            {"ip": "10.0.0.2"}],
         "notReadyAddresses": [{"ip": "10.0.0.3"}],
         "ports": [{"name": "http", "port": 8080}]},
        {"addresses": [{"ip": "10.0.0.4"}], "ports": [{"name": "other", "port": 9}]},
    ]});
    let found = candidates(&endpoints, "http");
    assert_eq!(found.len(), 2);
    let service = Asked::parse("service", "web:http").unwrap();
    assert_eq!(found[0].place(&service).unwrap(), place("10.0.0.1:8080"));
    assert_eq!(found[0].pod("default"), Some("a"));
    assert_eq!(found[0].pod("other"), None, "a pod of another namespace is none of the caller's");
    assert_eq!(found[1].pod("default"), None, "written by hand: could be anything");
    assert!(found[0].belongs_to(&json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}})));
    assert!(!found[0].belongs_to(&json!({"status": {"podIP": "10.0.0.7"}})));
    assert!(candidates(&endpoints, "").is_empty());
    assert!(candidates(&json!({}), "http").is_empty());
}

#[test]
fn paths_are_cleaned_and_not_decoded() {
    for (sent, asked) in [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b/", "/a/b/"),
        ("/a/../../b/./", "/b/"),
        ("/a%2Fb/%2e%2e", "/a%2Fb/%2e%2e"),
        ("/..", "/"),
    ] {
        assert_eq!(cleaned(sent), asked, "{sent}");
    }
}

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in list {
        out.append(*name, value.parse().unwrap());
    }
    out
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    out.sort();
    out
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn what_is_for_this_server_does_not_reach_the_pod() {
    let mut sent = headers(&[
        ("authorization", "Bearer secret"),
        ("impersonate-user", "root"),
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "5"),
        ("x-hop", "1"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("accept", "text/html"),
    ]);
    for_pod(&mut sent, &"https://api:6443/p".parse().unwrap(), "/proxy/x", None).unwrap();
    let expected = [
        ("accept", "text/html"),
        ("cookie", "a=1; b=2"),
        ("host", "api:6443"),
        ("x-forwarded-uri", "/proxy/x"),
    ];
    assert_eq!(shown(&sent), pairs(&expected));
}

#[test]
fn a_switch_is_handed_on_when_it_is_asked_for() {
    let mut sent = headers(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("host", "a")]);
    let protocol = upgrade(&sent);
    assert_eq!(protocol.as_ref().unwrap(), "websocket");
    for_pod(&mut sent, &"/".parse().unwrap(), "/", protocol.as_ref()).unwrap();
    assert_eq!(
        (&sent["connection"], &sent["upgrade"]),
        (&"Upgrade".parse().unwrap(), &"websocket".parse().unwrap())
    );
    assert_eq!(upgrade(&headers(&[("upgrade", "h2c")])), None);
    let mut answer =
        headers(&[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", "x")]);
    let mut refused = answer.clone();
    for_client(&mut answer, "/proxy", &place("10.0.0.1:80"), true).unwrap();
    assert_eq!(answer["upgrade"], "websocket");
    for_client(&mut refused, "/proxy", &place("10.0.0.1:80"), false).unwrap();
    assert_eq!(shown(&refused), pairs(&[("sec-websocket-accept", "x")]));
}

#[test]
fn redirections_stay_below_the_proxy() {
    let pod = place("10.0.0.1:8080");
    for (location, expected) in [
        ("/login?x=y", "/p/proxy/login?x=y"),
        ("http://10.0.0.1:8080/a", "/p/proxy/a"),
        ("http://10.0.0.1:8080", "/p/proxy/"),
        ("http://10.0.0.1:8080?x=y", "/p/proxy/?x=y"),
        ("/p/proxy/a", "/p/proxy/a"),
        ("http://10.0.0.1/a", "http://10.0.0.1/a"),
        ("https://example.com/a", "https://example.com/a"),
        ("//example.com/a", "//example.com/a"),
        ("a/b", "a/b"),
        ("mailto://x", "mailto://x"),
    ] {
        assert_eq!(rewritten(location, "/p/proxy", &pod), expected, "{location}");
    }
    assert_eq!(rewritten("http://10.0.0.1/a", "/p", &place("10.0.0.1:80")), "/p/a");
    let mut answer = headers(&[("location", "/a"), ("access-control-allow-origin", "*"), ("server", "x")]);
    for_client(&mut answer, "/p", &pod, false).unwrap();
    assert_eq!(shown(&answer), pairs(&[("location", "/p/a"), ("server", "x")]));
}
