//! `portolan proxy` on a node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kernel::netns::Netns;

use super::{Cluster, PORTOLAN, Variant};

/// What the log says once the first sync is done.
pub const SERVED: &str = "services are served";
/// How long that may take.
pub const START: Duration = Duration::from_secs(600);
/// Where its figures are.
const METRICS: &str = "127.0.0.1:10249";

/// A proxy process; killed when dropped. Its rules stay.
pub struct Proxy {
    /// When it was started.
    pub started: Instant,
    child: Child,
    node: Netns,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<(Instant, String)>,
    ended: bool,
}

impl Proxy {
    /// Starts one on a node, by its number from 1. All are told that they are node1, so that they write the same.
    pub fn start(cluster: &Cluster, node: usize, variant: Variant) -> Result<Self> {
        let mut command = Command::new(PORTOLAN);
        command.args(["proxy", "--hostname-override=node1"]);
        command.arg(format!("--cluster-cidr={}", load::POD_RANGE));
        command.arg(format!("--proxy-mode={}", variant.mode()));
        command.arg(format!("--kubeconfig={}", cluster.node_kubeconfig(node).display()));
        if let Some(programs) = variant.programs(cluster.directory.path())? {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let node = cluster.node(node)?;
        let started = Instant::now();
        let mut child = node.run(|| command.spawn())?.context("start the proxy")?;
        let log = Arc::new(Log::default());
        let output = BufReader::new(child.stderr.take().context("its log is a pipe")?);
        let writer = log.clone();
        std::thread::spawn(move || {
            // A log that is no text has ended as far as we can tell.
            for line in output.lines().map_while(Result::ok) {
                writer.push(line);
            }
            writer.end();
        });
        Ok(Self { started, child, node, log })
    }

    /// Waits until its log says something, and returns when it did.
    pub fn wait_for(&self, words: &str, deadline: Duration) -> Result<Instant> {
        let end = Instant::now() + deadline;
        let mut state = self.log.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((at, _)) = state.lines.iter().find(|(_, line)| line.contains(words)) {
                return Ok(*at);
            }
            let left = end.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                drop(state);
                bail!("the proxy never said '{words}'; its log:\n{}", self.log_text());
            }
            state = self.log.grown.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that it said.
    pub fn log_text(&self) -> String {
        let state = self.log.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.iter().fold(String::new(), |text, (_, line)| text + line + "\n")
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One of its metrics.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = self.node.run(|| page("/metrics"))??;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("there is no metric {name}"))?.parse().context("a number")
    }

    /// Kills it as it stands.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Takes everything away that a proxy wrote on a node.
    pub fn cleanup(cluster: &Cluster, node: usize, variant: Variant) -> Result<()> {
        let mut command = Command::new(PORTOLAN);
        command.args(["cleanup", "-o", "json"]);
        if let Some(programs) = variant.programs(cluster.directory.path())? {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        let output = cluster.node(node)?.run(|| command.output())??;
        ensure!(output.status.success(), "cleanup: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // After `kill` there is nothing left to be ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- proxy\n{}", self.log_text());
        }
    }
}

impl Log {
    fn push(&self, line: String) {
        let at = Instant::now();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).lines.push((at, line));
        self.grown.notify_all();
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.grown.notify_all();
    }
}

/// A page of the proxy in the caller's namespace.
fn page(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(METRICS).context("its metrics")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
