//! Bad input: a clear word, and nothing made.

use crate::harness::{Lab, portolan, text};

#[test]
fn requests_for_impossible_labs_are_refused_before_anything_is_made() {
    let cases: [(&[&str], &str); 8] = [
        (&["--name", "No_Good"], "cannot be a lab's name"),
        (&["--pod-cidr", "10.100.0.0/16"], "overlap"),
        (&["--service-cidr", "10.244.0.0/16"], "overlap"),
        (&["--node-cidr", "10.100.0.0/30"], "has no room for 3 nodes"),
        (&["--pod-cidr", "10.244.0.0/30"], "too small"),
        (&["--proxy-mode", "magic"], "no proxy mode"),
        (&["--proxy-mode", "node7=none"], "no node 'node7'"),
        (&["--nodes", "0"], "at least one node"),
    ];
    for (arguments, expected) in cases {
        let mut command = portolan(&["lab", "up"]);
        if !arguments.contains(&"--name") {
            command.args(["--name", &format!("t{}-refused", std::process::id())]);
        }
        let output = command.args(arguments).output().unwrap();
        let message = text(&output.stderr);
        assert!(!output.status.success(), "{arguments:?} was accepted");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    let namespaces = std::fs::read_dir("/run/netns").map(|entries| {
        entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .filter(|n| n.contains("-refused-"))
            .count()
    });
    assert_eq!(namespaces.unwrap_or(0), 0);
    assert_eq!(control_groups(&format!("t{}-refused", std::process::id())), 0);
}

/// How many control groups a lab of this name has, in whatever hierarchy.
fn control_groups(lab: &str) -> usize {
    let below =
        |hierarchy: &str| std::path::Path::new("/sys/fs/cgroup").join(hierarchy).join("portolan").join(lab);
    ["", "unified", "pids", "freezer"].into_iter().filter(|hierarchy| below(hierarchy).exists()).count()
}

#[test]
fn a_port_in_use_and_missing_programs_are_said_before_anything_is_made() {
    let name = format!("t{}-refused", std::process::id());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = |arguments: &[&str], path: Option<&str>, expected: &str| {
        let mut command = portolan(&["lab", "up", "--name", &name]);
        command.args(arguments);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        let message = text(&output.stderr);
        assert!(message.contains(expected), "{message}");
        assert_eq!(message.lines().count(), 1, "one clear line: {message}");
    };
    refused(&["--api-port", &port], None, &format!("port {port} of 127.0.0.1 is in use"));
    refused(
        &[],
        Some("/nonexistent"),
        "missing programs: runc conmon; install them with `apt-get install runc conmon`",
    );
    let listed = portolan(&["lab", "list", "-o", "json"]).output().unwrap();
    assert!(!text(&listed.stdout).contains(&name));
    assert_eq!(control_groups(&name), 0);
}

#[test]
fn invalid_manifests_are_refused_with_the_path_of_the_field() {
    let lab = Lab::up(&["--nodes", "1"]);
    let service = |port: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: bad\nspec:\n  ports:\n  - port: {port}\n")
    };
    let cases = [
        (
            service("70000"),
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (service("80\n    nodePortt: 3"), "unknown field \"spec.ports[0].nodePortt\""),
        (service("80\n  clusterIP: 192.0.2.9"), "spec.clusterIPs: Invalid value"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: bad\nspec:\n  containers:\n  - name: a\n"
                .to_owned(),
            "spec.containers[0].image: Required value",
        ),
    ];
    for (manifest, expected) in cases {
        let output = lab.apply(&manifest);
        let message = text(&output.stderr);
        assert!(!output.status.success(), "accepted: {manifest}");
        assert!(message.contains(expected), "{manifest}\n{message}");
    }
    let left = lab.kubectl(&["get", "services,pods", "-o", "name"]);
    assert_eq!(left, "service/kubernetes\n");
}
