//! What the files of a container say.

use std::path::Path;

/// The most that a log says in place of a container's last words: lines and bytes, as in the kubelet.
const TAIL: (usize, usize) = (80, 2048);

/// The end of a container's log, without the times; empty when there is none.
#[must_use]
pub fn log_tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // `TIME STREAM TAG CONTENT`
    let lines: Vec<&str> = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let tail: String =
        lines[lines.len().saturating_sub(TAIL.0)..].iter().map(|line| format!("{line}\n")).collect();
    let mut start = tail.len().saturating_sub(TAIL.1);
    while !tail.is_char_boundary(start) {
        start += 1;
    }
    tail[start..].to_owned()
}
