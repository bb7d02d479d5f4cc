use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use model::{AddressFamily, Changes, Index, Kind, Object, ObjectKey, Service, ServiceKey, ServiceKind};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::histories::{BAD, History, Step, kinds, turned};
use super::{Knock, Node};
use crate::{SyncError, SyncReport};

type Checked<T = ()> = Result<T, TestCaseError>;

/// More than there can be failures in a history.
const TRIES: usize = 100;

/// Plays a history and looks whether the laws hold, on the way and at the end.
pub(crate) fn hold<N: Node>(history: &History) -> Checked {
    let mut world = World::<N>::new(history.turn);
    for step in &history.steps {
        world.take(step)?;
    }
    if !world.is_watched {
        world.list()?;
    }
    world.settle()?;
    let fresh = World::<N>::told_at_once(&world.cluster, history.turn)?;
    same("1 and 2: in whatever order and steps", &world.node.meaning(), &fresh.node.meaning())?;
    world.nothing_is_left_to_do()?;
    world.nothing_bad_blocks_others()?;
    world.nothing_stays_but_what_is_others()
}

/// A cluster, what is told of it, and the node that follows.
struct World<N> {
    cluster: BTreeMap<ObjectKey, Object>,
    /// As much of it as the index has been told.
    told: BTreeMap<ObjectKey, Object>,
    is_watched: bool,
    index: Index,
    node: N,
    /// Some write may still be refused.
    may_fail: bool,
    turn: u64,
}

impl<N: Node> World<N> {
    fn new(turn: u64) -> Self {
        let (cluster, told, mut index) = (BTreeMap::new(), BTreeMap::new(), Index::new());
        Kind::ALL.into_iter().for_each(|kind| index.begin_listing(kind));
        Kind::ALL.into_iter().for_each(|kind| index.end_listing(kind));
        Self { cluster, told, is_watched: true, index, node: N::new(), may_fail: false, turn }
    }

    /// A node that hears of all of it in one listing, and writes once.
    fn told_at_once(cluster: &BTreeMap<ObjectKey, Object>, turn: u64) -> Checked<Self> {
        let mut world = Self::new(turn);
        world.cluster.clone_from(cluster);
        world.index = Index::new();
        world.list()?;
        world.settle()?;
        Ok(world)
    }

    fn take(&mut self, step: &Step) -> Checked {
        match step {
            Step::Sync => {
                if let Some(Err(error)) = self.try_sync() {
                    prop_assert!(self.may_fail, "6: a sync failed: {error}");
                }
            }
            Step::Apply(object) => {
                self.cluster.insert(object.key(), (**object).clone());
                if self.is_watched {
                    self.tell((**object).clone());
                }
            }
            Step::Delete(key) => {
                self.cluster.remove(key);
                if self.is_watched {
                    self.told.remove(key);
                    self.index.delete(key);
                }
            }
            Step::Lose => self.is_watched = false,
            Step::List => self.list()?,
            Step::Restart { littered } => {
                if *littered {
                    self.node.litter();
                }
                self.node.restart();
                self.told.clear();
                self.index = Index::new();
                self.list()?;
            }
            Step::Fail => {
                self.may_fail = true;
                self.node.fail_next();
            }
        }
        Ok(())
    }

    fn tell(&mut self, object: Object) {
        self.told.insert(object.key(), object.clone());
        self.index.apply(object);
    }

    /// A full listing of every kind, during which the proxy goes on.
    fn list(&mut self) -> Checked {
        let kinds = kinds(self.turn);
        kinds.into_iter().for_each(|kind| self.index.begin_listing(kind));
        for kind in kinds {
            let of_kind = self.cluster.values().filter(|object| object.key().kind() == kind);
            let mut objects: Vec<Object> = of_kind.cloned().collect();
            turned(&mut objects, self.turn);
            let half = objects.split_off(objects.len() / 2);
            objects.into_iter().for_each(|object| self.tell(object));
            if kind == kinds[1] {
                self.nothing_goes_while_listing()?;
            }
            half.into_iter().for_each(|object| self.tell(object));
            self.index.end_listing(kind);
            let cluster = &self.cluster;
            self.told.retain(|key, _| key.kind() != kind || cluster.contains_key(key));
        }
        self.is_watched = true;
        Ok(())
    }

    /// Law 4.
    fn nothing_goes_while_listing(&mut self) -> Checked {
        if !self.index.is_in_sync() {
            let writes = self.node.writes();
            prop_assert!(self.try_sync().is_none(), "4: a cluster is told of that is not known whole");
            prop_assert_eq!(self.node.writes(), writes, "4: written before everything is in sync");
            return Ok(());
        }
        self.settle()?;
        let known = Self::told_at_once(&self.told, self.turn)?;
        same("4: while everything is listed again", &self.node.meaning(), &known.node.meaning())
    }

    /// `None` before every kind is in sync.
    fn try_sync(&mut self) -> Option<Result<SyncReport, SyncError>> {
        self.index.snapshot()?;
        let changes = self.index.take_changes();
        self.sync(&changes)
    }

