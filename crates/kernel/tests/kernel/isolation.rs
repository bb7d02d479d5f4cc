//! A fresh network namespace for one test.

use std::process::{Command, Output};

use nix::sched::{CloneFlags, unshare};

/// Runs `act` on a thread of its own in a new, empty network namespace, which ends with the thread.
///
/// Fails loudly without the right to make one. Child processes that `act` starts are in the namespace too.
pub fn in_fresh_namespace<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("these tests need the right to make network namespaces (root)");
            act()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs a command, which must succeed, and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}
