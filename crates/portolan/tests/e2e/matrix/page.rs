//! The cases as a page for people: docs/kubectl.md.

use std::fmt::Write as _;

use super::cases::Group;

/// The page's text.
pub fn page(groups: &[Group]) -> String {
    let rows: usize = groups.iter().map(|group| group.rows().count()).sum();
    let mut page = format!(
        "# kubectl against a lab, line by line\n\n\
         {rows} command lines as people type them in daily work, and what they do. `make test` runs every one with \
         kubectl 1.32 against a lab of three nodes and compares exit code, standard output and standard error with \
         what a cluster of Kubernetes 1.33 answers; the expectations are the files in \
         `crates/portolan/tests/e2e/matrix/cases`, and this page is made from them by \
         `PORTOLAN_WRITE_PAGE=1 cargo test -p portolan --test e2e matrix::page`.\n\n\
         Each group has a directory and a namespace of its own. Names in capitals (`$POD`) stand for what a command \
         before it printed. A number behind the effect is the exit code where it is not 0.\n"
    );
    for group in groups {
        _ = write!(page, "\n## {}\n\n| command line | effect |\n| --- | --- |\n", group.title);
        for step in group.rows() {
            let code = if step.code == 0 { String::new() } else { format!(" ({})", step.code) };
            let effect = step.effect.as_deref().unwrap_or_default();
            _ = writeln!(page, "| {} | {}{code} |", code_span(&step.command), effect.replace('|', "\\|"));
        }
    }
    page
}

/// Text as code inside a table.
fn code_span(text: &str) -> String {
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{}{fence}", text.replace('|', "\\|"))
}
