//! Which container, or which pod, a session is with.

use super::{SessionError, Sessions};
use crate::containers::ContainerId;
use crate::pods::facts::{Run, Sandbox, SandboxFacts};
use crate::pods::record::Record;

/// A pod of this node.
#[derive(Debug)]
pub(super) struct Target {
    record: Record,
    pod: String,
}

impl Target {
    pub(super) fn find(sessions: &Sessions, namespace: &str, pod: &str) -> Result<Self, SessionError> {
        let missing = || SessionError::NoPod { namespace: namespace.to_owned(), pod: pod.to_owned() };
        let uid = sessions.catalog.find(namespace, pod).ok_or_else(missing)?;
        let record = sessions.records.pod(&uid).load()?.ok_or_else(missing)?;
        Ok(Self { record, pod: pod.to_owned() })
    }

    /// The pod's name.
    pub(super) fn name(&self) -> &str {
        &self.pod
    }

    /// The pod's uid.
    pub(super) fn uid(&self) -> &str {
        self.record.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The run of a container that goes on now.
    pub(super) fn container(&self, name: &str) -> Result<ContainerId, SessionError> {
        let missing = || SessionError::NoContainer { container: name.to_owned() };
        match self.record.facts.containers.get(name).map(|known| &known.run) {
            Some(Run::Running { id, .. }) => id.parse().map_err(|_| missing()),
            Some(Run::Never | Run::Exited(_)) | None => Err(missing()),
        }
    }

    /// The pod's sandbox, while it is up.
    pub(super) fn sandbox(&self) -> Result<&SandboxFacts, SessionError> {
        match &self.record.facts.sandbox {
            Sandbox::Ready(facts) => Ok(facts),
            Sandbox::Absent | Sandbox::Unfinished | Sandbox::Lost(_) => {
                Err(SessionError::NotRunning { pod: self.pod.clone() })
            }
        }
    }
}
