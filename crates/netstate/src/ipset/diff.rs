use super::{Definition, Member, SetName, Sets};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Makes an empty set.
    Create {
        /// Its name.
        set: SetName,
        /// What it is like.
        definition: Definition,
    },
    /// Removes a set. The kernel refuses while a rule matches on it.
    Destroy {
        /// Which set.
        set: SetName,
    },
    /// Puts members in.
    Add {
        /// Into which set.
        set: SetName,
        /// At least one.
        members: Vec<Member>,
    },
    /// Takes members out.
    Delete {
        /// From which set.
        set: SetName,
        /// At least one.
        members: Vec<Member>,
    },
}

/// The operations that lead from what is to what is wanted. Members that come are put in before others go.
///
/// A set that is like another than is wanted is made anew, which the kernel refuses while a rule matches on it.
pub fn diff(observed: &Sets, desired: &Sets) -> Vec<Op> {
    let mut ops: Vec<Op> = observed
        .iter()
        .filter(|(name, found)| desired.get(*name).is_none_or(|wanted| wanted.definition != found.definition))
        .map(|(name, _)| Op::Destroy { set: name.clone() })
        .collect();
    let mut deletions = Vec::new();
    for (name, wanted) in desired {
        let found = observed.get(name).filter(|found| found.definition == wanted.definition);
        if found.is_none() {
            ops.push(Op::Create { set: name.clone(), definition: wanted.definition });
        }
        let missing = |member: &&Member| found.is_none_or(|found| !found.members.contains(member));
        let members: Vec<Member> = wanted.members.iter().filter(missing).copied().collect();
        if !members.is_empty() {
            ops.push(Op::Add { set: name.clone(), members });
        }
        let stale = found.into_iter().flat_map(|found| found.members.difference(&wanted.members));
        // The same address and port with another mark is one member to the kernel: adding it has replaced the other.
        let replaced = |member: &Member| match member {
            Member::IpPortMark(at, _) => wanted
                .members
                .range(Member::IpPortMark(*at, 0)..=Member::IpPortMark(*at, u32::MAX))
                .next()
                .is_some(),
            _ => false,
        };
        let members: Vec<Member> = stale.filter(|member| !replaced(member)).copied().collect();
        if !members.is_empty() {
            deletions.push(Op::Delete { set: name.clone(), members });
        }
    }
    ops.extend(deletions);
    ops
}