    fn sync(&mut self, changes: &Changes) -> Option<Result<SyncReport, SyncError>> {
        Some(self.node.proxy().sync(&self.index.snapshot()?, changes))
    }

    /// Syncs until that succeeds. Only failures that were ordered may stand in the way.
    fn settle(&mut self) -> Checked {
        for _ in 0..TRIES {
            match self.try_sync() {
                Some(Err(error)) => prop_assert!(self.may_fail, "6: a sync failed: {error}"),
                Some(Ok(_)) => return Ok(()),
                None => prop_assert!(false, "4: everything is listed, and no snapshot is to be had"),
            }
        }
        prop_assert!(false, "6: no sync succeeds");
        Ok(())
    }

    /// Law 3.
    fn nothing_is_left_to_do(&mut self) -> Checked {
        let writes = self.node.writes();
        let nothing = Changes::Services(BTreeSet::new());
        self.is_silent("once more", &nothing)?;
        self.is_silent("all compared", &Changes::Everything)?;
        let before = self.node.meaning();
        self.node.restart();
        if N::KEEPS_OVER_RESTART {
            self.is_silent("after a restart", &Changes::Everything)?;
            prop_assert_eq!(self.node.writes(), writes, "3: there are writes that nobody reported");
            return Ok(());
        }
        self.settle()?;
        same("3: after a restart", &self.node.meaning(), &before)?;
        self.is_silent("all compared after a restart", &Changes::Everything)
    }

    fn is_silent(&mut self, what: &str, changes: &Changes) -> Checked {
        match self.sync(changes) {
            Some(Ok(report)) => prop_assert_eq!(report, SyncReport::default(), "3: {}", what),
            other => prop_assert!(false, "3: {what}: {other:?}"),
        }
        Ok(())
    }

    /// Law 6: whatever the bad Service claims, the doors of the others lead where they lead without it.
    fn nothing_bad_blocks_others(&mut self) -> Checked {
        let bad = ObjectKey::Service(ServiceKey::new("default", BAD));
        if self.cluster.remove(&bad).is_none() {
            return Ok(());
        }
        let knocks = self.knocks();
        let lead = |node: &N| knocks.iter().map(|knock| (*knock, node.lead(knock))).collect::<Vec<_>>();
        let beside = lead(&self.node);
        self.index.delete(&bad);
        self.settle()?;
        for ((knock, beside), (_, without)) in beside.iter().zip(lead(&self.node)) {
            prop_assert_eq!(beside, &without, "6: beside a bad Service and without it, {:?}", knock);
        }
        Ok(())
    }

    /// At every door of IPv4 that some Service has.
    fn knocks(&self) -> Vec<Knock> {
        let services = self.cluster.values().filter_map(|object| match object {
            Object::Service(service) if service.is_proxied() => Some(service),
            _ => None,
        });
        services.flat_map(doors).flat_map(|(protocol, door)| Knock::all(protocol, door)).collect()
    }

    /// Law 5.
    fn nothing_stays_but_what_is_others(&mut self) -> Checked {
        let done = (0..TRIES).any(|_| self.node.proxy().cleanup().is_ok());
        prop_assert!(done, "5: no cleanup succeeds");
        same("5: after a cleanup, and before anything", &self.node.kernel(), &N::new().kernel())
    }
}

fn doors(service: &Service) -> Vec<(model::Protocol, SocketAddr)> {
    let balanced: &[IpAddr] = match service.kind {
        ServiceKind::LoadBalancer => &service.load_balancer.addresses,
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::ExternalName(_) => &[],
    };
    let addresses: Vec<IpAddr> = [&service.cluster_addresses, &service.external_addresses, balanced]
        .into_iter()
        .flatten()
        .copied()
        .filter(|address| AddressFamily::of(*address) == AddressFamily::V4)
        .collect();
    let of_port = |port: &model::ServicePort| {
        let (protocol, number) = (port.protocol, port.port.number());
        let node = port.node_port.map(|port| SocketAddr::new([10, 100, 0, 2].into(), port.number()));
        let at = addresses.iter().map(move |address| SocketAddr::new(*address, number));
        at.chain(node).map(move |door| (protocol, door)).collect::<Vec<_>>()
    };
    service.ports.iter().flat_map(of_port).collect()
}

/// Only what differs is told.
fn same<T: PartialEq + Debug>(law: &str, one: &T, other: &T) -> Checked {
    if one == other {
        return Ok(());
    }
    let [one, other] = [one, other].map(|state| format!("{state:#?}"));
    let [first, second] = [&one, &other].map(|text| text.lines().collect::<Vec<_>>());
    let alike = first.iter().zip(&second).take_while(|(one, other)| one == other).count();
    let some = |lines: &[&str]| lines[alike.saturating_sub(8)..lines.len().min(alike + 12)].join("\n");
    Err(TestCaseError::fail(format!("{law}:\n{}\n-- and --\n{}", some(&first), some(&second))))
}
