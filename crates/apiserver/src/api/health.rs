//! Whether the server lives and is ready: `/livez`, `/readyz` and the older `/healthz` (`apiserver/pkg/server/healthz`).

use http::{HeaderValue, Method, StatusCode, header};

use super::{Api, Call, Key, no_such_page};
use crate::http::{Answer, json_bytes};
use crate::status::Status;

/// The three questions; each has its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/healthz`.
    Health,
    /// `/livez`.
    Live,
    /// `/readyz`.
    Ready,
}

/// One thing that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// The server answers at all.
    Ping,
    /// The store can be read.
    Store,
    /// The server is not about to end.
    Shutdown,
}

/// A check and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Bad,
    Excluded,
}

impl Probe {
    /// The probe of a path's first segment.
    pub(crate) fn parse(segment: &str) -> Option<Self> {
        [Self::Health, Self::Live, Self::Ready].into_iter().find(|probe| probe.name() == segment)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Health => "healthz",
            Self::Live => "livez",
            Self::Ready => "readyz",
        }
    }

    fn checks(self) -> &'static [Check] {
        match self {
            Self::Health | Self::Live => &[Check::Ping, Check::Store],
            Self::Ready => &[Check::Ping, Check::Store, Check::Shutdown],
        }
    }
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Store => "store",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The paths of all probes and their checks.
pub(super) fn paths() -> impl Iterator<Item = String> {
    [Probe::Health, Probe::Live, Probe::Ready].into_iter().flat_map(|probe| {
        let own = format!("/{}", probe.name());
        let checks = probe.checks().iter().map(move |check| format!("/{}/{}", probe.name(), check.name()));
        [own].into_iter().chain(checks)
    })
}

impl Api {
    /// Answers a probe, or one check of it.
    ///
    /// # Errors
    /// 405 for anything but GET.
    pub(super) fn health(&self, probe: Probe, check: Option<&str>, call: &Call) -> Result<Answer, Status> {
        if call.method != Method::GET {
            return Err(Status::method_not_allowed());
        }
        let excluded: Vec<&str> = call.query.all("exclude").collect();
        let wanted = probe.checks().iter().filter(|one| check.is_none_or(|name| one.name() == name));
        let outcomes: Vec<(&str, Outcome)> = wanted
            .map(|check| {
                let outcome = match check {
                    check if excluded.contains(&check.name()) => Outcome::Excluded,
                    check if self.passes(*check) => Outcome::Good,
                    _ => Outcome::Bad,
                };
                (check.name(), outcome)
            })
            .collect();
        if outcomes.is_empty() {
            return Ok(no_such_page());
        }
        // As with Kubernetes' switch, what it is set to does not matter.
        let (code, text) = told(probe.name(), &outcomes, call.query.all("verbose").next().is_some());
        let mut answer = json_bytes(code, text.into());
        let out = answer.headers_mut();
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(answer)
    }

    fn passes(&self, check: Check) -> bool {
        match check {
            Check::Ping => true,
            Check::Store => self.store.get(&Key::new("namespaces", "", "default")).is_ok(),
            Check::Shutdown => !*self.stop.borrow(),
        }
    }
}

/// `ok` when all is well and nobody asks for more; a line for each check otherwise.
fn told(name: &str, outcomes: &[(&str, Outcome)], verbose: bool) -> (StatusCode, String) {
    let good = outcomes.iter().all(|(_, outcome)| *outcome != Outcome::Bad);
    if good && !verbose {
        return (StatusCode::OK, "ok".to_owned());
    }
    let mut text = String::new();
    for (check, outcome) in outcomes {
        text.push_str(&match outcome {
            Outcome::Good => format!("[+]{check} ok\n"),
            Outcome::Bad => format!("[-]{check} failed: reason withheld\n"),
            Outcome::Excluded => format!("[+]{check} excluded: ok\n"),
        });
    }
    let (code, end) =
        if good { (StatusCode::OK, "passed") } else { (StatusCode::INTERNAL_SERVER_ERROR, "failed") };
    text.push_str(&format!("{name} check {end}\n"));
    (code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_told_as_kubernetes_tells_them() {
        let well = [("ping", Outcome::Good), ("store", Outcome::Excluded)];
        assert_eq!(told("livez", &well, false), (StatusCode::OK, "ok".to_owned()));
        assert_eq!(told("livez", &well, true).1, "[+]ping ok\n[+]store excluded: ok\nlivez check passed\n");
        let ill = [("ping", Outcome::Good), ("shutdown", Outcome::Bad)];
        let (code, text) = told("readyz", &ill, false);
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(text, "[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n");
    }
}
