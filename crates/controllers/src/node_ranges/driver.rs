use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::plan::{Claim, plan};
use crate::context::Context;
use crate::error::Error;
use crate::objects::ObjectKey;
use crate::queue::{Again, Queue};
use crate::recorder::Severity;

/// Gives nodes their ranges, for ever.
/// The stores wake it from this call on, not only once the future is polled.
pub(crate) fn run(context: Arc<Context>) -> impl Future<Output = ()> + Send {
    // One key for all: two nodes must not be given the same piece at the same time.
    let queue = Queue::new();
    let wake = queue.clone();
    context.stores.nodes.on_change(move |change| {
        let wanting = change.new.is_some_and(|node| held(node).is_empty());
        if wanting || change.new.is_none() {
            wake.add("nodes");
        }
    });
    async move { queue.run("node ranges", 1, |_| reconcile(&context)).await }
}

async fn reconcile(context: &Context) -> Result<Again, Error> {
    let nodes = context.stores.nodes.all();
    let claims: Vec<Claim> = nodes
        .iter()
        .map(|node| Claim { node: node.metadata.name.clone().unwrap_or_default(), held: held(node) })
        .collect();
    let (pod_cidr, node_prefix_length) = (context.config.pod_cidr, context.config.node_prefix_length);
    let plan = plan(pod_cidr, node_prefix_length, &claims);
    let mut failed = None;
    for (name, range) in plan.assigned {
        let Some(node) = context.stores.nodes.find(&ObjectKey::new("", &name)) else { continue };
        let mut wanted = node.as_ref().clone();
        let spec = wanted.spec.get_or_insert_default();
        spec.pod_cidr = Some(range.to_string());
        spec.pod_cidrs = Some(vec![range.to_string()]);
        match context.update(&wanted).await {
            Ok(()) => {
                tracing::info!(node = name, %range, "pod range given to node");
            }
            // One node's trouble does not hold up the others.
            Err(error) => failed = Some(error),
        }
    }
    for name in &plan.without {
        if let Some(node) = context.stores.nodes.find(&ObjectKey::new("", name)) {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            context.recorder.record(
                "cidrAllocator",
                node.as_ref(),
                Severity::Warning,
                "CIDRNotAvailable",
                message,
            );
        }
        failed = Some(Error::PodRangeExhausted { node: name.clone(), pod_cidr, node_prefix_length });
    }
    failed.map_or(Ok(Again::OnEvent), Err)
}

/// The pod ranges that a node holds. One that cannot be read counts as none and is replaced.
fn held(node: &Node) -> Vec<ipnet::IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let ranges = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    ranges.filter_map(|range| range.parse().ok()).collect()
}
