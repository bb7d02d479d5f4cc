//! The client library of another language: what `client.py` does with the PyPI package `kubernetes`.

use std::path::PathBuf;

use crate::harness::{Lab, project, run};

/// The interpreter with the library: `scripts/setup --test` makes it.
fn interpreter() -> PathBuf {
    let path = crate::harness::cache().join("python/bin/python");
    assert!(path.exists(), "no {}: `scripts/setup --test` makes it", path.display());
    path
}

#[test]
fn a_python_client_finds_a_cluster() {
    let lab = Lab::up(&["--nodes", "1"]);
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
}
