//! Whether a command's output is the expected one.
//!
//! Runs of white space inside a line count as one space: tables are as wide as their content. Everything else is
//! taken literally but:
//!
//! | in the expectation | stands for |
//! | --- | --- |
//! | a line `...` | any number of lines |
//! | `{any}` | any text in a line, or none |
//! | `{word}` | characters without white space |
//! | `{number}`, `{age}`, `{time}`, `{ip}`, `{uid}` | what their names say: `7`, `3m2s`, RFC 3339, an IPv4 address, a UUID |
//! | `{hash}` | what controllers put behind a name: letters, digits and dashes |
//! | `{NAME}` | characters without white space or quotes, the same ones throughout the group; commands see them as `$NAME` |

use std::collections::BTreeMap;

use regex::Regex;

/// The words that stand for themselves in the table above, and the expressions for them.
const WORDS: [(&str, &str); 8] = [
    ("any", r"[^\n]*?"),
    ("word", r"\S+"),
    ("number", r"[0-9]+"),
    ("age", r"(?:[0-9]+[smhdy])+"),
    ("time", r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(?:Z|[+-][0-9:]+)"),
    ("ip", r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"),
    ("uid", r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("hash", r"[a-z0-9-]+"),
];

/// Names and what they stood for, as far as the group has come.
pub type Bindings = BTreeMap<String, String>;

/// Whether `actual` is what `expected` says; new names are bound when it is.
pub fn matches(expected: &[String], actual: &str, bindings: &mut Bindings) -> bool {
    let (expression, new) = expression(expected, bindings);
    let expression = Regex::new(&expression).unwrap_or_else(|error| panic!("{expected:?}: {error}"));
    let actual: String = actual.trim_end().lines().map(|line| squeezed(line) + "\n").collect();
    let Some(captures) = expression.captures(&actual) else { return false };
    for name in new {
        let value = captures[name.as_str()].to_owned();
        bindings.insert(name, value);
    }
    true
}

/// How many lines of `expected` the beginning of `actual` agrees with.
pub fn agreeing(expected: &[String], actual: &str, bindings: &Bindings) -> usize {
    let begins = |lines: usize| {
        let beginning = [&expected[..lines], &["...".to_owned()]].concat();
        matches(&beginning, actual, &mut bindings.clone())
    };
    (0..expected.len()).rev().find(|lines| begins(*lines)).unwrap_or_default()
}

/// The expression for all lines, each with its line feed, and the names it binds.
fn expression(expected: &[String], bindings: &Bindings) -> (String, Vec<String>) {
    let mut expression = r"\A".to_owned();
    let mut new = Vec::new();
    for line in expected {
        if line == "..." {
            expression += r"(?:[^\n]*\n)*?";
            continue;
        }
        let line = squeezed(line);
        let mut rest = line.as_str();
        while let Some((before, word, after)) = placeholder(rest) {
            expression += &regex::escape(before);
            expression += &placeholder_expression(word, bindings, &mut new);
            rest = after;
        }
        expression += &regex::escape(rest);
        expression += r"\n";
    }
    (expression + r"\z", new)
}

/// Splits at the first `{word}` that the table knows; other braces are text.
fn placeholder(line: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = line[from..].find('{').map(|at| at + from) {
        let close = open + line[open..].find('}')?;
        let word = &line[open + 1..close];
        let is_name = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_name || WORDS.iter().any(|(known, _)| *known == word) {
            return Some((&line[..open], word, &line[close + 1..]));
        }
        from = open + 1;
    }
    None
}

fn placeholder_expression(word: &str, bindings: &Bindings, new: &mut Vec<String>) -> String {
    if let Some((_, expression)) = WORDS.iter().find(|(known, _)| *known == word) {
        return (*expression).to_owned();
    }
    if let Some(value) = bindings.get(word) {
        return regex::escape(value);
    }
    assert!(!new.iter().any(|name| name == word), "{word} is bound twice in one output");
    new.push(word.to_owned());
    format!(r#"(?P<{word}>[^\s"']+?)"#)
}

/// One space for every run of white space that is not at the line's start; none at its end.
fn squeezed(line: &str) -> String {
    let line = line.trim_end();
    let indent = line.len() - line.trim_start().len();
    let words: Vec<&str> = line.split_whitespace().collect();
    format!("{}{}", &line[..indent], words.join(" "))
}

#[test]
fn lines_words_and_names() {
    let mut bindings = Bindings::new();
    let mut same = |expected: &str, actual: &str| {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        matches(&expected, actual, &mut bindings)
    };
    assert!(same("NAME AGE\n{POD} {age}", "NAME    AGE\nweb-1   3m2s   \n"));
    assert!(same("...\npod/{POD} deleted\n...", "a\nb\npod/web-1 deleted\n"));
    assert!(!same("pod/{POD} deleted", "pod/web-2 deleted"));
    assert!(!same("  indented", "    indented"));
    assert!(!same("one", "one\ntwo"));
    assert!(same("{.metadata.name} {}", "{.metadata.name} {}"));
    assert!(same("", ""));
    assert!(!same("", "something"));
}
