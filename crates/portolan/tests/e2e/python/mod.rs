//! The client library of another language: what `client.py` does with the PyPI package `kubernetes`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Lab, project, run};

/// The interpreter with the library: `scripts/setup --test` makes it.
fn interpreter() -> PathBuf {
    let path = crate::harness::cache().join("python/bin/python");
    assert!(path.exists(), "no {}: `scripts/setup --test` makes it", path.display());
    path
}

#[test]
fn a_python_client_finds_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.log");
    let lab = Lab::up(&["--nodes", "1", "--audit-log-path", audit.to_str().unwrap()]);
    let checks = [
        "objects",
        "lists",
        "watches",
        "workloads",
        "containers",
        "election",
        "dynamically",
        "applying",
        "secrets",
        "tokens",
        "mounted",
        "custom",
        "expires",
        // Last: it kills the server.
        "restarts",
    ];
    let mut command = lab.with_environment(interpreter());
    command.arg(project().join("crates/portolan/tests/e2e/python/client.py")).args(checks);
    let said = run(&mut command);
    assert_eq!(said.lines().count(), checks.len(), "{said}");
    let told = lines(&audit);
    for expected in [
        ["ResponseStarted", "get", "exec", "box", "101"],
        ["ResponseComplete", "create", "token", "robot", "201"],
        ["ResponseComplete", "create", "", "gadgets.python.example.com", "201"],
        // Of the server that was started after the other one was killed.
        ["ResponseComplete", "delete", "", "kept", "200"],
    ] {
        assert!(told.iter().any(|line| *line == expected), "{expected:?} is not among {told:?}");
    }
}

/// Stage, verb, subresource, name and code of every audit line.
fn lines(path: &Path) -> Vec<[String; 5]> {
    let text = std::fs::read_to_string(path).unwrap();
    let shown = |event: Value| {
        let text = |pointer: &str| match event.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        ["/stage", "/verb", "/objectRef/subresource", "/objectRef/name", "/responseStatus/code"].map(text)
    };
    // One line may have been cut off with the server that was killed.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(shown).collect()
}
