//! iptables mode over time, with real packets, in both variants of iptables.

use kernel::iptables::Iptables;
use model::Protocol;
use netstate::iptables::{IptablesPort as _, Variant};
use netstate::nft::Family;
use proxy::{Dataplane, SyncReport};

use crate::asking::{Asker, Reply};
use crate::cases::{Settings, objects};
use crate::cluster::Cluster;
use crate::modes::Mode;
use crate::world::{OnNode, World};

/// A node on which somebody uses one variant, so that the mode finds and takes it.
pub fn world_with(variant: Variant) -> World {
    let world = World::new();
    for family in ["iptables", "ip6tables"] {
        let program = format!("{family}-{variant}");
        world.on_node(&program, &["-w", "5", "-t", "nat", "-N", "SOMEBODYS"]);
        world.on_node(&program, &["-w", "5", "-t", "nat", "-A", "INPUT", "-j", "SOMEBODYS"]);
    }
    for family in [Family::Ip, Family::Ip6] {
        let found = world.place(Asker::Node).run(|| Iptables::open(family).unwrap().variant()).unwrap();
        assert_eq!(found, variant);
    }
    world
}

/// What `iptables-save` says of all tables, without counters; rules of chains without order in one order.
fn rules(world: &World, variant: Variant) -> Vec<String> {
    let text = world.on_node(&format!("iptables-{variant}-save"), &[]);
    let mut lines: Vec<String> =
        text.lines().filter(|line| line.starts_with("-A")).map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

fn served(variant: Variant) -> (World, Cluster<OnNode>) {
    let world = world_with(variant);
    let mut cluster =
        Cluster::new(world.dataplane(Mode::Iptables, Settings::Usual), objects(Settings::Usual));
    assert!(cluster.sync().changes > 0);
    (world, cluster)
}

#[test]
fn what_others_destroy_is_noticed_and_mended() {
    for variant in [Variant::Nft, Variant::Legacy] {
        let (world, mut cluster) = served(variant);
        let wanted = rules(&world, variant);
        let ask = || world.ask(Asker::Pod, Protocol::Tcp, "10.96.0.6:8080");
        let is_served = |reply: &Reply| matches!(reply, Reply::Answer { .. });
        assert!(is_served(&ask()), "{variant}");
        for damage in ["-F", "-F KUBE-SERVICES", "-F OUTPUT", "-D KUBE-POSTROUTING 3"] {
            assert!(!cluster.proxy.may_be_disturbed().unwrap(), "{variant}, before {damage}");
            let arguments: Vec<&str> =
                ["-w", "5", "-t", "nat"].into_iter().chain(damage.split(' ')).collect();
            world.on_node(&format!("iptables-{variant}"), &arguments);
            assert!(cluster.proxy.may_be_disturbed().unwrap(), "{variant}: {damage}");
            assert!(cluster.sync_everything().changes > 0, "{variant}: {damage}");
            let mended = rules(&world, variant);
            let theirs =
                |lines: &[String]| lines.iter().filter(|line| !line.contains("SOMEBODYS")).cloned().collect();
            let (mended, wanted): (Vec<String>, Vec<String>) = (theirs(&mended), theirs(&wanted));
            assert_eq!(mended, wanted, "{variant}: {damage}");
            assert!(is_served(&ask()), "{variant}: {damage}");
            assert_eq!(cluster.sync_everything(), SyncReport::default());
        }
    }
}

#[test]
fn a_cleanup_leaves_what_is_of_others() {
    for variant in [Variant::Nft, Variant::Legacy] {
        let (world, mut cluster) = served(variant);
        cluster.proxy.cleanup().unwrap();
        let left = rules(&world, variant);
        assert_eq!(left, ["-A INPUT -j SOMEBODYS"], "{variant}");
        let chains = world.on_node(&format!("iptables-{variant}-save"), &[]);
        assert!(!chains.contains("KUBE-") && !chains.contains("PORTOLAN-"), "{variant}: {chains}");
        assert!(cluster.sync_everything().changes > 0, "{variant}");
        assert!(matches!(world.ask(Asker::Pod, Protocol::Tcp, "10.96.0.6:8080"), Reply::Answer { .. }));
    }
}
