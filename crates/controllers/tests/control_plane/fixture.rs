//! An API server and the controllers in this process, and nodes with a kubelet that only says what it should.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use apiserver::kinds::AllocationConfig;
use apiserver::pki::{Kubeconfig, Pki, ServerName};
use apiserver::store::StoreConfig;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::kubelet;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(run(stopped)) }
    }

    async fn end(self) {
        // It may have ended already; that shows when it is joined.
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task).await.expect("stops in time").unwrap();
    }
}

pub struct Cluster {
    address: SocketAddr,
    pki: Pki,
    folder: TempDir,
    server: Option<Running>,
    controllers: Option<Running>,
    kubelets: Vec<(String, JoinHandle<()>)>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kubelets.iter().for_each(|(_, kubelet)| kubelet.abort());
    }
}

impl Cluster {
    /// A cluster with nodes node1 … nodeN, all ready.
    pub async fn start(nodes: usize) -> Self {
        // Others in this process install the same one.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let pki = Pki::open(folder.path().join("pki")).unwrap();
        let mut cluster =
            Self { address, pki, folder, server: None, controllers: None, kubelets: Vec::new() };
        for (file, user, group) in [
            ("admin", "kubernetes-admin", "system:masters"),
            ("controllers", "system:portolan-controllers", "system:controllers"),
        ] {
            let credentials = cluster.pki.client(file, user, group).unwrap();
            let kubeconfig = Kubeconfig {
                cluster: "test",
                user,
                server: &format!("https://{address}"),
                authority: cluster.pki.authority(),
                credentials: &credentials,
            };
            kubeconfig.write(&cluster.kubeconfig(file)).unwrap();
        }
        cluster.serve(listener);
        cluster.start_controllers().await;
        for number in 1..=nodes {
            cluster.add_node(&format!("node{number}")).await;
        }
        cluster
    }

    fn kubeconfig(&self, file: &str) -> PathBuf {
        self.folder.path().join(format!("{file}.kubeconfig"))
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = apiserver::Config {
            store: StoreConfig::new(self.folder.path().join("store.redb")),
            credentials: self.pki.api_server(&[ServerName::Address(self.address.ip())]).unwrap(),
            authority: self.pki.authority().to_owned(),
            node_client: self.pki.client("node-client", "kube-apiserver", "system:masters").unwrap(),
            limits: apiserver::Limits::default(),
            audit: None,
            token_key: self.pki.token_key().unwrap(),
            allocation: AllocationConfig {
                service_ranges: vec!["10.96.0.0/12".parse().unwrap()],
                reserved: Vec::new(),
                node_ports: 30000..=32767,
            },
        };
        self.server = Some(Running::start(|stopped| async move {
            let stopped = async move { _ = stopped.await };
            apiserver::serve(config, vec![listener], stopped).await.unwrap();
        }));
    }

    /// Stops the API server and starts it on the same store and port.
    pub async fn restart_server(&mut self) {
        self.server.take().unwrap().end().await;
        let listener = TcpListener::bind(self.address).unwrap();
        self.serve(listener);
    }

    pub async fn start_controllers(&mut self) {
        let client = self.client("controllers").await;
        let config = portolan_controllers::Config {
            pod_cidr: "10.244.0.0/16".parse().unwrap(),
            node_prefix_length: 24,
            service_cidr: "10.96.0.0/12".parse().unwrap(),
            advertise: "10.100.0.254:6443".parse().unwrap(),
            cluster_dns: None,
            root_ca: Some(self.pki.authority().to_owned()),
            // The kubelets here say once that they are ready, and nothing more.
            nodes: portolan_controllers::NodeTimes {
                grace: Duration::from_secs(3600),
                ..portolan_controllers::NodeTimes::default()
            },
        };
        self.controllers = Some(Running::start(|stopped| async move {
            let stopped = async move { _ = stopped.await };
            portolan_controllers::run(client, config, stopped).await.unwrap();
        }));
    }

    /// Ends the controllers where they are, without a chance to finish what they do.
    pub async fn kill_controllers(&mut self) {
        let controllers = self.controllers.take().unwrap();
        controllers.task.abort();
        assert!(controllers.task.await.unwrap_err().is_cancelled());
    }

    pub async fn add_node(&mut self, name: &str) {
        let client = self.client("admin").await;
        kubelet::register(&client, name).await;
        self.kubelets.push((name.to_owned(), tokio::spawn(kubelet::run(client, name.to_owned()))));
    }

    /// Takes a node away without a word, as a machine that burns.
    pub async fn remove_node(&mut self, name: &str) {
        self.kubelets.retain(|(node, kubelet)| {
            if node == name {
                kubelet.abort();
            }
            node != name
        });
        self.kubectl(&format!("delete node {name}")).await;
    }

    pub async fn client(&self, file: &str) -> kube::Client {
        let text = std::fs::read_to_string(self.kubeconfig(file)).unwrap();
        let file = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// What kubectl prints; it must succeed.
    pub async fn kubectl(&self, line: &str) -> String {
        self.kubectl_input(line, "").await
    }

    /// What kubectl prints; it must succeed.
    pub async fn kubectl_input(&self, line: &str, input: &str) -> String {
        let output = self.run_kubectl(line, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn run_kubectl(&self, line: &str, input: &str) -> Output {
        let mut child = tokio::process::Command::new("kubectl")
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.kubeconfig("admin"))
            // The cache of discovery is kept by address; ports are used again.
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("kubectl ends in time").unwrap()
    }

    /// The pods with that label that have not finished and were not asked to go.
    pub async fn active_pods(&self, label: &str) -> Vec<Pod> {
        let api: Api<Pod> = Api::default_namespaced(self.client("admin").await);
        let pods = api.list(&ListParams::default().labels(label)).await.unwrap();
        pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// The ready addresses in the slices of a Service, sorted.
    pub async fn ready_addresses(&self, service: &str) -> Vec<String> {
        let mut ready: Vec<String> = Vec::new();
        for slice in self.slices(service).await {
            let endpoints = slice.endpoints.into_iter();
            ready.extend(
                endpoints
                    .filter(|endpoint| {
                        endpoint.conditions.as_ref().and_then(|found| found.ready) == Some(true)
                    })
                    .flat_map(|endpoint| endpoint.addresses),
            );
        }
        ready.sort();
        ready
    }

    pub async fn slices(&self, service: &str) -> Vec<EndpointSlice> {
        let api: Api<EndpointSlice> = Api::default_namespaced(self.client("admin").await);
        let label = format!("kubernetes.io/service-name={service}");
        api.list(&ListParams::default().labels(&label)).await.unwrap().items
    }
}

/// Looks until `look` finds something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The Deployment `httpd` of the walkthrough in today's form.
pub fn httpd(replicas: usize) -> String {
    format!(
        r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "httpd"}},
            "spec": {{"replicas": {replicas}, "selector": {{"matchLabels": {{"run": "httpd"}}}},
                "template": {{"metadata": {{"labels": {{"run": "httpd"}}}},
                    "spec": {{"containers": [{{"name": "httpd", "image": "httpd", "ports": [{{"containerPort": 80}}]}}]}}}}}}}}"#
    )
}

/// The Service `httpd-svc` of the walkthrough.
pub const HTTPD_SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "httpd-svc"},
    "spec": {"selector": {"run": "httpd"}, "clusterIP": "10.96.203.6",
        "ports": [{"protocol": "TCP", "port": 8080, "targetPort": 80}]}}"#;
