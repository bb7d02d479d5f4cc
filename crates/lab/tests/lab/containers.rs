//! Containers with the real runc and conmon.

pub mod fixture;

use std::{collections::BTreeSet, path::Path, time::Duration};

use fixture::Node;
use nix::sys::signal::Signal;
use portolan_lab::containers::{
    ContainerError, ContainerId, ContainerState, ExecRequest, ExitCause, JoinedNamespaces, Mount, RunAs,
};

/// More than any container here takes; reached only when something hangs.
const SOON: Duration = Duration::from_secs(20);

fn exec(command: &[&str], timeout: Duration) -> ExecRequest {
    ExecRequest { command: command.iter().map(|word| (*word).to_owned()).collect(), timeout }
}

#[tokio::test]
async fn a_container_runs_logs_ends_and_leaves_nothing() {
    let node = Node::new("run");
    let mut spec = node.shell("one", "echo out $A; echo err >&2; pwd; id -u; exit 7");
    spec.env = vec![("A".into(), "first".into()), ("A".into(), "second".into())];
    spec.working_dir = Some("/made/here".into());
    spec.labels.insert("pod".into(), "web".into());
    node.runtime.create(&spec).await.unwrap();
    assert_eq!(node.runtime.status(&spec.id).await.unwrap().state, ContainerState::Created);
    let again = node.runtime.create(&spec).await.unwrap_err();
    assert!(matches!(again, ContainerError::AlreadyExists { .. }), "{again}");

    let started_at = node.runtime.start(&spec.id).await.unwrap();
    let exit = tokio::time::timeout(SOON, node.runtime.wait(&spec.id)).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.cause), (7, ExitCause::Process));
    assert_eq!(exit.started_at, Some(started_at));
    assert!(exit.finished_at >= started_at, "{exit:?}");

    let lines = node.log("one");
    let text: BTreeSet<(&str, &str)> =
        lines.iter().map(|(stream, text)| (stream.as_str(), text.as_str())).collect();
    let expected = [("stdout", "out second"), ("stderr", "err"), ("stdout", "/made/here"), ("stdout", "0")];
    assert_eq!(text, BTreeSet::from(expected));

    let known = node.runtime.list().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].labels["pod"], "web");
    assert_eq!(known[0].state, ContainerState::Exited(exit));

    node.runtime.delete(&spec.id).await.unwrap();
    node.runtime.delete(&spec.id).await.unwrap();
    assert!(node.runtime.status(&spec.id).await.unwrap_err().is_not_found());
    assert_eq!(node.leftovers(), [""; 0]);
}

#[tokio::test]
async fn another_process_finds_running_and_ended_containers() {
    let node = Node::new("again");
    let long = node.shell("long", "exec sleep 1000");
    let short = node.shell("short", "exit 3");
    for spec in [&long, &short] {
        node.runtime.create(spec).await.unwrap();
        node.runtime.start(&spec.id).await.unwrap();
    }
    let other = node.reopened();
    let exit = tokio::time::timeout(SOON, other.wait(&short.id)).await.unwrap().unwrap();
    assert_eq!(exit.code, 3);
    let ContainerState::Running { pid, .. } = other.status(&long.id).await.unwrap().state else {
        panic!("it should run")
    };
    // Nothing ties it to us: its parent is a conmon in a session of its own, whose parent we are not.
    let conmon = fixture::parent(pid);
    assert_eq!(fixture::session(conmon), conmon);
    assert_ne!(fixture::parent(conmon), std::process::id());

    let waiting = other.wait(&long.id);
    let ending = async { node.runtime.signal(&long.id, Signal::SIGKILL) };
    let (exit, sent) = tokio::join!(waiting, ending);
    sent.unwrap();
    assert_eq!(exit.unwrap().code, 137);
    assert!(node.runtime.signal(&long.id, Signal::SIGTERM).unwrap_err().is_not_running());
}

#[tokio::test]
async fn a_note_lost_between_start_and_its_record_is_made_up_for() {
    let node = Node::new("note");
    let spec = node.shell("one", "exec sleep 1000");
    node.runtime.create(&spec).await.unwrap();
    node.runtime.start(&spec.id).await.unwrap();
    std::fs::remove_file(node.directory.join("containers/bundles/one/started")).unwrap();
    let state = node.runtime.status(&spec.id).await.unwrap().state;
    assert!(matches!(state, ContainerState::Running { .. }), "{state:?}");
}

