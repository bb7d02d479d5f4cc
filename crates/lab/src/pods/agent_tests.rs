//! The agent against the real API server, in a world of fakes. No rights are needed.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use apiserver::kinds::AllocationConfig;
use apiserver::pki::{Kubeconfig, Pki, ServerName};
use apiserver::store::StoreConfig;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::pods::api::KubePods;
use crate::pods::events::Recorder;
use crate::pods::node::{self, NodeConfig, NodeLink};
use crate::pods::worker::fakes::World;

const NODE: &str = "node1";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 100, 0, 2);

/// An API server with a client of it; both end with the test.
struct Server {
    directory: tempfile::TempDir,
    client: Client,
}

impl Server {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::open(directory.path().join("pki")).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let admin = pki.client("admin", "kubernetes-admin", "system:masters").unwrap();
        let localhost = ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let config = apiserver::Config {
            store: StoreConfig::new(directory.path().join("store.redb")),
            credentials: pki.api_server(&[localhost]).unwrap(),
            authority: pki.authority().to_owned(),
            node_client: admin.clone(),
            limits: apiserver::Limits::default(),
            audit: None,
            token_key: pki.token_key().unwrap(),
            allocation: AllocationConfig {
                service_ranges: vec!["10.96.0.0/12".parse().unwrap()],
                reserved: Vec::new(),
                node_ports: 30000..=32767,
            },
        };
        tokio::spawn(apiserver::serve(config, vec![listener], std::future::pending()));
        let path = directory.path().join("kubeconfig");
        let authority = pki.authority();
        let file =
            Kubeconfig { cluster: "test", user: "admin", server: &server, authority, credentials: &admin };
        file.write(&path).unwrap();
        let client = crate::cluster::client(&path, "portolan-agent").await.unwrap();
        Self { directory, client }
    }

    async fn agent(&self, world: &World) -> Agent {
        let recorder = Recorder::start(self.client.clone(), NODE.to_owned());
        let api = Arc::new(KubePods::new(self.client.clone(), recorder));
        let settings = Settings {
            host: HOST,
            dns_server: "10.96.0.10".parse().unwrap(),
            dns_domain: "cluster.local".into(),
            withdrawal_delay: Duration::from_millis(50),
            capacity: crate::pods::quantity::Amounts::default(),
            services: crate::pods::services::Services::of(&[]),
        };
        let records = Records::open(self.directory.path()).unwrap();
        let written = records.load().unwrap();
        let mut agent = Agent::new(Ports { api, ..world.ports() }, settings, records, Catalog::default());
        agent.resume(written).await;
        agent
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), work).await {
        Ok(result) => result,
        Err(_) => panic!("not reached: {what}"),
    }
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "httpd"}]},
    }))
    .unwrap()
}

fn is_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn node_ready(node: Option<&Node>) -> Option<bool> {
    let conditions = node?.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status == "True")
}

#[tokio::test]
async fn a_pod_lives_and_goes_and_the_second_agent_takes_over() {
    let (server, world) = (Server::start().await, World::new());
    let mut agent = server.agent(&world).await;
    let client = server.client.clone();
    let first = tokio::spawn(async move { agent.follow(client, NODE).await });
    let api = server.pods();
    soon("pods can be made", async {
        while api.create(&PostParams::default(), &pod("web")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ready = await_condition(api.clone(), "web", |pod: Option<&Pod>| is_ready(pod));
    soon("ready", ready).await.unwrap();
    first.abort();
    let _ = first.await;
    let uid = api.get("web").await.unwrap().uid().unwrap();
    api.delete("web", &DeleteParams::default()).await.unwrap();
    assert_eq!(world.look(|state| state.running().len()), 1, "nobody is there to end it");
    let mut agent = server.agent(&world).await;
    let client = server.client.clone();
    let second = tokio::spawn(async move { agent.follow(client, NODE).await });
    let gone = await_condition(api, "web", kube::runtime::conditions::is_deleted(&uid));
    soon("gone", gone).await.unwrap();
    world.look(|state| assert!(state.running().is_empty() && state.pauses.is_empty()));
    let events: Api<Event> = Api::namespaced(server.client.clone(), "default");
    // Events are written beside everything else, and may be a little later.
    soon("events", async {
        loop {
            let listed = events.list(&ListParams::default()).await.unwrap();
            let reasons: Vec<_> = listed.iter().filter_map(|event| event.reason.as_deref()).collect();
            if reasons == ["Pulled", "Created", "Started", "Killing"] {
                return;
            }
        }
    })
    .await;
    second.abort();
}

#[tokio::test]
async fn a_node_is_ready_once_its_network_is_whenever_that_happens() {
    let server = Server::start().await;
    let nodes: Api<Node> = Api::all(server.client.clone());
    let (network_ready, ready) = watch::channel(false);
    let (range_known, mut range) = watch::channel(None);
    let config = NodeConfig {
        name: NODE.to_owned(),
        address: HOST,
        labels: BTreeMap::new(),
        kubelet_port: 10250,
        lease_duration: Duration::from_secs(4),
    };
    let link = NodeLink { network_ready: ready, pod_range: range_known };
    let recorder = Recorder::start(server.client.clone(), NODE.to_owned());
    let keeper = tokio::spawn(node::keep(server.client.clone(), config.clone(), link, recorder.clone()));
    let is = |ready: bool| move |node: Option<&Node>| node_ready(node) == Some(ready);
    soon("registered", await_condition(nodes.clone(), NODE, is(false))).await.unwrap();
    let patch = json!({"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}});
    nodes.patch(NODE, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    soon("range", range.wait_for(Option::is_some)).await.unwrap();
    network_ready.send_replace(true);
    soon("ready", await_condition(nodes.clone(), NODE, is(true))).await.unwrap();
    // The sign of life is the Node's and goes with it.
    let leases: Api<Lease> = Api::namespaced(server.client.clone(), "kube-node-lease");
    let owned = |lease: Option<&Lease>| lease.is_some_and(|lease| lease.metadata.owner_references.is_some());
    let lease = soon("lease", await_condition(leases, NODE, owned)).await.unwrap().unwrap();
    let owner = &lease.metadata.owner_references.unwrap()[0];
    assert_eq!(Some(&owner.uid), nodes.get(NODE).await.unwrap().metadata.uid.as_ref());
    assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(4));
    // Who took it for lost is corrected.
    let unknown = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(unknown)).await.unwrap();
    soon("ready again", await_condition(nodes.clone(), NODE, is(true))).await.unwrap();
    // One that somebody deletes comes back.
    nodes.delete(NODE, &DeleteParams::default()).await.unwrap();
    soon("back", await_condition(nodes.clone(), NODE, is(true))).await.unwrap();
    keeper.abort();
    let _ = keeper.await;
    // One that comes back with its range known does not say first that it is not ready, even when its network
    // becomes ready while it registers.
    let (network_ready, ready) = watch::channel(false);
    let link = NodeLink { network_ready: ready, pod_range: watch::channel(*range.borrow()).0 };
    let keeper = tokio::spawn(node::keep(server.client.clone(), config, link, recorder));
    network_ready.send_replace(true);
    tokio::task::yield_now().await;
    soon("still ready", await_condition(nodes, NODE, is(true))).await.unwrap();
    keeper.abort();
}
