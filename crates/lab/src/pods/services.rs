//! Services as containers see them in their environment: the variables that Docker's links once made, in the
//! names and forms of Kubernetes' `pkg/kubelet/envvars`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::warn;

use super::api::Retry;

/// Namespace and name of the Service that every container gets, whether it wants links or not.
const API: (&str, &str) = ("default", "kubernetes");

/// Namespace and name of a Service.
type Key = (String, String);
/// Names and values.
type Variables = Vec<(String, String)>;
type Known = BTreeMap<Key, Variables>;

/// The variables of every Service, once they have been listed.
#[derive(Debug, Clone)]
pub struct Services {
    known: Arc<watch::Sender<Option<Known>>>,
}

impl Default for Services {
    fn default() -> Self {
        Self { known: Arc::new(watch::channel(None).0) }
    }
}

impl Services {
    /// The variables of a container that starts now: those of the Service `kubernetes`, and with `links` those of its
    /// namespace. As the kubelet does, it waits until the Services have been listed once: a container without
    /// variables that it relies on would be worse than a late one.
    pub async fn variables(&self, namespace: &str, links: bool) -> Variables {
        let mut known = self.known.subscribe();
        // The sender lives as long as we do.
        let Ok(known) = known.wait_for(Option::is_some).await else { return Vec::new() };
        known.as_ref().map(|known| select(known, namespace, links)).unwrap_or_default()
    }

    /// Follows the Services for ever.
    pub async fn follow(&self, client: Client) {
        let events =
            watcher(Api::<Service>::all(client), watcher::Config::default()).backoff(Retry::default());
        tokio::pin!(events);
        let mut listed = Known::new();
        let mut in_sight = true;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(service)) => listed.extend(entry(&service)),
                Ok(watcher::Event::InitDone) => {
                    in_sight = true;
                    self.known.send_replace(Some(std::mem::take(&mut listed)));
                }
                Ok(watcher::Event::Apply(service)) => self.change(|known| {
                    known.remove(&key(&service));
                    known.extend(entry(&service));
                }),
                Ok(watcher::Event::Delete(service)) => {
                    self.change(|known| drop(known.remove(&key(&service))))
                }
                Err(error) => {
                    if std::mem::replace(&mut in_sight, false) {
                        warn!(%error, "lost sight of the services");
                    }
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        self.known.send_modify(|known| change(known.get_or_insert_default()));
    }

    /// Services that are known already, for tests.
    #[cfg(test)]
    pub(super) fn of(services: &[Service]) -> Self {
        Self { known: Arc::new(watch::channel(Some(services.iter().filter_map(entry).collect())).0) }
    }
}

fn select(known: &Known, namespace: &str, links: bool) -> Variables {
    let wanted = |(of, name): &Key| (links && of == namespace) || ((of.as_str(), name.as_str()) == API);
    // A Service of that name in the pod's own namespace takes the place of the API server's.
    let hidden = links && namespace != API.0 && known.contains_key(&(namespace.to_owned(), API.1.to_owned()));
    known
        .iter()
        .filter(|(key, _)| wanted(key) && !(hidden && (key.0.as_str(), key.1.as_str()) == API))
        .flat_map(|(_, variables)| variables.iter().cloned())
        .collect()
}

fn key(service: &Service) -> Key {
    let metadata = &service.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// `None` for a Service without an address of its own.
fn entry(service: &Service) -> Option<(Key, Variables)> {
    let spec = service.spec.as_ref()?;
    let address: IpAddr = spec.cluster_ip.as_ref()?.parse().ok()?;
    let ports = spec.ports.as_deref().unwrap_or_default();
    let key = key(service);
    let prefix = variable_name(&key.1);
    let mut variables = vec![(format!("{prefix}_SERVICE_HOST"), address.to_string())];
    let mut set = |name: String, value: String| variables.push((format!("{prefix}_{name}"), value));
    for (number, port) in ports.iter().enumerate() {
        let Ok(of_port) = u16::try_from(port.port) else { continue };
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{}", protocol.to_lowercase(), SocketAddr::new(address, of_port));
        if number == 0 {
            set("SERVICE_PORT".to_owned(), of_port.to_string());
            set("PORT".to_owned(), url.clone());
        }
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            set(format!("SERVICE_PORT_{}", variable_name(name)), of_port.to_string());
        }
        let link = format!("PORT_{of_port}_{}", protocol.to_uppercase());
        set(link.clone(), url);
        set(format!("{link}_PROTO"), protocol.to_lowercase());
        set(format!("{link}_PORT"), of_port.to_string());
        set(format!("{link}_ADDR"), address.to_string());
    }
    Some((key, variables))
}

fn variable_name(text: &str) -> String {
    text.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(namespace: &str, name: &str, address: &str, ports: serde_json::Value) -> Service {
        let service = serde_json::json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": address, "ports": ports},
        });
        serde_json::from_value(service).unwrap()
    }

    fn services() -> Services {
        Services::of(&[
            service(
                "default",
                "redis-master",
                "172.16.50.11",
                serde_json::json!([{"port": 6379, "protocol": "TCP"}]),
            ),
            service(
                "default",
                "kubernetes",
                "172.16.0.1",
                serde_json::json!([{"name": "https", "port": 443}]),
            ),
            service("other", "db", "None", serde_json::json!([{"port": 1}])),
            service(
                "other",
                "name",
                "172.16.0.9",
                serde_json::json!([{"name": "dns-udp", "port": 53, "protocol": "UDP"}]),
            ),
        ])
    }

    #[tokio::test]
    async fn the_variables_of_the_articles() {
        let variables: BTreeMap<_, _> = services().variables("default", true).await.into_iter().collect();
        let redis: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with("REDIS")).collect();
        let expected = [
            ("REDIS_MASTER_PORT", "tcp://172.16.50.11:6379"),
            ("REDIS_MASTER_PORT_6379_TCP", "tcp://172.16.50.11:6379"),
            ("REDIS_MASTER_PORT_6379_TCP_ADDR", "172.16.50.11"),
            ("REDIS_MASTER_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_MASTER_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_MASTER_SERVICE_HOST", "172.16.50.11"),
            ("REDIS_MASTER_SERVICE_PORT", "6379"),
        ];
        assert_eq!(redis.len(), expected.len(), "{redis:?}");
        for (name, value) in expected {
            assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(variables["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
    }

    #[tokio::test]
    async fn without_links_only_the_api_server_is_named() {
        for (namespace, links, expected) in [
            ("default", false, vec!["KUBERNETES"]),
            ("other", false, vec!["KUBERNETES"]),
            ("other", true, vec!["KUBERNETES", "NAME"]),
        ] {
            let variables = services().variables(namespace, links).await;
            let hosts = variables.iter().filter_map(|(name, _)| name.strip_suffix("_SERVICE_HOST"));
            assert_eq!(hosts.collect::<Vec<_>>(), expected, "{namespace} {links}");
        }
        let other = services().variables("other", true).await;
        assert!(other.contains(&("NAME_PORT_53_UDP".to_owned(), "udp://172.16.0.9:53".to_owned())));
        assert!(other.contains(&("NAME_SERVICE_PORT_DNS_UDP".to_owned(), "53".to_owned())));
    }
}
