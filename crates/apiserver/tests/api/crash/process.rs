//! The server in a process that can be killed.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::Client;
use portolan_apiserver::pki::Pki;
use portolan_apiserver::serve;
use rand::Rng;
use tempfile::TempDir;

use crate::fixture::{PATIENCE, config, write_kubeconfig};

/// Where the server's files are.
const FOLDER: &str = "PORTOLAN_TEST_SERVER";
const PORT: &str = "PORTOLAN_TEST_PORT";

pub struct ServerProcess {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by acknowledged_writes_survive_fifty_kills, which kills it"]
async fn serves_until_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let (folder, address) = (Path::new(&folder), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let pki = Pki::open(folder.join("pki")).unwrap();
    let listener = TcpListener::bind(address).unwrap();
    serve(config(folder, &pki, address), vec![listener], std::future::pending()).await.unwrap();
}

impl ServerProcess {
    pub async fn start() -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        // Ports below 32768 are not given to outgoing connections, so that it stays free between two starts.
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let mut ports = std::iter::repeat_with(|| rand::rng().random_range(20_000..30_000));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.find(free).unwrap()));
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        write_kubeconfig(&folder.path().join("kubeconfig"), &pki, address);
        let mut server = Self { folder, address, child: None };
        server.start_again();
        server.wait_until_ready().await;
        server
    }

    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::process::serves_until_killed", "--ignored", "--nocapture"])
            .env(FOLDER, self.folder.path())
            .env(PORT, self.address.port().to_string())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn wait_until_ready(&mut self) {
        let (deadline, client) = (Instant::now() + PATIENCE, self.client().await);
        while client.get("/readyz").await.is_err() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(ended.is_none(), "the server ended:\n{}", log());
            assert!(Instant::now() < deadline, "the server does not start:\n{}", log());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    pub async fn client(&self) -> Client {
        Client::from_kubeconfig(&self.folder.path().join("kubeconfig")).await.unwrap()
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
