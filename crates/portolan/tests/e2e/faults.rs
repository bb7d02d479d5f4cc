//! Processes are killed at any moment; traffic goes on, and what was asked for comes true after the restart.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Lab, SetOnDrop, eventually, run, text};

/// How often each process is killed.
const KILLS: usize = 20;

#[test]
fn killed_agents_and_control_planes_cost_no_request_and_converge() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply_example("myhttpd.yaml");
    lab.wait_available("myhttpd");
    eventually("the node port answers", || lab.curl("outside", "http://10.100.0.2:30000/"));

    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                lab.curl("outside", "http://10.100.0.2:30000/").expect("existing Services go on answering");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..KILLS {
            for part in ["control-plane", "node1"] {
                // Something is always under way when the process dies.
                let replicas = format!("--replicas={}", 3 + round % 2);
                lab.kubectl(&["scale", "deployment/myhttpd", &replicas]);
                std::thread::sleep(Duration::from_millis(rand_below(120)));
                kill(Pid::from_raw(lab.process(part)), Signal::SIGKILL).unwrap();
                run(&mut lab.portolan(&["lab", "up"]));
            }
        }
        lab.wait_available("myhttpd");
        done.store(true, Ordering::Relaxed);
        client.join().unwrap();
    });
    assert!(answered.into_inner() > 100, "too few requests to mean anything");

    let wanted = 3 + (KILLS - 1) % 2;
    eventually("as many pods as asked for, all of them serving", || {
        let pods = lab.pods("run=myhttpd");
        let addresses =
            lab.kubectl(&["get", "endpoints", "myhttpd-svc", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]);
        let served = addresses.split_whitespace().count();
        if pods.len() == wanted && served == wanted { Ok(()) } else { Err(format!("{pods:?} {addresses}")) }
    });
    for pod in lab.pods("run=myhttpd") {
        eventually("every pod answers", || lab.curl("node2", &format!("http://{}/", pod.address)));
    }
}

#[test]
fn down_leaves_nothing_even_when_everything_was_killed() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply_example("httpd.yaml");
    lab.wait_available("httpd");
    let pids = processes_of(&lab.name);
    assert!(pids.len() > 6, "agents, control plane, pause processes and containers: {pids:?}");
    for pid in pids {
        // It may have ended with its parent; that is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let (name, directory) = (lab.name.clone(), lab.directory());
    run(&mut lab.portolan(&["lab", "down"]));
    nothing_left(&name, &directory);
}

#[test]
fn up_heals_a_lab_whose_every_process_was_killed() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply_example("httpd.yaml");
    lab.apply_example("httpd-svc.yaml");
    lab.wait_available("httpd");
    for pid in processes_of(&lab.name) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    run(&mut lab.portolan(&["lab", "up"]));
    eventually("the Service answers again", || lab.curl("node1", "http://10.96.203.6:8080/"));
    lab.wait_available("httpd");
}

#[test]
fn labs_stand_side_by_side() {
    let first = Lab::up(&["--nodes", "1"]);
    let second = format!("{}b", first.name);
    run(crate::harness::portolan(&["lab", "up", "--name", &second, "--nodes", "1"]).args([] as [&str; 0]));
    let listed = run(&mut crate::harness::portolan(&["lab", "list"]));
    assert!(listed.contains(&first.name) && listed.contains(&second), "{listed}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut another = crate::harness::portolan(&["lab", "up", "--nodes", "1", "--name", &second]);
    let refused = another.env("PORTOLAN_STATE_DIR", elsewhere.path()).output().unwrap();
    assert!(text(&refused.stderr).contains("knows nothing of"), "{refused:?}");
    let directory = first.directory().with_file_name(&second);
    run(&mut crate::harness::portolan(&["lab", "down", "--name", &second]));
    nothing_left(&second, &directory);
    assert!(first.kubectl(&["get", "nodes"]).contains("Ready"), "the other lab is untouched");
}

/// Every process in the control groups of a lab.
fn processes_of(lab: &str) -> Vec<i32> {
    let part = format!("/portolan/{lab}");
    let belongs =
        |groups: &str| groups.lines().any(|line| line.ends_with(&part) || line.contains(&format!("{part}/")));
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        // One that has ended and waits to be reaped by init is no longer there.
        .filter(|pid| !is_zombie(*pid))
        .filter(|pid| belongs(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()))
        .collect()
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with(['Z', 'X']) || rest.is_empty())
}

fn nothing_left(name: &str, directory: &Path) {
    assert!(!directory.exists(), "{} is left", directory.display());
    let prefix = format!("ptl-{name}-");
    let namespaces: Vec<_> = std::fs::read_dir("/run/netns")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|namespace| namespace.starts_with(&prefix))
        .collect();
    assert!(namespaces.is_empty(), "{namespaces:?} are left");
    assert_eq!(processes_of(name), [] as [i32; 0], "processes are left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let text = text(directory.as_os_str().as_encoded_bytes());
    assert!(!mounts.contains(&format!("{text}/")), "mounts are left: {mounts}");
}

/// A number below `bound`, different at every run.
fn rand_below(bound: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) / 1000 % bound
}
