use regex::Regex;

/// A rule of the plugin `rewrite` for names.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewrite {
    pub(crate) matcher: Matcher,
    /// No rule behind it is looked at when it fits.
    pub(crate) stop: bool,
    /// What happens to names in the answer.
    pub(crate) answers: Vec<AnswerRule>,
}

/// What happens to names in an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AnswerRule {
    /// Those that records belong to.
    Name(Matcher),
    /// Those that records lead to.
    Value(Matcher),
}

/// Which names fit, and what they become. Texts are in lower case and end in a dot, as CoreDNS compares them.
#[derive(Debug, Clone)]
pub(crate) enum Matcher {
    Exact(String, String),
    Prefix(String, String),
    Suffix(String, String),
    Substring(String, String),
    Regex(Regex, String),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a, b), Self::Exact(c, d))
            | (Self::Prefix(a, b), Self::Prefix(c, d))
            | (Self::Suffix(a, b), Self::Suffix(c, d))
            | (Self::Substring(a, b), Self::Substring(c, d)) => (a, b) == (c, d),
            (Self::Regex(a, b), Self::Regex(c, d)) => (a.as_str(), b) == (c.as_str(), d),
            _ => false,
        }
    }
}

/// With a dot at the end.
fn whole(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    if text.ends_with('.') { text } else { text + "." }
}

impl Matcher {
    pub(crate) fn exact(from: &str, to: &str) -> Self {
        Self::Exact(whole(from), whole(to))
    }

    pub(crate) fn prefix(from: &str, to: &str) -> Self {
        Self::Prefix(from.to_ascii_lowercase(), to.to_ascii_lowercase())
    }

    pub(crate) fn suffix(from: &str, to: &str) -> Self {
        Self::Suffix(whole(from), whole(to))
    }

    pub(crate) fn substring(from: &str, to: &str) -> Self {
        Self::Substring(from.to_ascii_lowercase(), to.to_ascii_lowercase())
    }

    /// `{1}` in `to` stands for the first group.
    ///
    /// # Errors
    /// When `from` is no regular expression of a sensible size.
    pub(crate) fn regex(from: &str, to: &str) -> Result<Self, regex::Error> {
        let regex = regex::RegexBuilder::new(from).size_limit(1 << 20).build()?;
        Ok(Self::Regex(regex, to.to_owned()))
    }

    /// The one that undoes this one, where there is one.
    pub(crate) fn reverse(&self) -> Option<Self> {
        match self {
            Self::Exact(from, to) => Some(Self::Exact(to.clone(), from.clone())),
            Self::Prefix(from, to) => Some(Self::Prefix(to.clone(), from.clone())),
            Self::Suffix(from, to) => Some(Self::Suffix(to.clone(), from.clone())),
            Self::Substring(..) | Self::Regex(..) => None,
        }
    }

    /// What a name becomes; `None`: it does not fit.
    pub(crate) fn apply(&self, name: &str) -> Option<String> {
        match self {
            Self::Exact(from, to) => (name == from).then(|| to.clone()),
            Self::Prefix(from, to) => name.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}")),
            Self::Suffix(from, to) => name.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}")),
            Self::Substring(from, to) => {
                name.contains(from.as_str()).then(|| name.replace(from.as_str(), to))
            }
            Self::Regex(regex, to) => {
                let groups = regex.captures(name)?;
                let mut text = to.clone();
                for (number, group) in groups.iter().enumerate() {
                    text = text.replace(&format!("{{{number}}}"), group.map_or("", |group| group.as_str()));
                }
                Some(whole(&text))
            }
        }
    }
}
