//! How many requests may be under way at once, and for how long.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;

use super::target::{Part, Route, Target, is_watch};
use crate::config::Limits;
use crate::http::{Answer, Query, Slot, Slots};
use crate::status::Status;

/// Longest request that is not a watch, a log or a session, unless it asks for less.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Slots for what is under way, by what it is, so that a flood of one kind leaves the others alone.
pub(super) struct Bounds {
    reads: Slots,
    writes: Slots,
    watches: Slots,
}

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Done when it is answered.
    Read,
    /// Done when it is answered; may wait for the disk.
    Write,
    /// Open for as long as its caller likes: a watch or a log.
    Watch,
    /// A connection that becomes something else; the bound of connections is its bound.
    Session,
}

/// A request's place; given back when dropped.
pub(super) struct Place {
    slot: Option<Slot>,
    class: Class,
}

impl Class {
    pub(super) fn of(method: &Method, route: &Route, query: &Query) -> Self {
        let part = match route {
            Route::Objects(Target { part, .. }) => Some(*part),
            _ => None,
        };
        match (part, method) {
            (Some(Part::Session(_) | Part::Proxy), _) => Self::Session,
            (Some(Part::Log), _) => Self::Watch,
            (Some(_), &Method::GET) if is_watch(query) => Self::Watch,
            (_, &Method::GET | &Method::HEAD) => Self::Read,
            _ => Self::Write,
        }
    }
}

impl Bounds {
    pub(super) fn new(limits: &Limits) -> Self {
        let Limits { reads, writes, watches, .. } = *limits;
        Self { reads: Slots::new(reads), writes: Slots::new(writes), watches: Slots::new(watches) }
    }

    /// A place for a request of `user`.
    ///
    /// # Errors
    /// 429 when there is none.
    pub(super) fn enter(&self, class: Class, user: &str) -> Result<Place, Status> {
        let slots = match class {
            Class::Read => &self.reads,
            Class::Write => &self.writes,
            Class::Watch => &self.watches,
            Class::Session => return Ok(Place { slot: None, class }),
        };
        match slots.take(user) {
            Some(slot) => Ok(Place { slot: Some(slot), class }),
            None => {
                tracing::debug!(user, ?class, "too many requests");
                Err(Status::too_many_requests())
            }
        }
    }
}

impl Place {
    /// The answer, which takes the place along when it is open for longer.
    pub(super) fn leave(self, answer: Answer) -> Answer {
        match (self.class, self.slot) {
            (Class::Watch, Some(slot)) => answer.map(|body| {
                let held = body.map_frame(move |frame| {
                    let _held_until_the_body_ends = &slot;
                    frame
                });
                held.boxed_unsync()
            }),
            _ => answer,
        }
    }
}

/// How long a request may take: what `timeout` says, and at most [`REQUEST_TIMEOUT`].
///
/// # Errors
/// 400 when it is no duration as Go writes them.
pub(super) fn time_limit(query: &Query) -> Result<Duration, Status> {
    let text = query.text("timeout");
    if text.is_empty() {
        return Ok(REQUEST_TIMEOUT);
    }
    match duration(text) {
        Some(Duration::ZERO) => Ok(REQUEST_TIMEOUT),
        Some(asked) => Ok(asked.min(REQUEST_TIMEOUT)),
        None => Err(Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: invalid duration {text:?}: write it as 30s or 1m30s"
        ))),
    }
}

/// `1m30s`, `500ms`, `1.5h`, `0`: Go's `time.ParseDuration` without signs.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0_f64);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(end);
        let next = tail.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(next);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    #[test]
    fn durations_are_gos() {
        for (text, milliseconds) in
            [("0", 0), ("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("2us", 0)]
        {
            assert_eq!(duration(text).map(|found| found.as_millis()), Some(milliseconds), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1x", "1s2", "1..2s", "9999999999999999999999h", "∞s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        let limit = |text| time_limit(&Query::parse(text));
        assert_eq!(limit("timeout=5s").unwrap().as_secs(), 5);
        assert_eq!(limit("timeout=5h").unwrap(), REQUEST_TIMEOUT);
        assert_eq!(limit("timeout=soon").unwrap_err().code, 400);
    }

    #[test]
    fn requests_are_told_apart() {
        let class = |method: Method, path: &str, query: &str| {
            let route = Route::parse(path, Registry::built_in()).expect("a path");
            Class::of(&method, &route, &Query::parse(query))
        };
        let pods = "/api/v1/namespaces/a/pods";
        assert_eq!(class(Method::GET, pods, ""), Class::Read);
        assert_eq!(class(Method::GET, pods, "watch=true"), Class::Watch);
        assert_eq!(class(Method::POST, pods, "watch=true"), Class::Write);
        assert_eq!(class(Method::GET, &format!("{pods}/x/log"), "follow=true"), Class::Watch);
        assert_eq!(class(Method::POST, &format!("{pods}/x/exec"), ""), Class::Session);
        assert_eq!(class(Method::GET, "/apis", ""), Class::Read);
    }

    #[test]
    fn a_full_class_is_429_and_the_others_are_served() {
        let bounds = Bounds::new(&Limits { reads: 2, writes: 2, watches: 2, ..Limits::default() });
        let (_first, _second) =
            (bounds.enter(Class::Write, "a").unwrap(), bounds.enter(Class::Write, "b").unwrap());
        let refused = bounds.enter(Class::Write, "c").err().expect("there are two places");
        assert_eq!((refused.code, refused.reason), (429, "TooManyRequests"));
        assert_eq!(refused.details.expect("details").retry_after_seconds, 1);
        bounds.enter(Class::Read, "c").unwrap();
        bounds.enter(Class::Session, "c").unwrap();
    }
}
