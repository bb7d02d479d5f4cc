//! The command lines of docs/kubectl.md, run and compared.
//!
//! `cases/*.txt` hold them as data; `PORTOLAN_CASES=03,05 cargo test … matrix` runs the files whose names begin so.

mod cases;
mod page;
mod pattern;
mod run;

use std::path::PathBuf;

use crate::harness::{Lab, cache, project};

/// kubectl 1.32, the version that the expectations are written for: `scripts/setup --test` puts it there.
fn kubectl() -> PathBuf {
    let path = cache().join("bin/kubectl-1.32");
    assert!(path.exists(), "no kubectl 1.32 at {}: `scripts/setup --test` puts it there", path.display());
    path
}

#[test]
fn every_command_line_answers_as_a_cluster_does() {
    let mut groups = cases::groups();
    if let Ok(chosen) = std::env::var("PORTOLAN_CASES") {
        groups.retain(|group| chosen.split(',').any(|prefix| group.file.starts_with(prefix)));
    }
    let lab = Lab::up(&[]);
    let failures = run::run(&lab, &groups);
    let all: usize = groups.iter().map(|group| group.steps.len()).sum();
    assert!(failures.is_empty(), "{} of {all} commands:\n\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn page_is_that_of_the_cases() {
    let groups = cases::groups();
    let rows: usize = groups.iter().map(|group| group.rows().count()).sum();
    assert!(rows >= 150, "only {rows} command lines");
    let path = project().join("docs/kubectl.md");
    let page = page::page(&groups);
    if std::env::var_os("PORTOLAN_WRITE_PAGE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|written| written == page),
        "docs/kubectl.md is not what the cases say; `PORTOLAN_WRITE_PAGE=1 cargo test -p portolan --test e2e \
         matrix::page` writes it"
    );
}
