//! Label selectors, in the grammar of `apimachinery/pkg/labels`:
//! `a`, `!a`, `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a>1`, `a<1`, joined by commas.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::kinds::{label_value, qualified_name};
use crate::store::Labels;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(BTreeSet<String>),
    /// Also true where the label is missing.
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Above,
    Below,
    End,
}

impl LabelSelector {
    /// Parses the text; an empty one selects everything.
    ///
    /// # Errors
    /// What was found where something else was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        let mut requirements = Vec::new();
        if *parser.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.next() {
                Token::End => return Ok(Self(requirements)),
                Token::Comma => {}
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    /// Reads a meta/v1 LabelSelector; an empty one selects everything. What validation would refuse selects nothing more.
    pub fn of_object(selector: &Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), test: Test::In(BTreeSet::from([value])) });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |field| expression.get(field).and_then(Value::as_str).unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match text("operator") {
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Missing,
                _ => Test::In(values),
            };
            requirements.push(Requirement { key: text("key").to_owned(), test });
        }
        Self(requirements)
    }

    /// Everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(set) => value.is_some_and(|value| set.contains(value)),
                Test::NotIn(set) => value.is_none_or(|value| !set.contains(value)),
                Test::Above(bound) => number().is_some_and(|value| value > *bound),
                Test::Below(bound) => number().is_some_and(|value| value < *bound),
            }
        })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            match test {
                Test::Exists => write!(out, "{key}")?,
                Test::Missing => write!(out, "!{key}")?,
                Test::In(set) if set.len() == 1 => write!(out, "{key}={}", list(set))?,
                Test::NotIn(set) if set.len() == 1 => write!(out, "{key}!={}", list(set))?,
                Test::In(set) => write!(out, "{key} in ({})", list(set))?,
                Test::NotIn(set) => write!(out, "{key} notin ({})", list(set))?,
                Test::Above(bound) => write!(out, "{key}>{bound}")?,
                Test::Below(bound) => write!(out, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Above => ">",
            Self::Below => "<",
            Self::End => "",
        })
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&first) = rest.peek() {
        let token = match first {
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '>' => Token::Above,
            '<' => Token::Below,
            '=' | '!' => {
                rest.next();
                // `=`, `==`, `!` and `!=`.
                let pair = rest.next_if_eq(&'=').is_some();
                out.push(match (first, pair) {
                    ('=', _) => Token::Equal,
                    (_, true) => Token::NotEqual,
                    (_, false) => Token::Not,
                });
                continue;
            }
            space if space.is_ascii_whitespace() => {
                rest.next();
                continue;
            }
            _ => {
                let mut word = String::new();
                let ends = |c: &char| c.is_ascii_whitespace() || ",()><=!".contains(*c);
                while let Some(c) = rest.next_if(|c| !ends(c)) {
                    word.push(c);
                }
                out.push(Token::Word(word));
                continue;
            }
        };
        rest.next();
        out.push(token);
    }
    out.push(Token::End);
    out
}

struct Parser {
    /// Ends with [`Token::End`], which is never passed.
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if *self.peek() == Token::Not {
            self.next();
            return Ok(Requirement { key: self.key()?, test: Test::Missing });
        }
        let key = self.key()?;
        if matches!(self.peek(), Token::Comma | Token::End) {
            return Ok(Requirement { key, test: Test::Exists });
        }
        let test = match self.next() {
            Token::Equal => Test::In(BTreeSet::from([self.value(&key, 0)?])),
            Token::NotEqual => Test::NotIn(BTreeSet::from([self.value(&key, 0)?])),
            Token::Above => Test::Above(self.number(&key)?),
            Token::Below => Test::Below(self.number(&key)?),
            Token::Word(word) if word == "in" => Test::In(self.set(&key)?),
            Token::Word(word) if word == "notin" => Test::NotIn(self.set(&key)?),
            other => {
                return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, String> {
        match self.next() {
            // A selector in a query has no path: Go prints nothing as <nil>.
            Token::Word(word) => checked("<nil>", word, qualified_name),
            other => Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
        }
    }

    /// A value may be missing: `a=` asks for the empty value. `place` counts the values of the requirement.
    fn value(&mut self, key: &str, place: usize) -> Result<String, String> {
        match self.peek().clone() {
            Token::Comma | Token::End | Token::Close => Ok(String::new()),
            Token::Word(word) => {
                self.next();
                checked(&format!("values[{place}][{key}]"), word, label_value)
            }
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let text = self.value(key, 0)?;
        text.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    fn set(&mut self, key: &str) -> Result<BTreeSet<String>, String> {
        let first = self.next();
        if first != Token::Open {
            return Err(format!("found '{first}', expected: '('"));
        }
        let mut set = BTreeSet::new();
        loop {
            set.insert(self.value(key, set.len())?);
            match self.next() {
                Token::Comma => {}
                Token::Close => return Ok(set),
                other => return Err(format!("found '{other}', expected: ',', or ')'")),
            }
        }
    }
}

/// The word, if it follows the rule; in the words of `field.Error` otherwise.
fn checked(place: &str, word: String, rule: fn(&str) -> Vec<String>) -> Result<String, String> {
    match rule(&word).as_slice() {
        [] => Ok(word),
        wrong => Err(format!("{place}: Invalid value: {word:?}: {}", wrong.join("; "))),
    }
}
