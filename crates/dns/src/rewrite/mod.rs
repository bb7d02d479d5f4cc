//! Names rewritten on the way in, and back again on the way out.

mod message;
mod rules;

pub(crate) use message::back;
pub use rules::Rewrite;
pub(crate) use rules::{AnswerRule, Matcher};

use crate::{Name, NameError};

/// The name that is asked for in place of `name`, with the rules for what comes back; `None`: no rule fits.
///
/// # Errors
/// When a rule makes something that is no name.
pub(crate) fn forth<'a>(
    rules: &'a [Rewrite],
    name: &Name,
) -> Result<Option<(Name, Vec<&'a AnswerRule>)>, NameError> {
    let mut text = None;
    let mut answers = Vec::new();
    for rule in rules {
        let now = text.get_or_insert_with(|| name.to_string());
        let Some(changed) = rule.matcher.apply(now) else { continue };
        *now = changed;
        answers.extend(&rule.answers);
        if rule.stop {
            return Ok(Some((Name::parse(now)?, answers)));
        }
    }
    match text.map(|text| Name::parse(&text)).transpose()? {
        Some(changed) if changed != *name => Ok(Some((changed, answers))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
