//! Logs of pods: handed through from the agent of the pod's node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::read::parsed;
use super::target::Target;
use super::{Api, Call, Key};
use crate::config::{Config, ServeError};
use crate::http::{Answer, BoxError};
use crate::pki;
use crate::status::Status;

/// Longest wait for a node's agent to take a connection and begin its answer.
pub(super) const AGENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The agents' port when a node does not name one.
const AGENT_PORT: u16 = 10250;
/// Most of an agent's error that is read.
const ERROR_LIMIT: usize = 64 << 10;
/// Parameters that the agent gets as they came.
const HANDED_ON: [&str; 7] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];

/// How the nodes' agents are reached.
pub(super) struct NodeAgents {
    connector: TlsConnector,
}

impl NodeAgents {
    pub(super) fn new(config: &Config) -> Result<Self, ServeError> {
        let mut roots = RootCertStore::empty();
        roots.add(pki::der(&config.authority)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![config.node_client.certificate_der()?],
                config.node_client.key_der()?,
            )?;
        Ok(Self { connector: TlsConnector::from(Arc::new(tls)) })
    }

    /// Sends a GET; the connection ends with the answer's body.
    async fn get(&self, agent: SocketAddr, path: &str) -> Result<Response<Incoming>, BoxError> {
        let request = Request::get(path).header(header::CONNECTION, "close").body(Empty::<Bytes>::new())?;
        self.send(agent, request).await
    }

    /// Sends a request on a connection of its own, which ends with the answer's body, or goes on as what the answer
    /// switches over to.
    pub(super) async fn send(
        &self,
        agent: SocketAddr,
        mut request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        let stream = TcpStream::connect(agent).await?;
        stream.set_nodelay(true)?;
        let stream = self.connector.connect(ServerName::IpAddress(agent.ip().into()), stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%agent, %error, "the connection to a node's agent broke");
            }
        });
        request.headers_mut().insert(header::HOST, HeaderValue::try_from(agent.to_string())?);
        Ok(sender.send_request(request).await?)
    }
}

impl Api {
    pub(super) async fn log(&self, target: &Target, call: &Call) -> Result<Answer, Status> {
        let pod = parsed(&self.stored(target)?)?;
        let container = container_of(&pod, &target.name, call.query.text("container"))?;
        let agent = self.agent_of_pod(&pod, &target.name)?;
        let mut path = format!("/containerLogs/{}/{}/{container}", target.namespace, target.name);
        let mut separator = '?';
        for name in HANDED_ON {
            let value = call.query.text(name);
            if !value.is_empty() {
                path.push(separator);
                path.push_str(&format!("{name}={}", encoded(value)));
                separator = '&';
            }
        }
        let unreachable = |detail: &dyn std::fmt::Display| {
            Status::internal(format!("Get \"https://{agent}{path}\": {detail}"))
        };
        let answer = tokio::time::timeout(AGENT_TIMEOUT, self.agents.get(agent, &path))
            .await
            .map_err(|_| unreachable(&"the node's agent does not answer"))?
            .map_err(|error| unreachable(&error))?;
        hand_through(answer).await
    }

    /// Where the agent of the pod's node listens.
    pub(super) fn agent_of_pod(&self, pod: &Value, name: &str) -> Result<SocketAddr, Status> {
        match pod.pointer("/spec/nodeName").and_then(Value::as_str) {
            Some(node) if !node.is_empty() => self.agent_of(node),
            _ => Err(Status::bad_request(format!("pod {name} does not have a host assigned"))),
        }
    }

    fn agent_of(&self, name: &str) -> Result<SocketAddr, Status> {
        let found = self.store.get(&Key::new("nodes", "", name)).map_err(Status::internal)?;
        let node = parsed(&found.ok_or_else(|| Status::not_found("", "nodes", name))?)?;
        let addresses = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
        let internal = addresses
            .filter(|address| address["type"] == "InternalIP")
            .find_map(|address| address["address"].as_str()?.parse::<IpAddr>().ok());
        let internal =
            internal.ok_or_else(|| Status::internal(format!("node {name:?} has no InternalIP")))?;
        let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
        let port =
            port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(AGENT_PORT);
        Ok(SocketAddr::new(internal, port))
    }
}

/// The container asked for, or the only one there is.
pub(super) fn container_of(pod: &Value, name: &str, wanted: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod.pointer(field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let containers = names("/spec/containers");
    let others = [names("/spec/initContainers"), names("/spec/ephemeralContainers")].concat();
    if !wanted.is_empty() {
        return if containers.iter().chain(&others).any(|container| container == wanted) {
            Ok(wanted.to_owned())
        } else {
            Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}")))
        };
    }
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        many => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            many.join(" ")
        ))),
    }
}

/// The agent's body as it comes; its errors as a Status.
async fn hand_through(answer: Response<Incoming>) -> Result<Answer, Status> {
    let code = answer.status();
    if code.is_success() {
        let body = answer.into_body().map_err(|error| Box::new(error) as BoxError);
        let mut out = Response::new(body.boxed_unsync());
        out.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return Ok(out);
    }
    Err(refusal(answer).await)
}

/// An agent's refusal, in its own words.
pub(super) async fn refusal(answer: Response<Incoming>) -> Status {
    let code = answer.status();
    let body = match Limited::new(answer.into_body(), ERROR_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Status::internal(error),
    };
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status { message: text, ..Status::unknown_path() },
        _ => Status::internal(text),
    }
}

/// A value as part of a query.
pub(super) fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_chosen_as_kubectl_users_know_it() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(container_of(&pod, "web", "i").unwrap(), "i");
        let error = container_of(&pod, "web", "").unwrap_err();
        assert_eq!(error.message, "a container name must be specified for pod web, choose one of: [a b]");
        assert_eq!(
            container_of(&pod, "web", "x").unwrap_err().message,
            "container x is not valid for pod web"
        );
        assert_eq!(container_of(&json!({"spec": {"containers": [{"name": "a"}]}}), "web", "").unwrap(), "a");
    }

    #[test]
    fn values_are_encoded() {
        assert_eq!(encoded("2026-11-21T20:00:00+01:00&x"), "2026-11-21T20%3A00%3A00%2B01%3A00%26x");
    }
}
