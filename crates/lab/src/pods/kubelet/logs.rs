//! Reading container logs: the CRI's line format, from a given point, with or without waiting for more.

mod follow;
mod format;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use self::follow::Changes;
use self::format::Formatter;
use crate::pods::adopt::container_id;
use crate::pods::catalog::Catalog;
use crate::pods::facts::Run;
use crate::pods::plan;
use crate::pods::record::{PodDirectory, Record, Records};
use crate::pods::spec::PodSpec;
use crate::pods::status;

/// How much is read at once.
const CHUNK: usize = 32 * 1024;
/// Chunks that wait for a slow reader.
const AHEAD: usize = 4;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such pod here.
    #[error("pod \"{namespace}/{pod}\" not found")]
    NoPod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pod has no such container.
    #[error("container \"{container}\" not found in pod \"{pod}\"")]
    NoContainer {
        /// The pod.
        pod: String,
        /// The name asked for.
        container: String,
    },
    /// It has not run yet.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    NotStarted {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
        /// Why it waits.
        reason: &'static str,
    },
    /// It has not run twice.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// A parameter that cannot be read.
    #[error("invalid value {value:?} of {name}")]
    Parameter {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The file cannot be read.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
}

impl LogError {
    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoPod { .. } | Self::NoContainer { .. })
    }
}

/// What of a log is wanted, as `PodLogOptions` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Of the run before.
    pub previous: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Begin so many lines before the end.
    pub tail_lines: Option<u64>,
    /// Leave out older lines.
    pub since_time: Option<Timestamp>,
    /// Leave out lines older than so many seconds.
    pub since_seconds: Option<i64>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

impl LogQuery {
    /// Reads the query of the URL; names that are not known are passed over.
    ///
    /// # Errors
    /// When a value cannot be read.
    pub fn parse(query: &str) -> Result<Self, LogError> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            let bad = || LogError::Parameter { name: name.to_owned(), value: value.clone() };
            // As Kubernetes reads flags in a query: only these two are no (`Convert_Slice_string_To_bool`).
            let flag = value != "0" && !value.eq_ignore_ascii_case("false");
            match name {
                "follow" => parsed.follow = flag,
                "previous" => parsed.previous = flag,
                "timestamps" => parsed.timestamps = flag,
                "tailLines" => parsed.tail_lines = Some(value.parse().map_err(|_| bad())?),
                "limitBytes" => parsed.limit_bytes = Some(value.parse().map_err(|_| bad())?),
                "sinceSeconds" => parsed.since_seconds = Some(value.parse().map_err(|_| bad())?),
                "sinceTime" => parsed.since_time = Some(value.parse().map_err(|_| bad())?),
                _ => {}
            }
        }
        Ok(parsed)
    }

    fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.since_time.or_else(|| {
            let ago = SignedDuration::from_secs(self.since_seconds?);
            Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN))
        })
    }
}

/// Undoes percent encoding; what is none stays.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = (first == b'%').then(|| tail.get(..2)).flatten();
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A log that can be read.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: std::path::PathBuf,
    directory: PodDirectory,
    container: String,
    id: String,
}

impl Source {
    /// Whether the run that writes the log goes on.
    fn is_running(&self) -> bool {
        let Ok(Some(record)) = self.directory.load() else { return false };
        let run = record.facts.containers.get(&self.container).map(|known| &known.run);
        matches!(run, Some(Run::Running { id, .. }) if *id == self.id)
    }
}

/// Finds the log of a pod's container.
///
/// # Errors
/// When there is none, and why.
pub fn open(
    catalog: &Catalog,
    records: &Records,
    (namespace, pod, container): (&str, &str, &str),
    query: &LogQuery,
) -> Result<Source, LogError> {
    let no_pod = || LogError::NoPod { namespace: namespace.to_owned(), pod: pod.to_owned() };
    let uid = catalog.find(namespace, pod).ok_or_else(no_pod)?;
    let directory = records.pod(&uid);
    let record = directory.load()?.ok_or_else(no_pod)?;
    let explain = |missing: Missing| missing.explain((pod, container), &record);
    let (id, attempt) = wanted_run(&record, &uid, container, query.previous).map_err(explain)?;
    let path = directory.log(container, attempt);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(explain(if query.previous { Missing::Previous } else { Missing::Run }));
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Source { file, path, directory, container: container.to_owned(), id })
}

/// What there is none of.
enum Missing {
    Container,
    Run,
    Previous,
}

