//! The format of the case files in `cases/`, and its reader.
//!
//! A file is a transcript of a terminal in a directory and a namespace of its own (the file's name). A line's first
//! characters say what it is:
//!
//! | line | meaning |
//! | --- | --- |
//! | `# Title` | the first line: the heading of the group in docs/kubectl.md |
//! | `alone` | the group runs when no other does: it changes the nodes, or counts what the whole cluster holds |
//! | `// …` | a comment |
//! | `<<< NAME` … `>>>` | a file of the group's directory, there before the first command |
//! | `## effect` | what the command after it shows; such commands are the rows of the matrix, the others serve them |
//! | `$ COMMAND` | runs once |
//! | `@ COMMAND` | the same, on a terminal |
//! | `& COMMAND` | goes on until the next `$`, `@` or `&`, while the checks after it run; its output is awaited |
//! | `% COMMAND` | a check: repeated until it answers as expected, because controllers and pods take their time |
//! | `< text` | a line of standard input |
//! | `? N` | the exit code, when it is not 0 |
//! | `! line` | a line of standard error |
//! | `\line` | a line of standard output that would otherwise be one of the above |
//! | any other | a line of standard output |
//!
//! What `line` may hold besides text is told at [`super::pattern`].

use std::path::Path;

/// One case file.
#[derive(Debug)]
pub struct Group {
    /// The file's name.
    pub file: String,
    /// The same without its number and ending: the namespace.
    pub name: String,
    pub title: String,
    pub alone: bool,
    /// Name and content.
    pub files: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

impl Group {
    /// The command lines of the matrix.
    pub fn rows(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.effect.is_some())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Once,
    OnTerminal,
    Lasting,
    Check,
}

/// One command and what is expected of it.
#[derive(Debug)]
pub struct Step {
    /// `FILE:LINE`.
    pub place: String,
    pub kind: Kind,
    /// Set for the command lines of the matrix.
    pub effect: Option<String>,
    pub command: String,
    pub input: String,
    pub code: i32,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

/// All groups, in the order of the files' names.
pub fn groups() -> Vec<Group> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/matrix/cases");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| group(path)).collect()
}

fn group(path: &Path) -> Group {
    let file = path.file_name().unwrap().to_str().unwrap();
    let (_, name) = file.split_once('-').unwrap_or_else(|| panic!("{file}: not NN-NAME.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().enumerate();
    let title = lines.next().and_then(|(_, line)| line.strip_prefix("# "));
    let mut group = Group {
        file: file.to_owned(),
        name: name.trim_end_matches(".txt").to_owned(),
        title: title.unwrap_or_else(|| panic!("{file}: the first line is not `# Title`")).to_owned(),
        alone: false,
        files: Vec::new(),
        steps: Vec::new(),
    };
    let mut effect = None;
    while let Some((number, line)) = lines.next() {
        let place = format!("{file}:{}", number + 1);
        if line == "alone" {
            group.alone = true;
        } else if let Some(name) = line.strip_prefix("<<< ") {
            let content: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != ">>>").collect();
            group.files.push((name.to_owned(), content.join("\n") + "\n"));
        } else if let Some(text) = line.strip_prefix("## ") {
            assert!(effect.is_none(), "{place}: two effects and no command between them");
            effect = Some(text.to_owned());
        } else if let Some((kind, command)) = command(line) {
            let effect = effect.take();
            group.steps.push(Step {
                place,
                kind,
                effect,
                command: command.to_owned(),
                input: String::new(),
                code: 0,
                out: Vec::new(),
                err: Vec::new(),
            });
        } else if !line.starts_with("// ") {
            expectation(group.steps.last_mut(), line, &place);
        }
    }
    assert!(effect.is_none(), "{file}: an effect without a command");
    for step in &mut group.steps {
        while step.out.last().is_some_and(String::is_empty) {
            step.out.pop();
        }
    }
    group
}

fn command(line: &str) -> Option<(Kind, &str)> {
    let kinds = [("$ ", Kind::Once), ("@ ", Kind::OnTerminal), ("& ", Kind::Lasting), ("% ", Kind::Check)];
    kinds.into_iter().find_map(|(mark, kind)| Some((kind, line.strip_prefix(mark)?)))
}

fn expectation(step: Option<&mut Step>, line: &str, place: &str) {
    let Some(step) = step else {
        assert!(line.is_empty(), "{place}: output before the first command");
        return;
    };
    if let Some(text) = line.strip_prefix("< ") {
        step.input += &format!("{text}\n");
    } else if let Some(code) = line.strip_prefix("? ") {
        step.code = code.parse().unwrap_or_else(|_| panic!("{place}: no exit code"));
    } else if let Some(text) = line.strip_prefix("! ") {
        step.err.push(text.to_owned());
    } else {
        step.out.push(line.strip_prefix('\\').unwrap_or(line).to_owned());
    }
}
