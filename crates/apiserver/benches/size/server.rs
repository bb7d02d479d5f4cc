//! The server in a process of its own, so that its memory is its own and it can be killed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use load::Client;
use portolan_apiserver::kinds::AllocationConfig;
use portolan_apiserver::pki::{Kubeconfig, Pki, ServerName};
use portolan_apiserver::store::StoreConfig;
use portolan_apiserver::{Config, Limits, serve};
use tempfile::TempDir;

/// Set in the environment of the server's process: where its files are.
pub const FOLDER: &str = "PORTOLAN_BENCH_SERVER";
const PORT: &str = "PORTOLAN_BENCH_PORT";

/// The process; killed when dropped.
pub struct ServerProcess {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl ServerProcess {
    /// Starts it with an empty store, below the build's own folder: a RAM disk would make every fsync free.
    pub async fn start() -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        let admin = pki.client("admin", "kubernetes-admin", "system:masters").unwrap();
        Kubeconfig {
            cluster: "bench",
            user: "admin",
            server: &format!("https://127.0.0.1:{port}"),
            authority: pki.authority(),
            credentials: &admin,
        }
        .write(&folder.path().join("kubeconfig"))
        .unwrap();
        let child = spawn(&folder, port);
        let server = Self { folder, port, child };
        server.wait_until_ready().await;
        server
    }

    /// Kills it and starts it on the same store.
    pub async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder, self.port);
    }

    /// Waits until it answers.
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        let client = self.client().await;
        while client.get("/readyz").await.is_err() {
            assert!(Instant::now() < deadline, "the server starts");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A client with connections of its own.
    pub async fn client(&self) -> Client {
        Client::from_kubeconfig(&self.folder.path().join("kubeconfig")).await.unwrap()
    }

    /// Megabytes that it has in memory.
    pub fn resident(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// The most that it ever had.
    pub fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Megabytes of its file.
    pub fn store_size(&self) -> f64 {
        std::fs::metadata(self.folder.path().join("store.redb")).unwrap().len() as f64 / 1e6
    }

    fn status(&self, field: &str) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes / 1024.0
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn spawn(folder: &TempDir, port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .env(PORT, port.to_string())
        .spawn()
        .unwrap()
}

/// What the server's process does.
pub fn run(folder: PathBuf) {
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    let pki = Pki::open(folder.join("pki")).unwrap();
    let config = Config {
        store: StoreConfig::new(folder.join("store.redb")),
        credentials: pki.api_server(&[ServerName::Address(Ipv4Addr::LOCALHOST.into())]).unwrap(),
        authority: pki.authority().to_owned(),
        node_client: pki.client("node-client", "kube-apiserver", "system:masters").unwrap(),
        limits: Limits::default(),
        audit: None,
        token_key: pki.token_key().unwrap(),
        allocation: AllocationConfig {
            service_ranges: vec!["10.96.0.0/12".parse().unwrap()],
            reserved: Vec::new(),
            node_ports: 30000..=32767,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(serve(config, vec![listener], std::future::pending())).unwrap();
    eprintln!("the server ended");
}
