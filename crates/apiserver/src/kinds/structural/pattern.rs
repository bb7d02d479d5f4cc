//! Patterns: Go's regular expressions, in time linear in the text.
//!
//! The two grammars differ in little: Go's `\d`, `\w`, `\s` and `\b` know ASCII only, and in a class `[`, `&&`, `~~` and `--`
//! mean themselves. Patterns are rewritten accordingly.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// Most bytes of one compiled pattern; Go bounds repetition instead.
const SIZE_LIMIT: usize = 4 << 20;
/// Most different patterns of one definition: with [`SIZE_LIMIT`] the bound of what a definition can take.
const MOST_PATTERNS: usize = 1000;

/// A pattern, as written and compiled.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As the schema has it: it stands in messages.
    pub(super) text: String,
    regex: Regex,
}

impl Pattern {
    /// Whether it matches anywhere in the text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The patterns of one schema: each text is compiled once.
#[derive(Debug, Default)]
pub(super) struct Patterns(HashMap<String, Arc<Pattern>>);

impl Patterns {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(&mut self, text: &str) -> Result<Arc<Pattern>, String> {
        if let Some(pattern) = self.0.get(text) {
            return Ok(Arc::clone(pattern));
        }
        if self.0.len() >= MOST_PATTERNS {
            return Err(format!("there are more than {MOST_PATTERNS} different patterns"));
        }
        let built = RegexBuilder::new(&rewritten(text)).size_limit(SIZE_LIMIT).build();
        let regex = built.map_err(|error| {
            // The first lines draw the pattern; the last says what is wrong.
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })?;
        let pattern = Arc::new(Pattern { text: text.to_owned(), regex });
        self.0.insert(text.to_owned(), Arc::clone(&pattern));
        Ok(pattern)
    }
}

/// The pattern in the grammar of our engine.
fn rewritten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // Inside a class; its first character may be `]`, which then means itself.
    let (mut class, mut first) = (false, false);
    while let Some(c) = rest.next() {
        let was_first = std::mem::take(&mut first);
        match c {
            '\\' => match rest.next() {
                Some('d') => out.push_str(if class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if class { r"\t\n\x0C\r " } else { r"[\t\n\x0C\r ]" }),
                Some('b') if !class => out.push_str(r"(?-u:\b)"),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str(r"[^\t\n\x0C\r ]"),
                Some(escaped) => {
                    out.push('\\');
                    out.push(escaped);
                }
                None => out.push('\\'),
            },
            '[' if !class => {
                (class, first) = (true, true);
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
            }
            '[' if rest.peek() == Some(&':') => {
                // `[:alpha:]`
                out.push('[');
                for inner in rest.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str(r"\["),
            ']' if class && was_first => out.push_str(r"\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Patterns::default().compile(pattern).unwrap().matches(text)
    }

    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        assert!(matches(r"^\d+$", "123") && !matches(r"^\d+$", "١٢"));
        assert!(matches(r"^[\w.]+$", "a_b.c") && !matches(r"^[\w.]+$", "ä"));
        assert!(matches(r"^[]a]+$", "]a") && matches(r"^[^]a]$", "b"));
        assert!(matches(r"^[[&&~]+$", "[&~"));
        assert!(matches(r"^[[:alpha:]-]+$", "a-b") && !matches(r"^[[:alpha:]]$", "1"));
        assert!(matches(r"\S", "a") && !matches(r"^[^\s]$", " "));
        assert!(matches("b", "abc"), "a pattern is not anchored");
        assert!(matches(r"a\b", "aä") && matches("(?i)^ä$", "Ä") && matches(r"^\p{L}$", "ä"));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        let wrong = |text: &str| Patterns::default().compile(text).unwrap_err();
        assert_eq!(wrong("("), "unclosed group");
        assert!(wrong("a{1000}{1000}").contains("size limit"), "{}", wrong("a{1000}{1000}"));
        let deep = format!("{}{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(wrong(&deep).contains("nest"), "{}", wrong(&deep));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_compiled_or_refused(text in "\\PC{0,30}") {
            _ = Patterns::default().compile(&text);
        }
    }
}
