//! A server in this process, on a port of its own, with its folder.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use portolan_apiserver::kinds::AllocationConfig;
use portolan_apiserver::pki::{Credentials, Kubeconfig, Pki, ServerName};
use portolan_apiserver::store::StoreConfig;
use portolan_apiserver::{Config, Limits, serve};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub address: SocketAddr,
    pub pki: Pki,
    pub kubeconfig: PathBuf,
    folder: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What a server is told that has its files in `folder`.
pub fn config(folder: &Path, pki: &Pki, address: SocketAddr) -> Config {
    Config {
        store: StoreConfig::new(folder.join("store.redb")),
        credentials: pki.api_server(&[ServerName::Address(address.ip())]).unwrap(),
        authority: pki.authority().to_owned(),
        node_client: pki.client("apiserver-node-client", "kube-apiserver", "system:masters").unwrap(),
        limits: Limits::default(),
        audit: None,
        token_key: pki.token_key().unwrap(),
        allocation: AllocationConfig {
            service_ranges: vec!["10.96.0.0/12".parse().unwrap()],
            reserved: Vec::new(),
            node_ports: 30000..=32767,
        },
    }
}

/// Writes the administrator's kubeconfig.
pub fn write_kubeconfig(path: &Path, pki: &Pki, address: SocketAddr) {
    let admin = pki.client("admin", "kubernetes-admin", "system:masters").unwrap();
    Kubeconfig {
        cluster: "test",
        user: "admin",
        server: &format!("https://{address}"),
        authority: pki.authority(),
        credentials: &admin,
    }
    .write(path)
    .unwrap();
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With other settings; a restart goes back to the usual ones.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        // Others in this process install the same one.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let mut server = Self { address, pki, kubeconfig, folder, running: None };
        write_kubeconfig(&server.kubeconfig, &server.pki, address);
        let mut config = config(server.folder.path(), &server.pki, address);
        change(&mut config);
        server.run(config, listener);
        server
    }

    /// Writes a kubeconfig for a user with a certificate; the option that makes kubectl use it.
    pub fn kubeconfig_of(&self, user: &str, group: &str) -> String {
        let credentials = self.pki.client(user, user, group).unwrap();
        let path = self.folder.path().join(format!("{user}.kubeconfig"));
        let server = format!("https://{}", self.address);
        let authority = self.pki.authority();
        Kubeconfig { cluster: "test", user, server: &server, authority, credentials: &credentials }
            .write(&path)
            .unwrap();
        format!("--kubeconfig={}", path.display())
    }

    /// Writes a kubeconfig for the bearer of a token; the option that makes kubectl use it.
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        use base64::Engine as _;
        let authority = base64::engine::general_purpose::STANDARD.encode(self.pki.authority());
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: t, \
             clusters: [{{name: t, cluster: {{server: \"https://{}\", certificate-authority-data: {authority}}}}}], \
             users: [{{name: t, user: {{token: \"{token}\"}}}}], \
             contexts: [{{name: t, context: {{cluster: t, user: t}}}}]}}",
            self.address
        );
        // The end of the signature: no two tokens have the same.
        let end = &token[token.len() - 12..];
        let path = self.folder.path().join(format!("{end}.kubeconfig"));
        std::fs::write(&path, text).unwrap();
        format!("--kubeconfig={}", path.display())
    }

    /// The administrator's certificate.
    pub fn admin(&self) -> Credentials {
        self.pki.client("admin", "kubernetes-admin", "system:masters").unwrap()
    }

    fn run(&mut self, config: Config, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            serve(config, vec![listener], async move { _ = stopped.await }).await.unwrap();
        });
        self.running = Some((stop, running));
    }

    /// Stops the server and starts it on the same store and port.
    pub async fn restart(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, running).await.expect("stops in time").unwrap();
        let config = config(self.folder.path(), &self.pki, self.address);
        self.run(config, TcpListener::bind(self.address).unwrap());
    }

    pub async fn client(&self) -> kube::Client {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let file = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// Runs kubectl with the words of `line`, and `input` as standard input.
    pub async fn kubectl_with(&self, line: &str, input: &str) -> Output {
        self.run_kubectl(line, input, &[]).await
    }

    /// What kubectl prints with more in its environment; it must succeed.
    pub async fn kubectl_in(&self, line: &str, environment: &[(&str, &str)]) -> String {
        let output = self.run_kubectl(line, "", environment).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn run_kubectl(&self, line: &str, input: &str, environment: &[(&str, &str)]) -> Output {
        use tokio::io::AsyncWriteExt;
        let mut child = tokio::process::Command::new("kubectl")
            .args(line.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            // The cache of discovery is kept by address; ports are used again.
            .env("HOME", self.folder.path())
            .envs(environment.iter().copied())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("kubectl ends in time").unwrap()
    }

    /// What kubectl prints; it must succeed.
    pub async fn kubectl(&self, line: &str) -> String {
        self.kubectl_input(line, "").await
    }

    /// What kubectl prints; it must succeed.
    pub async fn kubectl_input(&self, line: &str, input: &str) -> String {
        let output = self.kubectl_with(line, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What kubectl complains about; it must fail.
    pub async fn kubectl_fails(&self, line: &str, input: &str) -> String {
        let output = self.kubectl_with(line, input).await;
        assert!(!output.status.success(), "kubectl {line} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Repeats a command that must succeed until its output is as wanted.
    pub async fn eventually(&self, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let text = self.kubectl(line).await;
            if wanted(&text) {
                return text;
            }
            assert!(tokio::time::Instant::now() < deadline, "kubectl {line} still says: {text}");
        }
    }
}
