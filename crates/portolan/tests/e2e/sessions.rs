//! Talking to containers with the real kubectl, new and old: exec, attach, run, cp, port-forward.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Lab, PATIENCE, eventually, text};

/// Another kubectl than the one on the path, where there is one; older ones speak SPDY.
const OTHERS: [&str; 2] =
    ["/usr/lib/google-cloud-sdk/bin/kubectl.1.32", "/usr/lib/google-cloud-sdk/bin/kubectl.1.27"];

/// A pod of its node's network with a sidecar, and one that has not come further than its init container.
const OTHER_CONTAINERS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: of-node}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  initContainers: [{name: helper, image: busybox, restartPolicy: Always, command: [sleep, '100000']}]
  containers: [{name: c, image: httpd}]
---
apiVersion: v1
kind: Pod
metadata: {name: starting}
spec:
  terminationGracePeriodSeconds: 0
  initContainers: [{name: first, image: busybox, command: [sleep, '100000']}]
  containers: [{name: c, image: httpd}]
"#;

#[test]
fn sessions_with_containers() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.kubectl(&["run", "box", "--image=busybox", "--", "sleep", "100000"]);
    lab.kubectl(&["run", "web", "--image=httpd", "--port=80"]);
    lab.kubectl(&["expose", "pod", "web", "--port=8080", "--target-port=80"]);
    let applied = lab.apply(OTHER_CONTAINERS);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    for pod in ["box", "web", "of-node"] {
        wait(&lab, pod, "condition=Ready");
    }
    wait(&lab, "starting", "jsonpath={.status.initContainerStatuses[0].started}=true");
    let mut programs = vec!["kubectl"];
    programs.extend(OTHERS.into_iter().filter(|path| std::path::Path::new(path).exists()));
    for program in programs {
        commands(&lab, program);
        terminals(&lab, program);
        ports(&lab, program);
    }
    copies(&lab);
    attaching(&lab);
    running(&lab);
    endings(&lab);
    refusals(&lab);
}

fn wait(lab: &Lab, pod: &str, what: &str) {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    lab.kubectl(&["wait", &format!("--for={what}"), &format!("pod/{pod}"), &timeout]);
}

