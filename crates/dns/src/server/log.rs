//! What is written to the log of single queries, on demand only.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Client;
use crate::corefile::{LogClass, QueryLog};
use crate::message::word;
use crate::site::Block;
use crate::{Name, Query, RecordType, ResponseCode};

/// Failures are said at most once in so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be said of a query once it is answered.
#[derive(Debug)]
pub(super) struct Note {
    name: Name,
    kind: RecordType,
    id: u16,
    client: Client,
    /// Classes of answers that are said; none means all. `None`: no query is.
    classes: Option<Vec<LogClass>>,
    errors: bool,
}

impl Note {
    /// `None`: whatever comes of the query, nothing is said.
    pub(super) fn of(block: &Block, query: &Query, client: Client) -> Option<Self> {
        let within =
            |log: &&QueryLog| log.zones.is_empty() || log.zones.iter().any(|zone| query.name.is_within(zone));
        let log = block.log.as_ref().filter(within);
        (log.is_some() || block.errors).then(|| Self {
            name: query.name.clone(),
            kind: query.kind,
            id: query.id,
            client,
            classes: log.map(|log| log.classes.clone()),
            errors: block.errors,
        })
    }

    pub(super) fn say(&self, reply: &[u8], took: Duration, failures: &Failures) {
        let code = ResponseCode(reply.get(3).map_or(0, |byte| u16::from(byte & 15)));
        let records = if reply.len() >= 12 { word(reply, 6) } else { 0 };
        let (name, kind) = (&self.name, self.kind);
        if self.errors && code == ResponseCode::SERV_FAIL {
            failures.say(name, kind);
        }
        let class = match code {
            ResponseCode::NO_ERROR if records > 0 => LogClass::Success,
            ResponseCode::NO_ERROR | ResponseCode::NX_DOMAIN => LogClass::Denial,
            _ => LogClass::Error,
        };
        let said =
            self.classes.as_ref().is_some_and(|classes| classes.is_empty() || classes.contains(&class));
        if said {
            tracing::info!(
                client = %self.client.address,
                id = self.id,
                kind = %kind,
                name = %name,
                protocol = if self.client.datagram { "udp" } else { "tcp" },
                code = code.as_str(),
                records,
                bytes = reply.len(),
                microseconds = took.as_micros(),
                "query"
            );
        }
    }
}

/// Failures, said now and then with their number.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<(Option<Instant>, u64)>);

impl Failures {
    fn say(&self, name: &Name, kind: RecordType) {
        // Two values are whole at every moment.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            *unsaid += 1;
            return;
        }
        tracing::error!(%name, %kind, more = *unsaid, "a name could not be resolved: SERVFAIL");
        *state = (Some(Instant::now()), 0);
    }
}