impl Missing {
    fn explain(self, (pod, name): (&str, &str), record: &Record) -> LogError {
        let (pod, container) = (pod.to_owned(), name.to_owned());
        match self {
            Self::Container => LogError::NoContainer { pod, container },
            Self::Run => LogError::NotStarted { pod, container, reason: waits_for(name, record) },
            Self::Previous => LogError::NoPrevious { pod, container },
        }
    }
}

/// Why a container has not run yet, in the words of the kubelet's `validateContainerLogStatus`.
fn waits_for(container: &str, record: &Record) -> &'static str {
    let Ok(spec) = PodSpec::parse(&record.pod) else { return "ContainerCreating" };
    let Some(wanted) = spec.container(container) else { return "ContainerCreating" };
    let known = record.facts.containers.get(container).cloned().unwrap_or_default();
    match status::not_started(wanted, &known, &spec, Timestamp::now()).0 {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    }
}

/// The runtime's id and the number of the run whose log is wanted.
fn wanted_run(record: &Record, uid: &str, container: &str, previous: bool) -> Result<(String, u32), Missing> {
    let spec = PodSpec::parse(&record.pod).map_err(|_| Missing::Container)?;
    if spec.container(container).is_none() {
        return Err(Missing::Container);
    }
    let known = record.facts.containers.get(container).ok_or(Missing::Run)?;
    let id = match (&known.run, previous) {
        (Run::Running { id, .. }, false) => Some(id),
        (Run::Exited(exit), false) => Some(&exit.id),
        // One that waits for its next start shows its last exit as the one before.
        (Run::Exited(exit), true) if plan::wants_start(spec.restart, &known.run) => Some(&exit.id),
        (Run::Never, false) | (_, true) => known.last.as_ref().map(|last| &last.id),
    };
    let missing = if previous { Missing::Previous } else { Missing::Run };
    // Runs and starts that failed are numbered together; a log is looked for among the latest.
    let numbered = id.and_then(|id| {
        let mut latest = (1..=known.attempts).rev().take(1000);
        latest
            .find(|attempt| container_id(uid, container, *attempt) == *id)
            .map(|attempt| (id.clone(), attempt))
    });
    numbered.ok_or(missing)
}

/// The wanted part of the log. Ends with the log, or with the container when it is followed.
pub fn stream(
    source: Source,
    query: LogQuery,
    now: Timestamp,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (parts, output) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        if let Err(error) = copy(source, &query, now, &parts).await {
            let _ = parts.send(Err(error)).await;
        }
    });
    futures::stream::unfold(
        output,
        |mut output| async move { output.recv().await.map(|part| (part, output)) },
    )
}

async fn copy(
    mut source: Source,
    query: &LogQuery,
    now: Timestamp,
    output: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    if let Some(lines) = query.tail_lines {
        let start = tail_offset(&mut source.file, lines)?;
        source.file.seek(SeekFrom::Start(start))?;
    }
    // Watched before the first read: nothing that is written in between is missed.
    let mut changes =
        if query.follow { Some(Changes::of(&source.path, source.directory.path())?) } else { None };
    let mut formatter = Formatter::new(query.since(now), query.timestamps);
    let mut left = query.limit_bytes;
    let mut buffer = vec![0; CHUNK];
    loop {
        // Asked before reading: what a container wrote before it ended is then read to its end.
        let last_round = changes.is_none() || !source.is_running();
        loop {
            let count = source.file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let mut part = formatter.push(&buffer[..count]);
            if let Some(left) = &mut left {
                part.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= part.len() as u64;
            }
            if !part.is_empty() && output.send(Ok(part.into())).await.is_err() {
                return Ok(());
            }
            if left == Some(0) {
                return Ok(());
            }
        }
        match &mut changes {
            Some(changes) if !last_round => tokio::select! {
                changed = changes.next() => changed?,
                () = output.closed() => return Ok(()),
            },
            _ => return Ok(()),
        }
    }
}

/// Where the last `lines` lines of a file begin.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut newlines = 0;
    let mut buffer = vec![0; CHUNK];
    let mut at_end = true;
    while end > 0 {
        let size = CHUNK.min(usize::try_from(end).unwrap_or(CHUNK));
        let start = end - size as u64;
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut buffer[..size])?;
        for index in (0..size).rev() {
            let last_byte = std::mem::replace(&mut at_end, false);
            if buffer[index] == b'\n' && !last_byte {
                newlines += 1;
            }
            if newlines == lines && (buffer[index] == b'\n' || lines == 0) {
                return Ok(start + index as u64 + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
