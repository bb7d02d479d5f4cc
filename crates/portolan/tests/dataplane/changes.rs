//! The table among others, over restarts and under other people's hands.

use model::Protocol;
use proxy::{Dataplane as _, SyncReport};

use crate::asking::{Asker, Reply};
use crate::cases::{Settings, objects};
use crate::cluster::{ALL, Cluster, httpd};
use crate::world::World;

const FOREIGN: &str = "table ip foreign {
    set keep { type ipv4_addr; elements = { 10.96.0.6 }; }
    chain forward { type filter hook forward priority 0; ip daddr @keep accept; }
}";

/// Everything but the service table.
fn foreign(world: &World) -> String {
    world.nft("list table ip foreign") + &world.nft("list table ip portolan-podnet")
}

#[test]
fn a_restart_without_memory_removes_exactly_our_orphans() {
    let world = World::new();
    world.nft(FOREIGN);
    let mut cluster = Cluster::new(world.proxy(), objects(Settings::Usual));
    cluster.sync();
    let (table, others) = (world.service_table(), foreign(&world));

    let mut before = std::mem::replace(&mut cluster.proxy, world.proxy());
    assert_eq!(cluster.sync(), SyncReport::default(), "equal states write nothing");
    assert!(!before.may_be_disturbed().unwrap(), "nor has the kernel seen a commit");

    for orphan in [
        "add chain ip portolan-services cluster-7",
        "add element ip portolan-services shapes { 100:7 : goto cluster-7 }",
        "add element ip portolan-services services { 10.96.0.99 . tcp . 80 : 1000:1 }",
        "add element ip portolan-services hairpin { 10.244.1.9 . 10.244.1.9 }",
        "add rule ip portolan-services refuse drop",
    ] {
        world.nft(orphan);
    }
    cluster.proxy = world.proxy();
    // The chain, three elements, and the two rules of the chain that had one too many.
    assert_eq!(cluster.sync().changes, 6);
    assert_eq!(world.service_table(), table);
    assert_eq!(foreign(&world), others);

    cluster.proxy.cleanup().unwrap();
    assert!(!world.nft("list tables").contains("portolan-services"));
    assert_eq!(foreign(&world), others);
}

#[test]
fn what_others_destroy_is_noticed_and_mended() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), objects(Settings::Usual));
    cluster.sync();
    // The last of them, so that the others are in the slots that a first sync gives them.
    cluster.apply(httpd(&ALL[..2]));
    let table = world.service_table();
    let ask = || world.ask(Asker::Pod, Protocol::Tcp, "10.96.0.7:8080");
    let served = ask();
    for damage in [
        "flush table ip portolan-services",
        "flush map ip portolan-services endpoints",
        "delete table ip portolan-services",
        "delete element ip portolan-services services { 10.96.0.7 . tcp . 8080 }",
    ] {
        assert!(!cluster.proxy.may_be_disturbed().unwrap(), "before {damage}");
        world.nft(damage);
        assert_ne!(ask(), served, "{damage}");
        assert!(cluster.proxy.may_be_disturbed().unwrap(), "{damage}");
        assert!(cluster.sync_everything().changes > 0, "{damage}");
        assert_eq!(world.service_table(), table, "{damage}");
        assert_eq!(ask(), served, "{damage}");
    }
    world.nft(FOREIGN);
    assert!(cluster.proxy.may_be_disturbed().unwrap(), "it cannot know what was written");
    assert_eq!(cluster.sync_everything(), SyncReport::default());
    assert!(!cluster.proxy.may_be_disturbed().unwrap());
}

/// Losing the API server, or restarting beside one that has not told everything yet, takes nothing away.
#[test]
fn nothing_is_written_before_everything_is_known() {
    let world = World::new();
    let mut cluster = Cluster::new(world.proxy(), httpd(&ALL));
    cluster.sync();
    cluster.index = model::Index::new();
    cluster.index.apply(httpd(&ALL)[0].clone());
    assert!(cluster.index.snapshot().is_none());
    assert!(matches!(world.ask(Asker::Pod, Protocol::Tcp, "10.96.0.6:8080"), Reply::Answer { .. }));
}
