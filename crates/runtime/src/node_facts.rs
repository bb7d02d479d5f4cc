use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use kube::{Api, Client};
use model::{NodeName, Object};

use crate::wire::{self, Wire};

/// How often to ask for an object that is not there yet.
const AGAIN: Duration = Duration::from_secs(1);

/// What a node's object says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its own addresses, in the object's order.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods, at most one per family.
    pub pod_ranges: Vec<IpNet>,
}

/// Asks the API for a node until its object says `enough`. The reason for waiting is logged once.
pub async fn node_facts(client: &Client, name: &NodeName, enough: impl Fn(&NodeFacts) -> bool) -> NodeFacts {
    let api: Api<wire::Node> = Api::all(client.clone());
    let mut said = false;
    loop {
        let waiting_for = match api.get(name.as_str()).await.map(|node| node.parse().value) {
            Ok(Some(Object::Node(node))) => {
                let facts = NodeFacts { addresses: node.addresses, pod_ranges: node.pod_ranges };
                if enough(&facts) {
                    return facts;
                }
                "the node's object does not say all that is needed yet".to_owned()
            }
            Ok(_) => "the node's object cannot be understood".to_owned(),
            Err(error) => error.to_string(),
        };
        if !said {
            tracing::warn!(node = %name, %waiting_for, "waiting for the node's object; rules stay as they are");
            said = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
