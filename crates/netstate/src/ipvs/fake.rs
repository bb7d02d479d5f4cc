use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Destination, IpvsError, IpvsPort, Op, ServiceId, Settings, Table, VirtualService};

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EEXIST: i32 = 17;

/// IPVS in memory that refuses what the kernel refuses. Clones share it, so a test keeps one while a driver owns the
/// other.
///
/// Deliberately absent: time (who is remembered stays so) and every scheduler but one: it asks chance.
#[derive(Debug, Clone, Default)]
pub struct FakeIpvs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    /// Where a client of a persistent service was led.
    remembered: BTreeMap<(ServiceId, IpAddr), SocketAddr>,
    commits: Vec<Vec<Op>>,
    failures: Vec<i32>,
    missing: bool,
}

impl FakeIpvs {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// A kernel without IPVS.
    pub fn missing() -> Self {
        let fake = Self::default();
        fake.lock().missing = true;
        fake
    }

    /// The table as it is now.
    pub fn table(&self) -> Table {
        self.lock().table.clone()
    }

    /// Changes the table as if somebody else, or traffic, had.
    pub fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.lock().table);
    }

    /// Everything that was committed so far, empty ones left out.
    pub fn commits(&self) -> Vec<Vec<Op>> {
        self.lock().commits.clone()
    }

    /// Lets the next commit fail with this error number and change nothing.
    pub fn fail_next_commit(&self, errno: i32) {
        self.lock().failures.push(errno);
    }

    /// What happens to the first packet of a connection from `client`: `None` when no virtual service is for it,
    /// `Some(None)` when it is refused, or where it is led. `random` is asked for a number below its argument.
    pub fn schedule(
        &self,
        id: &ServiceId,
        client: IpAddr,
        random: &mut dyn FnMut(u32) -> u32,
    ) -> Option<Option<SocketAddr>> {
        let mut state = self.lock();
        let service = state.table.get(id)?;
        let open = |to: &SocketAddr| service.destinations.get(to).is_some_and(|one| one.weight > 0);
        let candidates: Vec<SocketAddr> = service.destinations.keys().copied().filter(open).collect();
        let sticky = service.settings.persistence.is_some();
        // The kernel forgets who was led to a destination of weight 0 (`expire_quiescent_template`).
        let known =
            state.remembered.get(&(*id, client)).copied().filter(|to| sticky && candidates.contains(to));
        let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        let chosen = match known {
            Some(to) => Some(to),
            None if count == 0 => None,
            None => candidates.get(random(count) as usize).copied(),
        };
        if let (true, Some(to)) = (sticky, chosen) {
            state.remembered.insert((*id, client), to);
        }
        Some(chosen)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> Result<MutexGuard<'_, State>, IpvsError> {
        let state = self.lock();
        if state.missing { Err(IpvsError::Missing) } else { Ok(state) }
    }
}

impl IpvsPort for FakeIpvs {
    fn services(&mut self) -> Result<BTreeMap<ServiceId, Settings>, IpvsError> {
        let state = self.there()?;
        Ok(state.table.iter().map(|(id, service)| (*id, service.settings.clone())).collect())
    }

    fn destinations(&mut self, id: &ServiceId) -> Result<BTreeMap<SocketAddr, Destination>, IpvsError> {
        let state = self.there()?;
        Ok(state.table.get(id).map(|service| service.destinations.clone()).unwrap_or_default())
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), IpvsError> {
        let mut state = self.there()?;
        if ops.is_empty() {
            return Ok(());
        }
        if !state.failures.is_empty() {
            let source = io::Error::from_raw_os_error(state.failures.remove(0));
            return Err(IpvsError::Kernel { doing: "commit", source });
        }
        state.commits.push(ops.to_vec());
        let mut first = Ok(());
        for op in ops {
            if let Err(errno) = apply(&mut state.table, op)
                && first.is_ok()
            {
                let source = io::Error::from_raw_os_error(errno);
                first = Err(IpvsError::Refused { op: op.to_string(), source });
            }
        }
        first
    }
}

fn apply(table: &mut Table, op: &Op) -> Result<(), i32> {
    match op {
        Op::AddService { id, settings } => {
            if table.contains_key(id) {
                return Err(EEXIST);
            }
            let service = VirtualService { settings: settings.clone(), destinations: BTreeMap::new() };
            table.insert(*id, service);
        }
        Op::SetService { id, settings } => table.get_mut(id).ok_or(ESRCH)?.settings = settings.clone(),
        Op::DeleteService { id } => {
            table.remove(id).ok_or(ESRCH)?;
        }
        Op::AddDestination { id, to, weight } => {
            let service = table.get_mut(id).ok_or(ESRCH)?;
            if service.destinations.contains_key(to) {
                return Err(EEXIST);
            }
            service.destinations.insert(*to, Destination { weight: *weight, ..Destination::masquerade() });
        }
        Op::SetWeight { id, to, weight } => {
            let service = table.get_mut(id).ok_or(ESRCH)?;
            service.destinations.get_mut(to).ok_or(ENOENT)?.weight = *weight;
        }
        Op::DeleteDestination { id, to } => {
            table.get_mut(id).ok_or(ESRCH)?.destinations.remove(to).ok_or(ENOENT)?;
        }
    }
    Ok(())
}
