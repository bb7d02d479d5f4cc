//! A cluster to measure a proxy in: an API server with a fleet of Services, and nodes, each in a namespace of its own.
//!
//! ```text
//!  load ──127.0.0.1──► portolan control-plane (the API server alone)
//!                            │ watches, over veth
//!                      portolan proxy in node1, node2 … ──► kernel ──► ruleset, witness
//! ```

mod churn;
mod dice;
mod opened;
mod proxy;
mod ruleset;
mod scene;
mod usage;
mod variant;
mod witness;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kernel::netns::{self, Netns};
use lab::cluster::{LabPaths, LabRequest, LabSpec, StateRoot};
use lab::topology;
use load::{Client, Fleet};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use churn::Churn;
pub use dice::Dice;
pub use opened::Opened;
pub use proxy::Proxy;
pub use ruleset::{Everything, Ruleset};
pub use scene::{Scene, TooSlow};
pub use usage::Usage;
pub use variant::Variant;
pub use witness::Witness;

/// The binary that is measured.
const PORTOLAN: &str = env!("CARGO_BIN_EXE_portolan");
/// Its copy in a cluster's directory.
const BINARY: &str = "portolan";
/// One of so many Services has a node port at least.
const FEWEST: u32 = 20;
/// What the proxy calls its table in nftables mode.
pub const TABLE: &str = "portolan-services";
/// And in userspace mode.
pub const USERSPACE: &str = "portolan-userspace";

/// An API server with a fleet, and nodes without a proxy.
pub struct Cluster {
    /// What is in it.
    pub fleet: Fleet,
    /// A client that may do everything.
    pub client: Client,
    /// Where the client's connections live.
    pub runtime: Runtime,
    directory: TempDir,
    spec: LabSpec,
    paths: LabPaths,
    control_plane: Option<Child>,
}

impl Cluster {
    /// Starts one with so many nodes and loads it. Tells of it on standard error.
    pub fn start(fleet: Fleet, nodes: usize) -> Result<Self> {
        ensure!(
            fleet.services >= FEWEST,
            "at least {FEWEST} Services are needed, for one to have a node port"
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // An error says that a provider is installed already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut request = LabRequest::named(format!("rig-{}-{number}", std::process::id()).parse()?);
        request.nodes = Some(nodes);
        // Below the build's own folder: a RAM disk would make every fsync of the API server free.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let paths = StateRoot::new(directory.path()).lab(&request.name);
        let spec = LabSpec::plan(&request, free_port()?)?;
        std::fs::create_dir_all(paths.root())?;
        spec.save(&paths.spec())?;
        // A build meanwhile is not to change what is measured.
        std::fs::copy(PORTOLAN, directory.path().join(BINARY))?;
        lab::cluster::ensure_credentials(&spec, &paths)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(Client::from_kubeconfig(&paths.kubeconfig()))?;
        // From here on dropping it takes everything away again.
        let mut cluster = Self { fleet, client, runtime, directory, spec, paths, control_plane: None };
        topology::ensure(&cluster.spec.network())?;
        cluster.start_control_plane()?;
        cluster.load()?;
        Ok(cluster)
    }

    /// Starts the API server and waits until it answers.
    pub fn start_control_plane(&mut self) -> Result<()> {
        let log = std::fs::File::options().append(true).create(true).open(self.log())?;
        let mut command = Command::new(self.binary());
        command.arg("--state-dir").arg(self.directory.path());
        command.args(["control-plane", "--without-controllers", "--lab", self.spec.name.as_str()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = self.control_plane.insert(command.spawn().context("start the control plane")?);
        let mut said = String::new();
        let output = child.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).read_line(&mut said)?;
        ensure!(
            said == "ready\n",
            "the control plane did not start: {}",
            std::fs::read_to_string(self.log())?
        );
        Ok(())
    }

    /// Kills the API server, without a word.
    pub fn kill_control_plane(&mut self) -> Result<()> {
        if let Some(mut child) = self.control_plane.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn load(&self) -> Result<()> {
        let Fleet { services, endpoints } = self.fleet;
        let begin = Instant::now();
        for number in 1..=self.spec.nodes.len() {
            self.make_node(number)?;
        }
        self.runtime.block_on(self.fleet.create(&self.client, |done| {
            eprintln!(
                "  {done} of {services} Services x {endpoints}, {:.1} s",
                begin.elapsed().as_secs_f64()
            );
        }))?;
        Ok(())
    }

    /// The object that the proxy of a node waits for.
    fn make_node(&self, number: usize) -> Result<()> {
        let node = &self.spec.nodes[number - 1];
        let address = json!({"type": "InternalIP", "address": node.address});
        let object = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name},
            "status": {"addresses": [address]},
        });
        let made = self.runtime.block_on(self.client.post("/api/v1/nodes", object.to_string()))?;
        ensure!(made.code.is_success(), "a node: {made:?}");
        Ok(())
    }

    /// A node's namespace, by its number from 1.
    pub fn node(&self, number: usize) -> Result<Netns> {
        Ok(netns::open(&topology::names::node(self.spec.name.as_str(), number))?)
    }

    /// How the processes of a node reach the API.
    pub fn node_kubeconfig(&self, number: usize) -> PathBuf {
        self.paths.node(&topology::names::node_name(number)).kubeconfig()
    }

    /// What the API server takes.
    pub fn control_plane_usage(&self) -> Result<Usage> {
        Usage::of(self.control_plane.as_ref().context("there is no control plane")?.id())
    }

    /// The program to run.
    fn binary(&self) -> PathBuf {
        self.directory.path().join(BINARY)
    }

    fn log(&self) -> PathBuf {
        self.paths.root().join("control-plane.log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- control plane\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
        // Whatever fails, the rest is to go.
        let _ = self.kill_control_plane();
        if let Err(error) = topology::remove(self.spec.name.as_str()) {
            eprintln!("{error}");
        }
    }
}

/// Runs a program in a namespace, and returns what it printed.
pub fn run(node: &Netns, program: &str, arguments: &[&str]) -> Result<String> {
    let output = node.run(|| Command::new(program).args(arguments).output())??;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// A port that nobody listens on just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
