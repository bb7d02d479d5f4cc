use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{IpsetError, IpsetPort, Member, Op, Set, SetName, Sets};

const ENOENT: i32 = 2;
const EEXIST: i32 = 17;
const IN_USE: i32 = 4100;

/// Sets in memory that refuse what the kernel refuses. Clones share them, so a test keeps one while a driver owns the
/// other.
#[derive(Debug, Clone, Default)]
pub struct FakeIpset {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sets: Sets,
    in_use: BTreeSet<SetName>,
    commits: Vec<Vec<Op>>,
    failures: Vec<i32>,
}

impl FakeIpset {
    /// No sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// All sets now.
    pub fn sets(&self) -> Sets {
        self.lock().sets.clone()
    }

    /// Changes the sets as if somebody else had.
    pub fn change(&self, change: impl FnOnce(&mut Sets)) {
        change(&mut self.lock().sets);
    }

    /// Sets on which rules match from now on; they cannot be destroyed.
    pub fn set_in_use(&self, sets: impl IntoIterator<Item = SetName>) {
        self.lock().in_use = sets.into_iter().collect();
    }

    /// Everything that was committed so far, empty ones left out.
    pub fn commits(&self) -> Vec<Vec<Op>> {
        self.lock().commits.clone()
    }

    /// Lets the next commit fail with this error number and change nothing.
    pub fn fail_next_commit(&self, errno: i32) {
        self.lock().failures.push(errno);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IpsetPort for FakeIpset {
    fn observe(&mut self, prefix: &str) -> Result<Sets, IpsetError> {
        let state = self.lock();
        let named = state.sets.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        Ok(named.map(|(name, set)| (name.clone(), set.clone())).collect())
    }

    fn counts(&mut self, prefix: &str) -> Result<BTreeMap<SetName, usize>, IpsetError> {
        Ok(self.observe(prefix)?.into_iter().map(|(name, set)| (name, set.members.len())).collect())
    }

    fn commit(&mut self, ops: &[Op]) -> Result<(), IpsetError> {
        if ops.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        if !state.failures.is_empty() {
            let source = io::Error::from_raw_os_error(state.failures.remove(0));
            return Err(IpsetError::Kernel { doing: "commit", source });
        }
        state.commits.push(ops.to_vec());
        let mut first = Ok(());
        for op in ops {
            first = first.and(state.apply(op));
        }
        first
    }
}

impl State {
    fn apply(&mut self, op: &Op) -> Result<(), IpsetError> {
        let refused =
            |errno| IpsetError::Refused { op: op.to_string(), source: io::Error::from_raw_os_error(errno) };
        let unwritable =
            || IpsetError::Unwritable { op: op.to_string(), reason: "of another kind".to_owned() };
        match op {
            Op::Create { set, definition } => {
                if self.sets.contains_key(set) {
                    return Err(refused(EEXIST));
                }
                self.sets.insert(set.clone(), Set::new(definition.kind, definition.family));
            }
            Op::Destroy { set } => {
                if self.in_use.contains(set) {
                    return Err(refused(IN_USE));
                }
                self.sets.remove(set).ok_or_else(|| refused(ENOENT))?;
            }
            Op::Add { set, members } => {
                let set = self.sets.get_mut(set).ok_or_else(|| refused(ENOENT))?;
                for member in members {
                    if !member.fits(&set.definition) {
                        return Err(unwritable());
                    }
                    if let Member::IpPortMark(at, _) = member {
                        set.members.retain(|one| !matches!(one, Member::IpPortMark(other, _) if other == at));
                    }
                    set.members.insert(*member);
                }
            }
            Op::Delete { set, members } => {
                let set = self.sets.get_mut(set).ok_or_else(|| refused(ENOENT))?;
                members.iter().for_each(|member| {
                    set.members.remove(member);
                });
            }
        }
        Ok(())
    }
}
