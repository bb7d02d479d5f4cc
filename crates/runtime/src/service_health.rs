//! Where load balancers ask whether this node has endpoints of a Service (`spec.healthCheckNodePort`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use model::{Port, ServiceKey};
use proxy::{HealthCheck, NodePortAddresses};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::ProxyStatus;
use crate::events::{Recorder, Remark};
use crate::pages::{self, Page};

/// A port that somebody else holds is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// What is asked, and what is answered.
pub(crate) type HealthChecks = Arc<BTreeMap<ServiceKey, HealthCheck>>;

/// Answers for as long as `checks` has a sender.
pub(crate) async fn serve(
    mut checks: watch::Receiver<HealthChecks>,
    addresses: NodePortAddresses,
    status: Arc<ProxyStatus>,
    recorder: Option<Recorder>,
) {
    let asked = Asked { addresses: Arc::new(addresses), checks: checks.clone(), status };
    let mut open: BTreeMap<ServiceKey, Server> = BTreeMap::new();
    loop {
        let wanted = checks.borrow_and_update().clone();
        open.retain(|key, server| wanted.get(key).is_some_and(|check| check.port == server.port));
        let mut missing = false;
        for (key, check) in wanted.iter() {
            if open.contains_key(key) {
                continue;
            }
            match Server::start(key, check.port, &asked).await {
                Ok(server) => {
                    open.insert(key.clone(), server);
                }
                Err(error) => {
                    let (service, port) = (key.to_string(), check.port.number());
                    tracing::warn!(%service, port, %error, "load balancers cannot ask for the Service; trying again");
                    if let Some(recorder) = &recorder {
                        let message = format!("cannot answer on healthCheckNodePort {port}: {error}");
                        recorder.say(Remark::on_service(key, "FailedToStartServiceHealthcheck", message));
                    }
                    missing = true;
                }
            }
        }
        let changed = if missing {
            timeout(AGAIN, checks.changed()).await.unwrap_or(Ok(()))
        } else {
            checks.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

#[derive(Clone)]
struct Asked {
    addresses: Arc<NodePortAddresses>,
    checks: watch::Receiver<HealthChecks>,
    status: Arc<ProxyStatus>,
}

/// A port that is listened at; it closes with the value.
struct Server {
    port: Port,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(key: &ServiceKey, port: Port, asked: &Asked) -> io::Result<Self> {
        let listener = listen(port.number()).await?;
        let (key, asked) = (key.clone(), asked.clone());
        let task = tokio::spawn(async move {
            loop {
                let stream = pages::accept(&listener).await;
                let own = stream.local_addr().map(|own| own.ip().to_canonical());
                // At the node's other addresses nothing is served, as if nobody listened.
                if own.is_ok_and(|own| is_served(&asked.addresses, own)) {
                    let (key, asked) = (key.clone(), asked.clone());
                    tokio::spawn(pages::answer(stream, move |_: &str| Some(asked.page(&key))));
                }
            }
        });
        Ok(Self { port, task })
    }
}

/// At all addresses of both families, or of the one that the machine has.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        result => result,
    }
}

fn is_served(addresses: &NodePortAddresses, own: IpAddr) -> bool {
    match addresses {
        NodePortAddresses::All => true,
        NodePortAddresses::Ranges(ranges) => ranges.iter().any(|range| range.contains(&own)),
    }
}

impl Asked {
    fn page(&self, key: &ServiceKey) -> Page {
        let count = self.checks.borrow().get(key).map_or(0, |check| check.local_endpoints);
        let healthy = self.status.condition().keeps_up;
        let text = json!({
            "service": {"namespace": *key.namespace, "name": *key.name},
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        });
        let page = if count > 0 && healthy { Page::ok } else { Page::unavailable };
        page(&text.to_string()).json().with_header("X-Load-Balancing-Endpoint-Weight", count.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Asks until the answer begins so; a port opens and closes in its own time.
    async fn ask(port: u16, expected: &str) -> String {
        let asking = async {
            loop {
                let answer = exchange(port).await.unwrap_or_else(|error| format!("refused: {error}"));
                if answer.starts_with(expected) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), asking).await.unwrap_or_else(|_| panic!("never {expected}"))
    }

    async fn exchange(port: u16) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn free_port() -> u16 {
        TcpListener::bind("[::]:0").await.unwrap().local_addr().unwrap().port()
    }

    fn one(port: u16, local_endpoints: usize) -> HealthChecks {
        let check = HealthCheck { port: Port::try_from(i64::from(port)).unwrap(), local_endpoints };
        Arc::new([(ServiceKey::new("default", "web"), check)].into())
    }

    #[tokio::test]
    async fn the_answer_follows_the_endpoints_and_the_port() {
        let (first, second) = (free_port().await, free_port().await);
        let (sender, checks) = watch::channel(one(first, 2));
        tokio::spawn(serve(checks, NodePortAddresses::All, Arc::default(), None));
        let answer = ask(first, "HTTP/1.1 200 OK").await;
        let body = r#"{"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#;
        assert!(answer.ends_with(body), "{answer}");
        assert!(answer.contains("X-Load-Balancing-Endpoint-Weight: 2\r\n"), "{answer}");
        sender.send_replace(one(first, 0));
        ask(first, "HTTP/1.1 503").await;
        sender.send_replace(one(second, 1));
        ask(second, "HTTP/1.1 200 OK").await;
        ask(first, "refused").await;
    }

    #[tokio::test]
    async fn nothing_is_served_at_other_addresses() {
        let port = free_port().await;
        let (_sender, checks) = watch::channel(one(port, 1));
        let ranges = vec!["192.0.2.0/24".parse().unwrap()];
        tokio::spawn(serve(checks, NodePortAddresses::Ranges(ranges), Arc::default(), None));
        let closed = async {
            // Until it listens the connection is refused; then it is taken and closed without a word.
            while !matches!(exchange(port).await.as_deref(), Ok("") | Err(_))
                || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), closed).await.unwrap();
        assert_eq!(exchange(port).await.unwrap_or_default(), "");
    }
}
