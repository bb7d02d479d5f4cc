//! Bringing what was written down into line with what the runtime still has, when the agent comes back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::facts::{ContainerFacts, Exit, Facts, Run};
use super::ports::{ExitCause, KnownState};

/// Exit code of a container that vanished: that of KILL.
const VANISHED: i32 = 137;

/// The runtime's id of one run of a container. It follows from what is on disk before the run begins, so that
/// an agent killed in between still knows its container.
#[must_use]
pub fn container_id(uid: &str, container: &str, attempt: u32) -> String {
    let digest = Sha256::digest(format!("{uid}/{container}/{attempt}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Brings the facts of the pod `uid` up to date with the runtime's containers.
pub fn adopt(uid: &str, facts: &mut Facts, known: &BTreeMap<String, KnownState>, now: Timestamp) {
    for (name, container) in &mut facts.containers {
        let begun = container_id(uid, name, container.attempts);
        adopt_container(container, begun, known, now);
    }
}

/// The ids that the facts speak of: those of other containers belong to nobody.
#[must_use]
pub fn owned(facts: &Facts) -> BTreeSet<String> {
    facts
        .containers
        .values()
        .filter_map(|container| match &container.run {
            Run::Running { id, .. } => Some(id.clone()),
            Run::Exited(exit) if !exit.removed => Some(exit.id.clone()),
            Run::Exited(_) | Run::Never => None,
        })
        .collect()
}

fn adopt_container(
    container: &mut ContainerFacts,
    begun: String,
    known: &BTreeMap<String, KnownState>,
    now: Timestamp,
) {
    let noted = match &container.run {
        Run::Running { id, .. } => Some(id.clone()),
        Run::Exited(exit) => Some(exit.id.clone()),
        Run::Never => None,
    };
    // A start that was cut off after the container had come up.
    if noted.as_ref() != Some(&begun)
        && let Some(KnownState::Running { started } | KnownState::Exited { started, .. }) = known.get(&begun)
    {
        container.started(begun, *started);
        container.awaits(true, false);
    }
    let Run::Running { id, started } = &container.run else { return };
    let (code, cause, finished) = match known.get(id) {
        Some(KnownState::Running { .. }) => {
            // Written down before it was sent, so perhaps never sent: a second one does no harm.
            if let Some(stop) = &mut container.stop {
                (stop.signalled, stop.killed) = (None, None);
            }
            return;
        }
        Some(KnownState::Exited { exit, .. }) => (exit.code, exit.cause, exit.finished),
        Some(KnownState::Created) | None => (VANISHED, ExitCause::Lost, now),
    };
    let exit = Exit {
        id: id.clone(),
        code,
        cause,
        started: *started,
        finished,
        removed: false,
        message: String::new(),
    };
    container.exited(exit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::ports::ExitReport;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts(attempts: u32, run: Run) -> Facts {
        let mut facts = Facts::new(at(0));
        *facts.container_mut("c") = ContainerFacts { attempts, run, ..ContainerFacts::default() };
        facts
    }

    #[test]
    fn what_runs_is_left_alone() {
        let id = container_id("u", "c", 1);
        let before = facts(1, Run::Running { id: id.clone(), started: at(1) });
        let mut after = before.clone();
        adopt("u", &mut after, &BTreeMap::from([(id, KnownState::Running { started: at(1) })]), at(9));
        assert_eq!(before, after);
    }

    #[test]
    fn a_start_cut_off_is_found_again() {
        let id = container_id("u", "c", 1);
        let mut facts = facts(1, Run::Never);
        adopt(
            "u",
            &mut facts,
            &BTreeMap::from([(id.clone(), KnownState::Running { started: at(2) })]),
            at(9),
        );
        assert_eq!(facts.containers["c"].run, Run::Running { id: id.clone(), started: at(2) });
        assert_eq!(owned(&facts), BTreeSet::from([id]));
    }

    #[test]
    fn an_exit_while_away_is_noted() {
        let id = container_id("u", "c", 1);
        let exit = ExitReport { code: 3, finished: at(5), cause: ExitCause::Process };
        let known = BTreeMap::from([(id.clone(), KnownState::Exited { started: at(1), exit })]);
        let mut facts = facts(1, Run::Running { id, started: at(1) });
        adopt("u", &mut facts, &known, at(9));
        let Run::Exited(exit) = &facts.containers["c"].run else { panic!("still running") };
        assert_eq!((exit.code, exit.finished), (3, at(5)));
    }

    #[test]
    fn a_container_that_vanished_has_ended() {
        let mut facts = facts(1, Run::Running { id: container_id("u", "c", 1), started: at(1) });
        adopt("u", &mut facts, &BTreeMap::new(), at(9));
        let Run::Exited(exit) = &facts.containers["c"].run else { panic!("still running") };
        assert_eq!((exit.code, exit.cause), (137, ExitCause::Lost));
    }
}
