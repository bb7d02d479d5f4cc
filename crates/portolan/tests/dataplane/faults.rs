//! Kernels that do not do what they are told at once.

use std::collections::BTreeSet;

use model::Changes;
use proxy::{Dataplane as _, SyncReport};

use crate::agreement::complaints_of;
use crate::cases::{Settings, objects};
use crate::cluster::Cluster;
use crate::modes::{InMemory, Mode};
use crate::orders::{Step, orders};
use crate::world::context;

/// Attempts until a sync has to have come through: a fault that met nothing to write waits for the next writing, so that
/// several may come together.
const ATTEMPTS: usize = 200;

#[test]
fn nftables_comes_through() {
    every_fault(Mode::Nftables);
}

#[test]
fn iptables_comes_through() {
    every_fault(Mode::Iptables);
}

#[test]
fn ipvs_comes_through() {
    every_fault(Mode::Ipvs);
}

#[test]
fn userspace_comes_through() {
    every_fault(Mode::Userspace);
}

/// Each fault at each step of a way with all objects on it: it is told as one that passes, and the next attempt, which
/// is told of no change, mends it. In the end every case holds.
fn every_fault(mode: Mode) {
    let faults = mode.in_memory(context(Settings::Usual)).faults.len();
    for fault in 0..faults {
        let InMemory { proxy, trace, faults } = mode.in_memory(context(Settings::Usual));
        let (name, fail) = &faults[fault];
        let mut cluster = Cluster::new(proxy, []);
        cluster.sync();
        let mut failures = 0;
        let [_, _, (_, steps), ..] = orders(&objects(Settings::Usual));
        for step in steps {
            match step {
                Step::Apply(objects) => objects.into_iter().for_each(|object| cluster.index.apply(object)),
                Step::Delete(objects) => {
                    objects.iter().for_each(|object| cluster.index.delete(&object.key()))
                }
                Step::Sync => {
                    fail();
                    failures += attempts(&mut cluster, mode, name);
                }
            }
        }
        assert!(failures > 10, "{mode}, {name}: only {failures} syncs failed");
        assert_eq!(attempts(&mut cluster, mode, name), 0, "{mode}, {name}: it is over");
        assert_eq!(cluster.sync_everything(), SyncReport::default(), "{mode}, {name}");
        let complaints = complaints_of(mode, Settings::Usual, &trace);
        assert!(complaints.is_empty(), "{mode}, {name}:\n{}", complaints.join("\n"));
    }
}

/// Syncs until one succeeds; how many failed.
fn attempts(cluster: &mut Cluster<Box<dyn proxy::Dataplane>>, mode: Mode, name: &str) -> usize {
    let mut changes = cluster.index.take_changes();
    for failed in 0..ATTEMPTS {
        match cluster.proxy.sync(&cluster.index.snapshot().unwrap(), &changes) {
            Ok(_) => return failed,
            Err(error) => assert!(error.is_transient(), "{mode}, {name}: {error}"),
        }
        changes = Changes::Services(BTreeSet::new());
    }
    panic!("{mode}, {name}: it does not come through");
}