/// `PROGRAM …` against the lab.
fn command(lab: &Lab, program: &str, arguments: &[&str]) -> Command {
    let kubectl = lab.kubectl_command(&[]);
    let mut command = Command::new(program);
    command.current_dir(crate::harness::project()).args(arguments);
    command.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Runs it with that standard input.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A command that does not read to the end is none of the writer's business.
        scope.spawn(move || _ = stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

fn commands(lab: &Lab, program: &str) {
    let exec = |arguments: &[&str], input: &[u8]| {
        let output = fed(command(lab, program, &[&["exec"], arguments].concat()), input);
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, error) = exec(&["box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], b"");
    assert_eq!((code, out.as_str()), (7, "out\n"), "{program}: {error}");
    assert!(error.starts_with("err\n"), "{program}: {error}");
    let (code, out, error) =
        exec(&["-i", "box", "-c", "box", "--", "sh", "-c", "read x; echo got $x"], b"it\n");
    assert_eq!((code, out.as_str()), (0, "got it\n"), "{program}: {error}");
    for (pod, container) in [("of-node", "helper"), ("starting", "first")] {
        let (code, out, error) = exec(&[pod, "-c", container, "--", "echo", "here"], b"");
        assert_eq!((code, out.as_str()), (0, "here\n"), "{program} {pod}: {error}");
    }
    // More than any buffer on the way, there and back, to the end of the input.
    let much: Vec<u8> =
        (0..3_000_000u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let output = fed(command(lab, program, &["exec", "-i", "box", "--", "cat"]), &much);
    assert!(output.status.success() && output.stdout == much, "{program}: {}", text(&output.stderr));
    // Without -i there is nothing to read.
    assert_eq!(exec(&["box", "--", "cat"], b"unread").1, "", "{program}");
    let (code, _, error) = exec(&["box", "--", "nosuch"], b"");
    assert!(code != 0 && error.contains("executable file not found in $PATH"), "{program}: {code} {error}");
}

/// A command line on a terminal of its own, of 33 lines and 99 characters, typed by `input`.
fn on_terminal(lab: &Lab, line: &str, input: &[u8]) -> Output {
    let line = format!("stty rows 33 cols 99; exec {line}");
    fed(command(lab, "script", &["-qec", &line, "/dev/null"]), input)
}

fn terminals(lab: &Lab, program: &str) {
    let line =
        format!("{program} exec -it box -- sh -c 'stty size; tty; echo $TERM; read x; echo got $x; exit 4'");
    let output = on_terminal(lab, &line, b"typed\n");
    let shown = text(&output.stdout).replace('\r', "");
    assert_eq!(output.status.code(), Some(4), "{program}: {shown}");
    for expected in ["33 99\n", "/dev/pts/", "xterm\n", "got typed\n"] {
        assert!(shown.contains(expected), "{program}: no {expected:?} in {shown:?}");
    }
}

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `port-forward` of these arguments, on a port of its own choice, which is given.
fn forward(lab: &Lab, program: &str, what: &str, port: u16) -> (Running, u16, std::path::PathBuf) {
    let log = lab.directory().join(format!("forward-{port}"));
    let file = std::fs::File::create(&log).unwrap();
    let mut command = command(lab, program, &["port-forward", what, &format!(":{port}")]);
    let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let running = Running(child);
    let local = eventually("a forwarded port", || {
        let said = std::fs::read_to_string(&log).unwrap();
        let port = said.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once(" -> "));
        port.and_then(|(port, _)| port.parse().ok()).ok_or(said)
    });
    (running, local, log)
}

fn ports(lab: &Lab, program: &str) {
    for (what, port, who) in
        [("pod/web", 80, "web"), ("service/web", 8080, "web"), ("pod/of-node", 80, "node1")]
    {
        let (_running, local, _) = forward(lab, program, what, port);
        let url = format!("http://127.0.0.1:{local}/");
        // Several connections at once, and several requests on one.
        let output =
            Command::new("curl").args(["-sS", "-Z", "--max-time", "30", &url, &url, &url]).output().unwrap();
        assert_eq!(
            text(&output.stdout).matches(&format!("This is {who}")).count(),
            3,
            "{program} {what}: {output:?}"
        );
    }
    let (_running, local, log) = forward(lab, program, "pod/web", 81);
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "30", &format!("http://127.0.0.1:{local}/")])
        .output();
    assert!(!curl.unwrap().status.success());
    eventually("the refusal is told", || {
        let said = std::fs::read_to_string(&log).unwrap();
        if said.contains("error forwarding port 81 to pod web") && said.contains("refused") {
            Ok(())
        } else {
            Err(said)
        }
    });
}

fn copies(lab: &Lab) {
    let local = lab.directory().join("copied");
    std::fs::create_dir(&local).unwrap();
    std::fs::write(local.join("file"), vec![b'x'; 100_000]).unwrap();
    lab.kubectl(&["cp", local.to_str().unwrap(), "box:/tmp/there"]);
    lab.kubectl(&[
        "exec",
        "box",
        "--",
        "sh",
        "-c",
        "test $(wc -c < /tmp/there/file) = 100000 && echo more >> /tmp/there/file",
    ]);
    let back = lab.directory().join("back");
    lab.kubectl(&["cp", "box:/tmp/there/file", back.to_str().unwrap()]);
    assert_eq!(std::fs::read(back).unwrap().len(), 100_005);
}

fn attaching(lab: &Lab) {
    let talker = "apiVersion: v1\nkind: Pod\nmetadata: {name: talker}\nspec:\n  restartPolicy: Never\n  containers:\n  \
         - {name: talker, image: busybox, stdin: true, command: [sh, -c, 'while read x; do echo got $x; \
         test $x = end && exit 0; done; echo no more']}\n";
    assert!(lab.apply(talker).status.success());
    wait(lab, "talker", "condition=Ready");
    let output = fed(command(lab, "kubectl", &["attach", "-i", "talker"]), b"one\nend\n");
    let shown = text(&output.stdout).replace('\r', "");
    assert!(shown.contains("got one\ngot end\n"), "{output:?}");
    wait(lab, "talker", "jsonpath={.status.phase}=Succeeded");
}

fn running(lab: &Lab) {
    let line = "kubectl run shell --rm -it --image=busybox /bin/sh";
    let output = on_terminal(lab, line, b"echo $((6 * 7)); exit 0\n");
    let shown = text(&output.stdout).replace('\r', "");
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("42\n") && shown.contains("pod \"shell\" deleted"), "{shown:?}");
    let words = [
        "run",
        "once",
        "--rm",
        "-i",
        "--image=busybox",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "read x; exit 3",
    ];
    let output = fed(command(lab, "kubectl", &words), b"go\n");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// How many processes in the container have these words in their command line.
fn processes(lab: &Lab, words: &str) -> usize {
    lab.kubectl(&["exec", "box", "--", "ps"]).lines().filter(|line| line.ends_with(words)).count()
}

fn endings(lab: &Lab) {
    let lasting = |seconds: &str| {
        let script = format!("sleep {seconds} & exec sleep {seconds}");
        let arguments = ["exec", "-i", "box", "--", "sh", "-c", &script];
        let mut child = command(lab, "kubectl", &arguments);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let words = format!("sleep {seconds}");
        eventually("two processes run", || match processes(lab, &words) {
            2 => Ok(()),
            count => Err(format!("{count} run")),
        });
        (Running(child), words)
    };
    let ended = |words: &str| {
        eventually("the processes have ended", || match processes(lab, words) {
            0 => Ok(()),
            count => Err(format!("{count} run")),
        });
    };
    // A client that goes without a word; another session beside it goes on.
    let ((client, first), (other, second)) = (lasting("3601"), lasting("3602"));
    drop(client);
    ended(&first);
    assert_eq!(processes(lab, &second), 2);
    // The agent is killed: its successor ends what nobody hears any more, and serves new sessions.
    let pid = std::fs::read_to_string(lab.directory().join("nodes/node1/process.json")).unwrap();
    let pid = serde_json::from_str::<serde_json::Value>(&pid).unwrap()["pid"].as_i64().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    drop(other);
    crate::harness::run(&mut lab.portolan(&["lab", "up"]));
    eventually("sessions are served again", || {
        let output = lab.kubectl_command(&["exec", "box", "--", "true"]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    });
    ended(&second);
    // A container that ends takes its sessions along.
    lab.kubectl(&[
        "run",
        "brief",
        "--image=busybox",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "until test -e /end; do sleep 0.1; done",
    ]);
    wait(lab, "brief", "condition=Ready");
    let output =
        lab.kubectl_command(&["exec", "brief", "--", "sh", "-c", "touch /end; sleep 3600"]).output().unwrap();
    assert_eq!(output.status.code(), Some(137), "{output:?}");
}

fn refusals(lab: &Lab) {
    for (arguments, expected) in [
        (&["exec", "box", "-c", "nope", "--", "true"][..], "container nope is not valid for pod box"),
        (&["exec", "nosuch", "--", "true"], "pods \"nosuch\" not found"),
        (
            &["get", "--raw", "/api/v1/namespaces/default/pods/box/exec?command=true"],
            "Upgrade request required",
        ),
    ] {
        let output = lab.kubectl_command(arguments).output().unwrap();
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}
