//! The articles' walkthrough, step by step, typed as a reader would type it.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Lab, Pod, eventually, run, text};

const NODES: [&str; 3] = ["node1", "node2", "node3"];

#[test]
fn the_walkthrough_runs_as_written() {
    let lab = Lab::up(&[]);
    let pods = step_1_and_2_pods(&lab);
    step_3_service(&lab, &pods);
    step_4_cluster_ip(&lab, &pods);
    step_6_node_port(&lab);
    step_7_replacement(&lab);
    deleting_what_was_made(&lab);
}

fn step_1_and_2_pods(lab: &Lab) -> Vec<Pod> {
    assert_eq!(lab.apply_example("httpd.yaml"), "deployment.apps/httpd created\n");
    lab.wait_available("httpd");

    let table = lab.kubectl(&["get", "pods", "-o", "wide"]);
    let mut lines = table.lines();
    let columns: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(columns[..7], ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]);
    assert_eq!(lines.clone().count(), 3, "{table}");
    assert!(lines.all(|line| line.contains("1/1") && line.contains("Running")), "{table}");

    let pods = lab.pods("run=httpd");
    let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    assert_eq!(nodes, BTreeSet::from(NODES), "one pod on each node");
    for pod in &pods {
        let range = lab.kubectl(&["get", "node", &pod.node, "-o", "jsonpath={.spec.podCIDR}"]);
        let range: ipnet::Ipv4Net = range.parse().unwrap();
        let address: std::net::Ipv4Addr = pod.address.parse().unwrap();
        assert!(range.contains(&address), "{pod:?} is not in its node's range {range}");

        let url = format!("http://{}/", pod.address);
        for place in places(&pods) {
            let answer = eventually("a pod answers every member of the cluster", || lab.curl(&place, &url));
            assert!(answer.contains(&pod.name), "from {place}: {answer}");
        }
        lab.curl("outside", &url).expect_err("a pod address means nothing outside the cluster");
    }
    pods
}

fn step_3_service(lab: &Lab, pods: &[Pod]) {
    assert_eq!(lab.apply_example("httpd-svc.yaml"), "service/httpd-svc created\n");
    let services = lab.kubectl(&["get", "services"]);
    let words = |name: &str| -> Vec<String> {
        let line =
            services.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{services}"));
        line.split_whitespace().take(5).map(str::to_owned).collect()
    };
    assert_eq!(words("httpd-svc "), ["httpd-svc", "ClusterIP", "10.96.203.6", "<none>", "8080/TCP"]);
    assert_eq!(words("kubernetes "), ["kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"]);

    eventually("kubectl describe lists the three endpoints", || {
        let description = lab.kubectl(&["describe", "service", "httpd-svc"]);
        let complete = pods.iter().all(|pod| description.contains(&format!("{}:80", pod.address)));
        let affinity = description.lines().any(|l| l.split_whitespace().eq(["Session", "Affinity:", "None"]));
        if complete && affinity { Ok(()) } else { Err(description) }
    });
}

fn step_4_cluster_ip(lab: &Lab, pods: &[Pod]) {
    for place in places(pods) {
        eventually("the cluster IP answers", || lab.curl(&place, "http://10.96.203.6:8080/"));
    }
    // A pod that is sent back to itself answers too: 30 requests from each miss it with a probability of 1 in 200,000.
    for pod in pods {
        let counts = ask(lab, &format!("pod/{}", pod.name), 30, pods);
        assert_eq!(counts.values().sum::<usize>(), 30, "from {}: {counts:?}", pod.name);
        assert!(counts[&pod.name] > 0, "{} never reached itself: {counts:?}", pod.name);
    }
    for node in NODES {
        let counts = ask(lab, node, 1000, pods);
        for (pod, count) in &counts {
            assert!(
                (317..=350).contains(count),
                "{pod} got {count} of 1000 from {node}, even is 333: {counts:?}"
            );
        }
    }
    let output = lab.exec("node2", &["curl", "-ksS", "--max-time", "2", "https://10.96.0.1/version"]);
    assert!(text(&output.stdout).contains("gitVersion"), "the Service kubernetes answers: {output:?}");
    let rules = run(&mut lab.exec_command("node1", &["nft", "list", "ruleset"]));
    assert!(
        rules.contains("10.96.203.6"),
        "the virtual address exists in the kernel's packet filter: {rules}"
    );
    lab.curl("outside", "http://10.96.203.6:8080/").expect_err("nobody outside knows the virtual address");
}

