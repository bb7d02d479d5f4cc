//! A change through the API until the kernel's own event tells of it, on a quiet cluster and in a busy one.

mod rounds;

use anyhow::Result;
use load::{Samples, Target};
use proxy::Mode;

use crate::rig::{Churn, Proxy, Ruleset, Scene, Variant};
use rounds::Rounds;

/// Changes a second that others make meanwhile.
const CHURN: u32 = 100;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// An endpoint of a slice.
    Slice,
    /// A Service's port.
    Service,
    /// A node port.
    NodePort,
}

/// Until the kernel had it.
#[derive(Default)]
struct Times {
    /// Since the request was sent.
    sent: Samples,
    /// Since its answer came; nothing, when the kernel had it before.
    answered: Samples,
}

/// Measures every mode in one cluster.
pub fn measure(scene: &mut Scene<'_>) -> Result<()> {
    scene.each(one)
}

fn one(scene: &mut Scene<'_>, variant: Variant) -> Result<()> {
    let cluster = scene.cluster;
    let proxy = Proxy::start(cluster, 1, variant)?;
    proxy.wait_until_served()?;
    Ruleset::new(&cluster.node(1)?, variant).ensure_whole(cluster.fleet)?;
    let rounds = Rounds::new(cluster, variant, &proxy)?;
    let kinds: &[What] = match variant {
        // Endpoints are the relays' affair: the kernel holds none.
        Variant::Plain(Mode::Userspace) => &[What::Service, What::NodePort],
        _ => &[What::Slice, What::Service, What::NodePort],
    };
    // The first change meets a proxy that still looks for what former modes left.
    rounds.run(What::Service, 1)?;
    for busy in [false, true] {
        if busy && !variant.is_told() {
            // Whose change it was that a table's size shows, nobody could tell.
            continue;
        }
        let churn = busy.then(|| Churn::start(cluster, CHURN, u32::MAX));
        for what in kinds {
            let times = rounds.run(*what, scene.sizes.rounds(200))?;
            tell(scene, variant, *what, busy, times);
        }
        if let Some(churn) = churn {
            eprintln!("  {variant}: beside {} other changes", churn.stop()?);
        }
    }
    drop(rounds);
    proxy.kill()
}

fn tell(scene: &mut Scene<'_>, variant: Variant, what: What, busy: bool, mut times: Times) {
    let what = match what {
        What::Slice => "EndpointSlice",
        What::Service => "Service port",
        What::NodePort => "node port",
    };
    let when = if busy { format!("beside {CHURN} changes/s") } else { "idle".to_owned() };
    for (since, samples) in [("answer", &mut times.answered), ("request", &mut times.sent)] {
        for (name, share, most) in [("p50", 0.5, Some(2.0)), ("p90", 0.9, None), ("p99", 0.99, Some(10.0))] {
            let title = format!("{what}, {when}: {since} to kernel, {name}");
            let figure = scene.figure(variant, &title, samples.percentile(share), "ms");
            let promised = variant == Variant::Plain(Mode::Nftables) && since == "answer";
            scene.report.push(figure.target(most.filter(|_| promised).map(Target::AtMost)));
        }
    }
}
