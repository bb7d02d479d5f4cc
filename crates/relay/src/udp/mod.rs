//! Datagrams: those of one client port are a flow, which has an endpoint and a socket of its own.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod datagram;
mod flow;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::sleep_until;

pub(crate) use self::datagram::prepare;
use self::datagram::{Inbox, Path};
use self::flow::Flow;
pub(crate) use self::flow::Line;
use crate::flows::Flows;
use crate::relays::Served;

/// Datagrams taken in before other tasks get their turn.
const BURST: usize = 64;
/// Endpoints that are tried for a new flow.
const ATTEMPTS: usize = 4;

/// Carries datagrams until it is dropped, and all flows with it.
pub(crate) async fn serve(socket: UdpSocket, served: Arc<Served>) {
    let mut relay = Relay { socket: Arc::new(socket), served, flows: Flows::new(), inbox: Inbox::new() };
    let timeout = relay.served.bounds.flow_timeout;
    loop {
        let look = relay.flows.look_at(timeout);
        tokio::select! {
            readable = relay.socket.readable() => match readable {
                Ok(()) => relay.take_in(),
                // The runtime ends.
                Err(_) => return,
            },
            () = sleep_until(look.unwrap_or_else(Instant::now).into()), if look.is_some() => {
                relay.flows.expire(Instant::now(), timeout);
            }
        }
    }
}

struct Relay {
    socket: Arc<UdpSocket>,
    served: Arc<Served>,
    flows: Flows<Path, Flow>,
    inbox: Inbox,
}

impl Relay {
    fn take_in(&mut self) {
        for _ in 0..BURST {
            match self.inbox.receive(&self.socket) {
                Ok(path) => self.hand_on(path),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An error that a client's host reports for an answer of ours; the next one is independent of it.
                Err(error) => {
                    tracing::trace!(relay = %self.served.name, %error, "a datagram could not be received");
                }
            }
        }
    }

    fn hand_on(&mut self, path: Path) {
        self.leave_endpoint_that_is_gone(&path);
        let mut again = false;
        for _ in 0..ATTEMPTS {
            if self.flows.at(&path).is_none_or(Flow::is_closed) {
                let Some(flow) = self.begin(path, again) else {
                    break;
                };
                self.flows.insert(path, flow);
            }
            let Some(flow) = self.flows.at(&path) else {
                break;
            };
            match flow.send(self.inbox.datagram()) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Nobody listens there, as an earlier datagram found out: on to the next endpoint.
                Err(_) => self.flows.remove(&path),
            }
            again = true;
        }
        self.served.bounds.dropped();
    }

    /// Ends the flow when its endpoint is gone from the list. Not before the client sends something: until then answers
    /// that are on their way may arrive.
    fn leave_endpoint_that_is_gone(&mut self, path: &Path) {
        let changes = self.served.changes();
        let Some(flow) = self.flows.at(path).filter(|flow| !flow.knows(changes)) else {
            return;
        };
        if self.served.balancer().backends().endpoints.contains(&flow.endpoint()) {
            flow.learn(changes);
        } else {
            self.flows.remove(path);
        }
    }

    /// Begins a flow, with another endpoint than before when that one did not take it.
    fn begin(&mut self, path: Path, again: bool) -> Option<Flow> {
        let now = Instant::now();
        let changes = self.served.changes();
        let endpoint = {
            let mut balancer = self.served.balancer();
            let client = path.client().ip();
            if again { balancer.choose_another(client, now)? } else { balancer.choose(client, now)? }
        };
        let (flow, crowded) = Flow::begin(endpoint, path, self.socket.clone(), self.served.bounds.clone())
            .inspect_err(|error| {
                if self.served.bounds.may_warn(now) {
                    tracing::warn!(relay = %self.served.name, %endpoint, %error, "no socket for a flow of datagrams");
                }
            })
            .ok()?;
        if crowded {
            // Ours that had to make way are silent longest among ours.
            self.flows.shed(Flow::is_closed);
            if self.served.bounds.may_warn(now) {
                tracing::warn!(relay = %self.served.name, "too many flows of datagrams at a time, silent ones make way");
            }
        }
        flow.learn(changes);
        Some(flow)
    }
}
