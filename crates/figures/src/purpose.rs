//! What a bench target is run for.

/// What a bench target is run for: `cargo bench` says so, and `cargo test` says nothing or which tests it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Figures.
    Measure,
    /// A few of everything, to see that it works.
    Smoke,
    /// Nothing: tests with other names are wanted.
    Nothing,
}

impl Purpose {
    /// By the command line without the program, for the benchmark of a name. Flags are those of other test programs,
    /// which `cargo test` starts with the same words.
    pub fn of(name: &str, arguments: impl IntoIterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.into_iter().collect();
        if arguments.iter().any(|argument| argument == "--bench") {
            return Self::Measure;
        }
        let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        let is_wanted = filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()));
        if is_wanted { Self::Smoke } else { Self::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_what_it_is_run_for() {
        let of = |words: &[&str]| Purpose::of("dns", words.iter().map(|word| (*word).to_owned()));
        assert_eq!(of(&["--bench"]), Purpose::Measure);
        assert_eq!(of(&["--objects", "5", "--bench"]), Purpose::Measure);
        for smoke in [&[][..], &["dns"], &["--nocapture"], &["dn", "other"]] {
            assert_eq!(of(smoke), Purpose::Smoke, "{smoke:?}");
        }
        assert_eq!(of(&["zone", "--nocapture"]), Purpose::Nothing);
    }
}