fn step_6_node_port(lab: &Lab) {
    let applied = lab.apply_example("myhttpd.yaml");
    assert_eq!(applied, "deployment.apps/myhttpd created\nservice/myhttpd-svc created\n");
    lab.wait_available("myhttpd");
    for (place, node) in
        [("outside", 2), ("outside", 3), ("outside", 4), ("node1", 2), ("node1", 3), ("node2", 4)]
    {
        let url = format!("http://10.100.0.{node}:30000/");
        eventually("the node port answers", || lab.curl(place, &url));
    }
    let pods = lab.pods("run=myhttpd");
    for pod in &pods {
        eventually("the node port answers a pod", || {
            lab.curl(&format!("pod/{}", pod.name), "http://10.100.0.3:30000/")
        });
    }
}

fn step_7_replacement(lab: &Lab) {
    let before = lab.pods("run=myhttpd");
    let victim = &before[0];
    let url = "http://10.100.0.2:30000/";
    let mut child = lab.kubectl_command(&["delete", "pod", &victim.name]).spawn().unwrap();
    let mut asked = 0;
    while child.try_wait().unwrap().is_none() {
        lab.curl("outside", url).expect("the Service goes on answering");
        asked += 1;
    }
    assert!(asked > 0);
    lab.wait_available("myhttpd");
    let after = eventually("a successor", || {
        let pods = lab.pods("run=myhttpd");
        if pods.len() == 3 { Ok(pods) } else { Err(format!("{pods:?}")) }
    });
    assert!(after.iter().all(|pod| pod.name != victim.name && pod.address != victim.address), "{after:?}");
    lab.curl("outside", url).expect("the Service answers with the successor");
}

fn deleting_what_was_made(lab: &Lab) {
    lab.kubectl(&[
        "delete",
        "-f",
        "examples/myhttpd.yaml",
        "-f",
        "examples/httpd-svc.yaml",
        "-f",
        "examples/httpd.yaml",
    ]);
    eventually("the pods go", || {
        let left = lab.kubectl(&["get", "pods", "-o", "name"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    eventually("the node port is refused", || match lab.curl("outside", "http://10.100.0.2:30000/") {
        Err(_) => Ok(()),
        Ok(answer) => Err(answer),
    });
    for node in NODES {
        eventually("links and rules of the pods are gone", || {
            let links = run(&mut lab.exec_command(node, &["ip", "-br", "link", "show", "type", "veth"]));
            let left = links.lines().filter(|line| !line.starts_with("eth0")).count();
            let rules = run(&mut lab.exec_command(node, &["nft", "list", "ruleset"]));
            if left == 0 && !rules.contains("10.96.203.6") {
                Ok(())
            } else {
                Err(format!("{links}\n{rules}"))
            }
        });
    }
}

/// Every member of the cluster: the nodes and the pods.
fn places(pods: &[Pod]) -> Vec<String> {
    NODES
        .iter()
        .map(|node| (*node).to_owned())
        .chain(pods.iter().map(|pod| format!("pod/{}", pod.name)))
        .collect()
}

/// Asks the Service `count` times, a new connection each, and counts which pod answered.
fn ask(lab: &Lab, place: &str, count: usize, pods: &[Pod]) -> BTreeMap<String, usize> {
    let url = format!("http://10.96.203.6:8080/?[1-{count}]");
    let answers =
        run(&mut lab
            .exec_command(place, &["curl", "-sS", "-H", "Connection: close", "--max-time", "60", &url]));
    pods.iter().map(|pod| (pod.name.clone(), answers.matches(&pod.name).count())).collect()
}