#[tokio::test]
async fn commands_run_inside_and_are_killed_in_time() {
    let node = Node::new("exec");
    let spec = node.shell("one", "exec sleep 1000");
    node.runtime.create(&spec).await.unwrap();
    let early = node.runtime.exec(&spec.id, &exec(&["true"], SOON)).await.unwrap_err();
    assert!(early.is_not_running(), "{early}");
    node.runtime.start(&spec.id).await.unwrap();

    let done =
        node.runtime.exec(&spec.id, &exec(&["sh", "-c", "echo a; echo b >&2; exit 5"], SOON)).await.unwrap();
    assert_eq!(
        (done.exit_code, done.stdout.as_slice(), done.stderr.as_slice()),
        (5, &b"a\n"[..], &b"b\n"[..])
    );

    let missing = node.runtime.exec(&spec.id, &exec(&["no-such-program"], SOON)).await.unwrap_err();
    assert!(missing.to_string().contains("no-such-program"), "{missing}");

    let late = exec(&["sh", "-c", "sleep 999 & sleep 999"], Duration::from_millis(300));
    assert!(node.runtime.exec(&spec.id, &late).await.unwrap_err().is_timeout());
    let listed = exec(&["sh", "-c", "ps | grep -c '[s]leep 999'"], SOON);
    fixture::until("the command and its child are gone", async || {
        node.runtime.exec(&spec.id, &listed).await.unwrap().stdout == b"0\n"
    })
    .await;
}

#[tokio::test]
async fn a_container_joins_the_namespaces_of_a_process() {
    let node = Node::new("join");
    let pause = fixture::Pause::new("web-0");
    let mut spec = node.shell("one", "hostname; ip -o link | wc -l; echo $$");
    spec.namespaces = JoinedNamespaces::of_process(pause.pid());
    node.run_to_end(&spec).await;
    let lines: Vec<String> = node.log("one").into_iter().map(|(_, text)| text).collect();
    assert_eq!(lines, ["web-0", "1", "1"]);
}

#[tokio::test]
async fn files_of_the_node_are_shown_and_the_root_can_be_read_only() {
    let node = Node::new("mounts");
    let hosts = node.directory.join("hosts");
    std::fs::write(&hosts, "10.0.0.1 web\n").unwrap();
    let shared = node.directory.join("shared");
    std::fs::create_dir(&shared).unwrap();
    let mut spec = node.shell(
        "one",
        "cat /etc/hosts; echo x >/etc/hosts || echo refused; echo y >/data/file; touch /new || echo no root",
    );
    spec.read_only_root = true;
    spec.mounts = vec![
        Mount { source: hosts, destination: "/etc/hosts".into(), read_only: true },
        Mount { source: shared.clone(), destination: "/data".into(), read_only: false },
    ];
    node.run_to_end(&spec).await;
    let out: Vec<String> =
        node.log("one").into_iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text).collect();
    assert_eq!(out, ["10.0.0.1 web", "refused", "no root"]);
    assert_eq!(std::fs::read_to_string(shared.join("file")).unwrap(), "y\n");
}

#[tokio::test]
async fn users_are_those_of_the_image_or_the_pod() {
    let node = Node::new("users");
    let mut spec = node.shell(
        "one",
        "id -u; id -g; grep CapEff /proc/self/status; echo x 2>/dev/null >/root/x || echo refused",
    );
    spec.run_as = RunAs { user: Some(33), ..RunAs::default() };
    node.run_to_end(&spec).await;
    let lines: Vec<String> = node.log("one").into_iter().map(|(_, text)| text).collect();
    assert_eq!(lines, ["33", "33", "CapEff:\t0000000000000000", "refused"]);
}

