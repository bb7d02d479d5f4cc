//! Tests under another kernel: `scripts/uml` boots User-Mode Linux, which has ip_vs and dummy links.
//!
//! A test that needs that kernel is marked `#[ignore = "runs inside User-Mode Linux"]`, and one beside it runs the
//! binary again over there, where ignored tests are what is run:
//!
//! ```text
//! cargo test ─► #[test] fn inside_user_mode_linux ─► rerun(SMALL, "ipvs::") ─► scripts/uml ─► the same binary,
//!                                                                  --ignored --test-threads=1 ipvs::
//! ```
//!
//! The other kernel is 6.1 with iptables (legacy), ipset, ip_vs, dummy, veth, bridge, SCTP and connection tracking. It
//! has no nftables for IPv4 and IPv6, one processor at about half speed, and it boots in two seconds. It sees this
//! machine's files; what is written there is gone with it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// The other machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Memory, such as `1G`; the host gives it as it is used.
    pub memory: &'static str,
    /// How long it may run, in seconds. Generous: it shares the host with other tests.
    pub seconds: u32,
}

impl Machine {
    /// For a test of a few namespaces.
    pub const SMALL: Self = Self { memory: "1G", seconds: 240 };
    /// For a whole lab.
    pub const LARGE: Self = Self { memory: "6G", seconds: 600 };
}

/// Runs a program inside and returns its output and exit status: 124 when it did not end in time, 125 when the kernel did
/// not run, which then says why on the standard error output.
///
/// # Panics
/// When `scripts/uml` is not where the sources are.
pub fn run(machine: Machine, program: &Path, arguments: &[impl AsRef<OsStr>]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/uml");
    Command::new(script)
        .args(["--memory", machine.memory, "--timeout", &machine.seconds.to_string(), "--"])
        .arg(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{script}: {error}"))
}

/// Runs the ignored tests of the calling test binary whose names hold `filter` inside, one after the other.
///
/// # Panics
/// When one of them fails, with everything that they said; or when there are none.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub fn rerun(machine: Machine, filter: &str) {
    let binary = std::env::current_exe().expect("a test knows its own binary");
    let Output { status, stdout, stderr } =
        run(machine, &binary, &["--ignored", "--test-threads=1", "--show-output", filter]);
    let (said, complained) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "inside User-Mode Linux, {status}:\n{said}{complained}");
    assert!(!said.contains("running 0 tests"), "no ignored test has {filter:?} in its name:\n{said}");
    // For who looks: the harness keeps it to itself otherwise.
    eprint!("{said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Option<i32>, String, String) {
        let Output { status, stdout, stderr } = run(Machine::SMALL, Path::new("/bin/sh"), &["-c", script]);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (status.code(), text(stdout), text(stderr))
    }

    #[test]
    fn output_and_exit_status_come_out_and_nothing_stays() {
        let mark = std::env::temp_dir().join(format!("portolan-uml-{}", std::process::id()));
        let script =
            format!("uname -r; echo mark >{0} && cat {0}; echo complaint >&2; exit 7", mark.display());
        let (code, said, complained) = shell(&script);
        assert_eq!((code, complained.as_str()), (Some(7), "complaint\n"));
        let lines: Vec<&str> = said.lines().collect();
        assert!(matches!(lines[..], [release, "mark"] if release.starts_with("6.")), "{said}");
        assert!(!mark.exists());
    }

    #[test]
    fn the_other_kernel_has_ip_vs_and_dummy_links() {
        let script =
            "ip link add kube-ipvs0 type dummy && ipvsadm -A -t 10.96.0.1:443 -s rr -p 10800 && ipvsadm -ln";
        let (code, said, complained) = shell(script);
        assert_eq!(code, Some(0), "{complained}");
        assert!(said.contains("TCP  10.96.0.1:443 rr persistent 10800"), "{said}");
    }

    #[test]
    #[ignore = "runs inside User-Mode Linux"]
    fn inside_this_runs() {}

    #[test]
    #[ignore = "runs inside User-Mode Linux, and fails there"]
    fn inside_this_fails() {
        panic!("on purpose");
    }

    #[test]
    fn a_binary_runs_its_ignored_tests_inside() {
        let rerun = |filter| rerun(Machine::SMALL, filter);
        rerun("inside_this_runs");
        let failed = std::panic::catch_unwind(|| rerun("inside_this_fails"));
        let words = failed.unwrap_err().downcast::<String>().unwrap();
        assert!(words.contains("on purpose"), "{words}");
        assert!(std::panic::catch_unwind(|| rerun("no test has this name")).is_err());
    }
}
