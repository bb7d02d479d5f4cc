//! Exec, attach and port-forward: the connection is joined with one to the agent of the pod's node, and bytes go through.

use std::pin::pin;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::logs::{AGENT_TIMEOUT, container_of, encoded, refusal};
use super::read::parsed;
use super::target::{Session, Target};
use super::{Api, Call};
use crate::http::Answer;
use crate::status::Status;

/// Headers that say what a connection is to become: they are for both ends of the session, not for this hop.
const HANDSHAKE: [HeaderName; 8] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
    HeaderName::from_static("x-stream-protocol-version"),
];
/// How long a client may take to end its side of a session that is over.
const GOODBYE: Duration = Duration::from_secs(5);
/// Parameters of exec and attach, by the agents' names.
const STREAMS: [(&str, &str); 4] =
    [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

impl Api {
    /// Opens a session with a pod. What is wrong with the request is a Status, before anything is switched over.
    pub(super) async fn session(
        &self,
        session: Session,
        target: &Target,
        call: &Call,
    ) -> Result<Answer, Status> {
        if !call.headers.contains_key(header::UPGRADE) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let pod = parsed(&self.stored(target)?)?;
        let place = format!("{}/{}", target.namespace, target.name);
        let path = match session {
            Session::Exec | Session::Attach => {
                let container = container_of(&pod, &target.name, call.query.text("container"))?;
                let verb = if session == Session::Exec { "exec" } else { "attach" };
                format!("/{verb}/{place}/{container}?{}", command_query(call)?)
            }
            Session::PortForward => format!("/portForward/{place}{}", ports_query(call)),
        };
        let agent = self.agent_of_pod(&pod, &target.name)?;
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&path)
            .body(Empty::new())
            .map_err(Status::internal)?;
        copy_handshake(&call.headers, request.headers_mut());
        let unreachable = |detail: &dyn std::fmt::Display| {
            Status::internal(format!("error dialing backend: https://{agent}: {detail}"))
        };
        let mut answer = tokio::time::timeout(AGENT_TIMEOUT, self.agents.send(agent, request))
            .await
            .map_err(|_| unreachable(&"the node's agent does not answer"))?
            .map_err(|error| unreachable(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(answer).await);
        }
        tokio::spawn(join(call.upgrade.clone(), hyper::upgrade::on(&mut answer)));
        let mut out = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *out.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        copy_handshake(answer.headers(), out.headers_mut());
        Ok(out)
    }
}

/// The parameters of exec and attach, for the agent.
fn command_query(call: &Call) -> Result<String, Status> {
    let mut pairs = Vec::new();
    for (ours, theirs) in STREAMS {
        if call.query.flag(ours)? == Some(true) {
            pairs.push(format!("{theirs}=1"));
        }
    }
    pairs.extend(call.query.all("command").map(|word| format!("command={}", encoded(word))));
    Ok(pairs.join("&"))
}

/// The ports that a client with WebSocket channels names, for the agent; kubectl names them later.
fn ports_query(call: &Call) -> String {
    let ports: Vec<String> =
        call.query.all("ports").map(|ports| format!("port={}", encoded(ports))).collect();
    if ports.is_empty() { String::new() } else { format!("?{}", ports.join("&")) }
}

fn copy_handshake(from: &HeaderMap, to: &mut HeaderMap<HeaderValue>) {
    for name in HANDSHAKE {
        for value in from.get_all(&name) {
            to.append(&name, value.clone());
        }
    }
}

/// Hands bytes through both ways until one end has gone; then the other goes too. What the client still says after the
/// agent's last word is read for a while: a connection closed with input unread would take that word along.
pub(super) async fn join(client: OnUpgrade, agent: OnUpgrade) {
    let (client, agent) = match tokio::try_join!(client, agent) {
        Ok((client, agent)) => (TokioIo::new(client), TokioIo::new(agent)),
        Err(error) => return tracing::debug!(%error, "a session's connection broke before it began"),
    };
    let (from_client, to_client) = tokio::io::split(client);
    let (from_agent, to_agent) = tokio::io::split(agent);
    let mut said = pin!(copy(from_client, to_agent));
    tokio::select! {
        () = &mut said => {}
        () = copy(from_agent, to_client) => {
            let _ = tokio::time::timeout(GOODBYE, said).await;
        }
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if let Err(error) = tokio::io::copy(&mut from, &mut to).await {
        tracing::debug!(%error, "a session's connection broke");
    }
    // Fails only where there is nobody left to be told.
    let _ = to.shutdown().await;
}
