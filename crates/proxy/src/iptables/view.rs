//! Doors by service port: the doors of one share its chains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{EndpointAddress, Protocol, ServiceKey, ServicePortName, TrafficPolicy};

use crate::books::Fragment;
use crate::doors::{Behind, Door, DoorKind, Ends, PortPlan};

/// How many endpoints there are, of each service port.
pub(super) fn endpoints(fragment: &Fragment) -> usize {
    views(fragment, None).values().map(|view| view.endpoints().len()).sum()
}

/// One service port with the doors that lead to it.
pub(super) struct View<'a> {
    pub port: &'a PortPlan,
    pub protocol: Protocol,
    pub doors: Vec<(&'a Door, &'a Arc<Behind>)>,
}

/// The service ports of these services, or of all, by name and protocol.
pub(super) fn views<'a>(
    fragment: &'a Fragment,
    services: Option<&BTreeSet<ServiceKey>>,
) -> BTreeMap<(&'a ServicePortName, Protocol), View<'a>> {
    let mut views = BTreeMap::new();
    let told = |behind: &Behind| services.is_none_or(|services| services.contains(&behind.name().service));
    for (door, behind) in fragment.doors.iter().filter(|(_, behind)| told(behind)) {
        let protocol = door.protocol();
        let view = views.entry((behind.name(), protocol)).or_insert_with(|| View {
            port: behind.port(),
            protocol,
            doors: Vec::new(),
        });
        view.doors.push((door, behind));
    }
    views
}

impl View<'_> {
    /// A door of those that lead in from outside; they are all alike.
    pub fn outer(&self) -> Option<&Behind> {
        let mut outer = self.doors.iter().filter(|(_, behind)| behind.kind != DoorKind::Cluster);
        outer.next().map(|(_, behind)| &***behind)
    }

    pub fn local_only_inside(&self) -> bool {
        let local = |behind: &Behind| behind.policy() == TrafficPolicy::Local;
        self.doors.iter().any(|(_, behind)| behind.kind == DoorKind::Cluster && local(behind))
    }

    /// The endpoints of the cluster, when some door leads to them.
    pub fn cluster(&self) -> Option<&Ends> {
        let inside =
            |behind: &Behind| behind.kind != DoorKind::Cluster || behind.policy() != TrafficPolicy::Local;
        let used = self.doors.iter().any(|(_, behind)| inside(behind));
        Some(&self.port.cluster).filter(|ends| used && !ends.slots.is_empty())
    }

    /// The endpoints of this node, when some door leads to them alone.
    pub fn local(&self) -> Option<&Ends> {
        let used = self.local_only_inside() || self.outer().is_some_and(|behind| behind.outside().is_some());
        self.port.local.as_ref().filter(|ends| used && !ends.slots.is_empty())
    }

    pub fn endpoints(&self) -> BTreeSet<EndpointAddress> {
        [self.cluster(), self.local()].into_iter().flatten().flat_map(|ends| &ends.slots).copied().collect()
    }
}
