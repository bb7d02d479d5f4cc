//! `portolan proxy` on a node.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kernel::netns::Netns;
use kernel::process::{ProcessId, Signal};

use super::{Cluster, TooSlow, Variant};

/// What the log says once the first sync is done.
const SERVED: &str = "services are served";
/// How long that may take.
const START: Duration = Duration::from_secs(60);
/// Where its figures are.
const METRICS: &str = "127.0.0.1:10249";

/// A proxy process; killed when dropped. Its rules stay.
pub struct Proxy {
    /// When it was started.
    pub started: Instant,
    variant: Variant,
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
        let mut command = Command::new(cluster.binary());
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
        Ok(Self { started, variant, child, node, log })
    }

    /// Waits until it has written everything, and returns when that was.
    ///
    /// # Errors
    /// [`TooSlow`], or that it has ended.
    pub fn wait_until_served(&self) -> Result<Instant> {
        let end = Instant::now() + START;
        let mut state = self.log.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((at, _)) = state.lines.iter().find(|(_, line)| line.contains(SERVED)) {
                return Ok(*at);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!("a start in mode {}", self.variant);
                return Err(TooSlow { what, waited: START }.into());
            }
            if state.ended {
                drop(state);
                bail!("the proxy has ended; its log:\n{}", self.log_text());
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
        metric(&self.page()?, name)
    }

    fn page(&self) -> Result<String> {
        self.node.run(|| page("/metrics"))?
    }

    /// How many changes of endpoints and Services it has heard of, and how many of them are not written yet.
    pub fn heard(&self) -> Result<(f64, f64)> {
        let page = self.page()?;
        let both = |which: &str| -> Result<f64> {
            let of = |kind| metric(&page, &format!("kubeproxy_sync_proxy_rules_{kind}_changes_{which}"));
            Ok(of("endpoint")? + of("service")?)
        };
        Ok((both("total")?, both("pending")?))
    }

    /// Waits until it has heard of so many changes and written them all.
    pub fn wait_until_written(&self, changes: f64, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            let (total, pending) = self.heard()?;
            if total >= changes && pending == 0.0 {
                return Ok(());
            }
            if Instant::now() > end {
                let what = format!("writing {changes} changes ({total} were heard of, {pending} wait)");
                return Err(TooSlow { what, waited: deadline }.into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it as it stands.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// Kills it, and the programs that it runs.
    fn end(&mut self) -> Result<()> {
        let children = children(self.child.id());
        self.child.kill()?;
        self.child.wait()?;
        for child in children {
            // It may just have ended.
            let _ = child.signal(Signal::Kill);
        }
        Ok(())
    }

    /// Takes everything away that a proxy wrote on a node.
    pub fn cleanup(cluster: &Cluster, node: usize, variant: Variant) -> Result<()> {
        let mut command = Command::new(cluster.binary());
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
        let _ = self.end();
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

/// The programs that a process runs. Each was started by one of its threads.
fn children(pid: u32) -> Vec<ProcessId> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers: Vec<u32> = lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    numbers.into_iter().filter_map(|number| ProcessId::of(number).ok()).collect()
}

fn metric(page: &str, name: &str) -> Result<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.with_context(|| format!("there is no metric {name}"))?.parse().context("a number")
}

/// A page of the proxy in the caller's namespace.
fn page(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(METRICS).context("its metrics")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {METRICS}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
