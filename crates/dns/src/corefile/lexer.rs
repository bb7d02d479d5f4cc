//! Words of a Corefile: separated by blanks, in quotes if they hold some; `#` begins a remark.

use std::sync::Arc;

use super::Sources;
use super::error::{CorefileError, Place};

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// In quotes: never a brace.
    pub(super) quoted: bool,
    pub(super) place: Place,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> CorefileError {
        self.place.error(reason)
    }
}

/// The words of a text, line by line; lines without words are left out.
pub(super) fn lines(
    file: &Arc<std::path::Path>,
    text: &str,
    sources: &dyn Sources,
) -> Result<Vec<Vec<Token>>, CorefileError> {
    let mut lines = Vec::new();
    let mut line: Vec<Token> = Vec::new();
    let mut number = 1;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let place = Place { file: file.clone(), line: number };
        match character {
            '\n' => {
                number += 1;
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
            }
            '#' => while characters.next_if(|next| *next != '\n').is_some() {},
            '"' => {
                let mut word = String::new();
                loop {
                    match characters.next() {
                        Some('"') => break,
                        Some('\\') if characters.peek() == Some(&'"') => word.extend(characters.next()),
                        Some(next) => {
                            number += usize::from(next == '\n');
                            word.push(next);
                        }
                        None => return Err(place.error("the quotation that begins here does not end")),
                    }
                }
                line.push(Token { text: word, quoted: true, place });
            }
            character if character.is_whitespace() => {}
            character => {
                let mut word = String::from(character);
                while let Some(next) = characters.next_if(|next| !next.is_whitespace()) {
                    word.push(next);
                }
                let text = variables(&word, &place, sources)?;
                line.push(Token { text, quoted: false, place });
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    Ok(lines)
}

/// Puts variables in: `{$NAME}` and `{%NAME%}`.
fn variables(word: &str, place: &Place, sources: &dyn Sources) -> Result<String, CorefileError> {
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(begin) = rest.find("{$").or_else(|| rest.find("{%")) {
        let Some(end) = rest[begin..].find('}').map(|end| begin + end) else { break };
        let name = rest[begin + 2..end].trim_end_matches('%');
        let Some(value) = sources.variable(name) else {
            return Err(place.error(format!("the environment has no variable {name}")));
        };
        text.push_str(&rest[..begin]);
        text.push_str(&value);
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Ok(text)
}
