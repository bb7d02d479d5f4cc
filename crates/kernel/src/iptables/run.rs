//! Runs one of the programs, and understands how it failed.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use netstate::iptables::IptablesError;

use crate::netns::Netns;

/// How long to wait for whoever holds the lock, in seconds.
pub(super) const LOCK_SECONDS: &str = "5";
/// More than that is no listing of rules that anybody could use: 2,000,000 rules of 500 bytes.
const LONGEST_ANSWER: u64 = 1 << 30;
/// What of its complaints is read.
const LONGEST_COMPLAINT: u64 = 1 << 16;
/// How much of a refused line is told.
const LINE_SHOWN: usize = 300;
/// The exit status for "somebody else holds the lock" (`RESOURCE_PROBLEM` in iptables' `xtables.h`).
const RESOURCE_PROBLEM: i32 = 4;

/// Runs a program inside a namespace and returns what it printed.
pub(super) fn run(
    netns: &Netns,
    program: &Path,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, IptablesError> {
    let failed = |doing: &str, source: io::Error| IptablesError::System {
        doing: format!("{doing} {}", program.display()),
        source,
    };
    let spawn = || {
        Command::new(program)
            .args(arguments)
            // Complaints are read below.
            .env("LC_ALL", "C")
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    // A process is in the namespace of the thread that started it.
    let child = netns.run(spawn).map_err(|error| failed("start", io::Error::other(error)))?;
    let mut child = child.map_err(|error| failed("start", error))?;
    let talked = talk(&mut child, input);
    let status = child.wait().map_err(|error| failed("wait for", error))?;
    let Talk { answer, complaint } = talked.map_err(|error| failed("talk to", error))?;
    if !status.success() {
        return Err(failure(program, status, &complaint, input));
    }
    if answer.len() as u64 > LONGEST_ANSWER {
        let reason = format!("it is longer than {LONGEST_ANSWER} bytes");
        return Err(IptablesError::Malformed { program: program.display().to_string(), reason });
    }
    String::from_utf8(answer).map_err(|_| IptablesError::Malformed {
        program: program.display().to_string(),
        reason: "it is no UTF-8".to_owned(),
    })
}

struct Talk {
    answer: Vec<u8>,
    complaint: String,
}

/// Writes and reads at the same time: a full pipe on either side would stop both.
fn talk(child: &mut Child, input: Option<&str>) -> io::Result<Talk> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let writer = scope.spawn(move || match (stdin, input) {
            (Some(mut stdin), Some(input)) => stdin.write_all(input.as_bytes()),
            _ => Ok(()),
        });
        let complaints = scope.spawn(move || -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            let Some(mut stderr) = stderr else {
                return Ok(text);
            };
            stderr.by_ref().take(LONGEST_COMPLAINT).read_to_end(&mut text)?;
            io::copy(&mut stderr, &mut io::sink())?;
            Ok(text)
        });
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            // One byte more tells that there was more.
            stdout.take(LONGEST_ANSWER + 1).read_to_end(&mut answer)?;
        }
        let panicked = |_| io::Error::other("a thread panicked");
        let complaint = complaints.join().map_err(panicked)??;
        match writer.join().map_err(panicked)? {
            // It refused an earlier line and went; it says so itself.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(Talk { answer, complaint: String::from_utf8_lossy(&complaint).trim().to_owned() }),
        }
    })
}

fn failure(program: &Path, status: ExitStatus, complaint: &str, input: Option<&str>) -> IptablesError {
    let program = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let message = complaint.to_owned();
    if status.code() == Some(RESOURCE_PROBLEM) && message.contains("lock") {
        return IptablesError::LockHeld { program, message };
    }
    let line_number = refused_line(complaint);
    match line_number.and_then(|number| Some((number, input?.lines().nth(number.checked_sub(1)?)?))) {
        Some((line_number, line)) => IptablesError::Refused {
            program,
            line_number,
            line: line.chars().take(LINE_SHOWN).collect(),
            message,
        },
        None => IptablesError::Failed { program, status: status.to_string(), message },
    }
}

/// The number in "line 7 failed", "Error occurred at line: 7", "line 7: RULE_APPEND failed".
fn refused_line(complaint: &str) -> Option<usize> {
    complaint.match_indices("line").find_map(|(at, word)| {
        let rest = complaint.get(at + word.len()..)?.trim_start_matches([':', ' ']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_line_is_found() {
        for (complaint, line) in [
            ("iptables-restore: line 7 failed", Some(7)),
            ("iptables-restore v1.8.9 (nf_tables): \nline 12: RULE_APPEND failed (Busy)", Some(12)),
            ("Bad argument `x'\nError occurred at line: 3\nTry `iptables-restore -h'", Some(3)),
            ("Another app is currently holding the xtables lock", None),
            ("the online line is busy", None),
        ] {
            assert_eq!(refused_line(complaint), line, "{complaint}");
        }
    }
}
