//! Sessions with containers: exec, attach and port-forward, as kubelet serves them.
//!
//! ```text
//! request ─► upgrade (which protocol) ─► websocket ─┬─► command: exec and attach ─► containers
//!                                    └─► spdy ──────┴─► forward, channels: ports ─► the pod's loopback
//! ```
//!
//! kubectl since 1.30 speaks WebSocket, and inside it, for ports, SPDY/3.1; older clients speak SPDY/3.1 itself, and
//! client libraries have WebSocket channels for ports too. A
//! session ends with its container, with its client, and with the agent: an agent that comes back ends the commands
//! that its predecessor left ([`crate::containers::Runtime::end_sessions`]).

mod channels;
mod command;
mod forward;
mod spdy;
mod target;
mod upgrade;
mod websocket;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tracing::debug;

use self::command::{Command, CommandQuery};
use self::target::Target;
use self::upgrade::{Upgrade, Wire};
use crate::containers::Runtime;
use crate::pods::catalog::Catalog;
use crate::pods::record::Records;

/// What sessions need.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    /// Which pod a name means.
    pub(super) catalog: Catalog,
    /// What runs in it.
    pub(super) records: Records,
    /// Its containers.
    pub(super) runtime: Arc<Runtime>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// No such pod here.
    #[error("pod \"{namespace}/{pod}\" not found")]
    NoPod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
    },
    /// The pod has no such container, or it does not run.
    #[error("container not found (\"{container}\")")]
    NoContainer {
        /// The name asked for.
        container: String,
    },
    /// The pod has no network yet, or none any more.
    #[error("unable to do port forwarding: pod \"{pod}\" is not running")]
    NotRunning {
        /// The pod.
        pod: String,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Request(String),
    /// The record of the pod cannot be read.
    #[error("cannot read the pod's record: {0}")]
    Record(#[from] std::io::Error),
}

impl SessionError {
    /// The code of the answer.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoPod { .. } | Self::NoContainer { .. } => StatusCode::NOT_FOUND,
            Self::NotRunning { .. } | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Record(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Sessions {
    /// Begins the session that the request asks for: what is wrong with it is said before anything is switched over.
    pub(super) fn begin(
        &self,
        path: &[&str],
        mut request: Request<Incoming>,
    ) -> Result<Response<()>, SessionError> {
        if !matches!(*request.method(), Method::GET | Method::POST) {
            return Err(SessionError::Request("sessions are opened by GET or POST".to_owned()));
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let upgrade;
        let answer;
        match path {
            ["exec", namespace, pod, container] | ["attach", namespace, pod, container] => {
                let target = Target::find(self, namespace, pod)?;
                let asked = CommandQuery::parse(&query);
                let command = Command::new(target.container(container)?, path[0], asked)?;
                (upgrade, answer) = upgrade::commands(request.headers())?;
                let (runtime, on_upgrade) = (Arc::clone(&self.runtime), hyper::upgrade::on(&mut request));
                spawn(on_upgrade, move |io| run_command(runtime, command, upgrade, io));
            }
            ["portForward", namespace, pod] => {
                let target = Target::find(self, namespace, pod)?;
                let place = forward::Place::of(&target)?;
                (upgrade, answer) = upgrade::ports(request.headers())?;
                let ports = channels::ports(&query)?;
                if upgrade.protocol == upgrade::CHANNEL_PAIRS && ports.is_empty() {
                    return Err(SessionError::Request("you must specify at least 1 port".to_owned()));
                }
                spawn(hyper::upgrade::on(&mut request), move |io| run_ports(place, ports, upgrade, io));
            }
            _ => return Err(SessionError::Request("there are no such sessions".to_owned())),
        }
        Ok(answer)
    }
}

/// The connection of a session.
type Io = TokioIo<hyper::upgrade::Upgraded>;

fn spawn<F>(on_upgrade: hyper::upgrade::OnUpgrade, session: impl FnOnce(Io) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        match on_upgrade.await {
            Ok(io) => session(TokioIo::new(io)).await,
            Err(error) => debug!(%error, "a session's connection broke before it began"),
        }
    });
}

async fn run_command(runtime: Arc<Runtime>, command: Command, upgrade: Upgrade, io: Io) {
    let wanted = command.streams();
    match upgrade.wire {
        Wire::WebSocket => websocket::serve(io, |client| command.run(runtime, client)).await,
        Wire::Spdy => spdy::serve_command(io, wanted, |client| command.run(runtime, client)).await,
    }
}

async fn run_ports(place: forward::Place, ports: Vec<u16>, upgrade: Upgrade, io: Io) {
    match upgrade.wire {
        Wire::WebSocket if upgrade.protocol == upgrade::CHANNEL_PAIRS => {
            channels::serve(place, ports, io).await;
        }
        Wire::WebSocket => forward::serve(place, websocket::tunnel(io).await).await,
        Wire::Spdy => forward::serve(place, io).await,
    }
}

/// All values of a header that may be repeated or hold a list.
fn listed(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_owned()).collect()
}