#[tokio::test]
async fn what_cannot_start_says_why_and_leaves_nothing() {
    let node = Node::new("fail");
    let mut spec = node.shell("one", "");
    spec.command = Some(vec!["/no/such/program".into()]);
    let error = node.runtime.create(&spec).await.unwrap_err();
    assert!(matches!(error, ContainerError::Runtime { .. }), "{error:?}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert!(node.runtime.list().await.unwrap().is_empty());
    assert_eq!(node.leftovers(), [""; 0]);
}

#[tokio::test]
async fn a_container_without_conmon_is_given_up() {
    let node = Node::new("lost");
    let spec = node.shell("one", "exec sleep 1000");
    node.runtime.create(&spec).await.unwrap();
    node.runtime.start(&spec.id).await.unwrap();
    let ContainerState::Running { pid, .. } = node.runtime.status(&spec.id).await.unwrap().state else {
        panic!("it should run")
    };
    fixture::kill(fixture::parent(pid));
    let exit = tokio::time::timeout(SOON, node.runtime.wait(&spec.id)).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.cause), (137, ExitCause::Lost));
    assert_eq!(node.runtime.status(&spec.id).await.unwrap().state, ContainerState::Exited(exit));
    fixture::until("its main process is gone", async || !Path::new(&format!("/proc/{pid}/root")).exists())
        .await;
    node.runtime.delete(&spec.id).await.unwrap();
    assert_eq!(node.leftovers(), [""; 0]);
}

#[tokio::test]
async fn a_created_container_can_be_deleted() {
    let node = Node::new("created");
    let spec = node.shell("one", "exec sleep 1000");
    node.runtime.create(&spec).await.unwrap();
    node.runtime.delete(&spec.id).await.unwrap();
    assert_eq!(node.leftovers(), [""; 0]);
    assert!(node.cgroup.pids().unwrap().is_empty());
}

#[tokio::test]
async fn the_end_of_a_lab_ends_everything_in_it() {
    let node = Node::new("end");
    for name in ["one", "two", "three"] {
        // Children in groups and sessions of their own, which refuse to be asked.
        let spec = node.shell(name, "trap '' TERM HUP; setsid sleep 1000 & sleep 1000 & wait");
        node.runtime.create(&spec).await.unwrap();
        node.runtime.start(&spec.id).await.unwrap();
    }
    // Each has at least its conmon and its main process.
    let before = node.cgroup.pids().unwrap();
    assert!(before.len() >= 6, "{before:?}");
    assert!(!before.contains(&std::process::id()));
    assert!(node.cgroup.kill_all(SOON).unwrap() >= 6);
    assert!(node.cgroup.pids().unwrap().is_empty());
    portolan_lab::containers::unmount_below(&node.directory).unwrap();
    std::fs::remove_dir_all(&node.directory).unwrap();
    node.cgroup.remove().unwrap();
    assert!(!node.cgroup.path().exists());
    node.cgroup.remove().unwrap();
    let left = fixture::leftover_groups(&node.name);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_unknown_container_is_said_to_be_unknown() {
    let node = Node::new("none");
    let id: ContainerId = "nobody".parse().unwrap();
    assert!(node.runtime.signal(&id, Signal::SIGTERM).unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_servers_name_their_pod_and_end_when_asked_their_way() {
    for (image, signal) in [("httpd", Signal::SIGWINCH), ("nginx", Signal::SIGQUIT)] {
        let node = Node::new(image);
        let pause = fixture::Pause::new("web-7");
        let mut spec = node.of_image("one", image);
        assert_eq!(spec.image.config.stop_signal().0, signal);
        spec.namespaces = JoinedNamespaces::of_process(pause.pid());
        node.runtime.create(&spec).await.unwrap();
        node.runtime.start(&spec.id).await.unwrap();
        let ask = exec(&["sh", "-c", "ip link set lo up; wget -q -O - http://127.0.0.1"], SOON);
        fixture::until("the server answers with the pod's name", async || {
            let answer = node.runtime.exec(&spec.id, &ask).await.unwrap();
            String::from_utf8_lossy(&answer.stdout).contains("This is web-7")
        })
        .await;
        node.runtime.signal(&spec.id, signal).unwrap();
        let exit = tokio::time::timeout(SOON, node.runtime.wait(&spec.id)).await.unwrap().unwrap();
        assert_eq!(exit.code, 0, "{image}: {:?}", node.log("one"));
        assert!(
            node.log("one")
                .iter()
                .any(|(stream, text)| stream == "stdout" && text.contains("GET / HTTP/1.1"))
        );
    }
}
