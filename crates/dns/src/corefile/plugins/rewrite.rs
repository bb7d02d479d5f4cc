use super::super::error::CorefileError;
use super::super::lexer::Token;
use super::super::reader::Arguments;
use super::super::tree::Directive;
use crate::rewrite::{AnswerRule, Matcher, Rewrite};

/// `rewrite [continue|stop] name [KIND] FROM TO [answer …]`, in one line or in braces.
pub(super) fn rule(directive: &Directive) -> Result<Rewrite, CorefileError> {
    let mut words: Vec<Token> = directive.arguments.clone();
    // Lines in braces say the same as one long line.
    words.extend(directive.body.iter().flatten().cloned());
    let mut arguments = Arguments::new(&directive.name, &words);
    let mut stop = true;
    if let Some(mode) = arguments.peek().filter(|token| matches!(token.text.as_str(), "continue" | "stop")) {
        stop = mode.text == "stop";
        arguments.next();
    }
    let field = arguments.required("what to rewrite: name")?;
    if field.text != "name" {
        return Err(field.error(format!(
            "rewriting '{}' is not understood: names can be rewritten, as in `rewrite name FROM TO`",
            field.text
        )));
    }
    let matcher = matcher(&mut arguments)?;
    let mut answers = Vec::new();
    while let Some(token) = arguments.next() {
        if token.text != "answer" {
            return Err(token.error(format!("'{}' stands where only 'answer' may", token.text)));
        }
        let what = arguments.required("'auto', 'name' or 'value'")?;
        match what.text.as_str() {
            "auto" => match matcher.reverse() {
                Some(reverse) => {
                    answers.push(AnswerRule::Name(reverse.clone()));
                    answers.push(AnswerRule::Value(reverse));
                }
                None => {
                    return Err(what.error(
                        "'answer auto' cannot turn a substring or a regular expression back: use 'answer name'",
                    ));
                }
            },
            "name" => answers.push(AnswerRule::Name(pattern(&mut arguments)?)),
            "value" => answers.push(AnswerRule::Value(pattern(&mut arguments)?)),
            other => return Err(what.error(format!("'{other}' is neither 'auto', 'name' nor 'value'"))),
        }
    }
    Ok(Rewrite { matcher, stop, answers })
}

fn matcher(arguments: &mut Arguments<'_>) -> Result<Matcher, CorefileError> {
    let first = arguments.required("what to look for")?;
    let kind = match first.text.as_str() {
        kind @ ("exact" | "prefix" | "suffix" | "substring" | "regex") => kind,
        _ => {
            let to = arguments.required("what to put in its place")?;
            return Ok(Matcher::exact(&first.text, &to.text));
        }
    };
    if kind == "regex" {
        return pattern(arguments);
    }
    let from = arguments.required("what to look for")?;
    let to = arguments.required("what to put in its place")?;
    Ok(match kind {
        "exact" => Matcher::exact(&from.text, &to.text),
        "prefix" => Matcher::prefix(&from.text, &to.text),
        "suffix" => Matcher::suffix(&from.text, &to.text),
        _ => Matcher::substring(&from.text, &to.text),
    })
}

fn pattern(arguments: &mut Arguments<'_>) -> Result<Matcher, CorefileError> {
    let from = arguments.required("a regular expression")?;
    let to = arguments.required("what to put in its place")?;
    Matcher::regex(&from.text, &to.text)
        .map_err(|error| from.error(format!("'{}' is not a regular expression: {error}", from.text)))
}
