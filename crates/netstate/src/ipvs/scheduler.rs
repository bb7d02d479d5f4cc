use std::borrow::Cow;
use std::fmt;

/// The name of a scheduler: 1 to 15 bytes of lower-case letters and digits (`IP_VS_SCHEDNAME_MAXLEN`). Whether the
/// kernel has it shows when the first service with it is made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scheduler(Cow<'static, str>);

/// Why a text is not the name of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is not the name of an IPVS scheduler; Linux has rr, wrr, lc, wlc, lblc, lblcr, sh, mh, dh, sed, nq, fo \
     and ovf"
)]
pub struct SchedulerError {
    /// What was given.
    pub name: String,
}

impl Scheduler {
    /// Takes turns.
    pub const ROUND_ROBIN: Self = Self(Cow::Borrowed("rr"));
    /// By a table over the client's address.
    pub const SOURCE_HASH: Self = Self(Cow::Borrowed("sh"));

    /// Checks a name.
    ///
    /// # Errors
    /// [`SchedulerError`] when no scheduler can have that name.
    pub fn parse(name: &str) -> Result<Self, SchedulerError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if (1..=15).contains(&name.len()) && name.bytes().all(fits) {
            Ok(Self(Cow::Owned(name.to_owned())))
        } else {
            Err(SchedulerError { name: name.to_owned() })
        }
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
