//! Daemons and the pause process, judged by `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use portolan_kernel::netns::{Netns, TemporaryNamespace};
use portolan_kernel::process::{DaemonSpec, ProcessId, Signal, run_pause, spawn_daemon};

/// Set in the copy of this program that is to be a pause process; the host name.
const PAUSE: &str = "PTLT_PAUSE";
const SOON: Duration = Duration::from_secs(10);

/// Ends the process when the test does.
struct Guard(ProcessId);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::Kill);
    }
}

fn shell<'a>(script: &str, log: &Path) -> DaemonSpec<'a> {
    DaemonSpec { arguments: vec!["-c".into(), script.into()], ..DaemonSpec::new("/bin/sh", log) }
}

/// A field of `/proc/PID/status`.
fn status(process: ProcessId, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test]
fn a_daemon_is_nobodys_child_in_its_own_session_and_namespace() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("deep/log");
    let namespace = TemporaryNamespace::new("daemon").unwrap();
    let spec = DaemonSpec {
        namespace: Some(&namespace),
        environment: vec![("GREETING".into(), "hello".into())],
        ready_timeout: Some(SOON),
        ..shell("echo $GREETING >&2; echo ready; exec sleep 1000", &log)
    };
    let process = Guard(spawn_daemon(&spec).unwrap());
    assert!(process.0.is_alive());
    assert_ne!(status(process.0, "PPid"), std::process::id().to_string());
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.0.pid)).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, process.0.pid.to_string());
    let inside = Netns::open_path(process.0.network_namespace().as_path()).unwrap();
    assert_eq!(inside.inode().unwrap(), namespace.inode().unwrap());
    assert_eq!(fs::read_to_string(&log).unwrap(), "hello\n");

    assert!(!process.0.wait(Duration::from_millis(1)).unwrap());
    process.0.stop(SOON).unwrap();
    assert!(!process.0.is_alive());
    assert!(process.0.signal(Signal::Kill).unwrap_err().is_gone());
    process.0.stop(SOON).unwrap();
}

#[test]
fn what_does_not_end_on_term_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let spec = DaemonSpec {
        ready_timeout: Some(SOON),
        ..shell("trap '' TERM; echo ready; while :; do sleep 1000; done", &directory.path().join("log"))
    };
    let process = Guard(spawn_daemon(&spec).unwrap());
    process.0.stop(Duration::from_millis(50)).unwrap();
    assert!(!process.0.is_alive());
}

#[test]
fn a_daemon_that_is_not_ready_is_an_error_with_its_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let ended = DaemonSpec {
        ready_timeout: Some(SOON),
        ..shell("echo no bread >&2; echo no milk >&2; sleep 0.05", &log)
    };
    let message = spawn_daemon(&ended).unwrap_err().to_string();
    assert_eq!(message, "/bin/sh ended before it was ready; it said last: no bread | no milk");

    let pid_file = directory.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 1000", pid_file.display());
    let slow = DaemonSpec { ready_timeout: Some(Duration::from_millis(300)), ..shell(&script, &log) };
    assert!(spawn_daemon(&slow).unwrap_err().to_string().contains("was not ready in time"));
    let pid: u32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    if let Ok(process) = ProcessId::of(pid) {
        assert!(process.wait(SOON).unwrap(), "it is killed");
    }

    let missing = spawn_daemon(&DaemonSpec::new("/no/such/program", &log)).unwrap_err().to_string();
    assert_eq!(missing, "cannot start /no/such/program: start: No such file or directory (os error 2)");
}

/// Not a test: what the copy of this program runs in the test below.
#[test]
fn pause_in_a_copy() {
    if let Ok(hostname) = std::env::var(PAUSE) {
        run_pause(&hostname).unwrap();
    }
}

#[test]
fn a_pause_process_holds_namespaces_of_its_own_until_term() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--exact", "process::pause_in_a_copy", "--nocapture", "--test-threads=1"];
    let spec = DaemonSpec {
        arguments: arguments.map(Into::into).to_vec(),
        environment: vec![(PAUSE.into(), "pod-1".into())],
        ready_timeout: Some(SOON),
        ..DaemonSpec::new(std::env::current_exe().unwrap(), directory.path().join("log"))
    };
    let pause = Guard(spawn_daemon(&spec).unwrap());
    // The test harness runs the function on its second thread, so that is the one with the new namespaces.
    let threads = fs::read_dir(format!("/proc/{}/task", pause.0.pid)).unwrap();
    let thread = threads.map(|entry| entry.unwrap().path()).max().unwrap();
    for kind in ["net", "ipc", "uts"] {
        let of = |process: &Path| fs::read_link(process.join("ns").join(kind)).unwrap();
        assert_ne!(of(&thread), of(Path::new("/proc/self")), "{kind}");
    }
    let inside = Netns::open_path(&thread.join("ns/net")).unwrap();
    let loopback = inside
        .run(|| {
            let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(server.local_addr().unwrap()).is_ok()
        })
        .unwrap();
    assert!(loopback, "the loopback is up");
    pause.0.signal(Signal::Terminate).unwrap();
    assert!(pause.0.wait(SOON).unwrap());
}
