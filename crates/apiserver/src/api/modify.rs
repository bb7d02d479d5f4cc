//! Changing a stored object: read, make the new state, write; again when somebody else was faster.

use serde_json::Value;

use super::read::parsed;
use super::target::Target;
use super::{Api, write_failed};
use crate::kinds::Reservation;
use crate::status::Status;
use crate::store::{Operation, Record, WriteError};

/// How often a change is made anew because of others.
const ATTEMPTS: usize = 50;

/// What becomes of an object.
pub(super) enum Change {
    /// It stays as it is.
    Keep,
    /// It gets this state.
    Store { object: Value, reservation: Reservation },
    /// It goes; this is its last state.
    Remove { object: Value, reservation: Reservation },
}

/// The outcome of a change.
pub(super) struct Modified {
    /// The object as stored, or its last state.
    pub(super) record: Record,
    /// It is gone.
    pub(super) removed: bool,
}

impl Api {
    /// Applies `step` to the object of the path. In a dry run everything but the write is done.
    pub(super) async fn modify(
        &self,
        target: &Target,
        dry_run: bool,
        mut step: impl FnMut(&Value, &Record) -> Result<Change, Status>,
    ) -> Result<Modified, Status> {
        let mut attempts = 0;
        loop {
            let record = self.stored(target)?;
            let old = parsed(&record)?;
            let (key, expected) = (record.key.clone(), record.revision);
            let (operation, reservation, removed) = match step(&old, &record)? {
                Change::Keep => return Ok(Modified { record, removed: false }),
                Change::Store { object, reservation } if dry_run => {
                    drop(reservation);
                    return Ok(unwritten(record, &object, false));
                }
                Change::Remove { object, reservation } if dry_run => {
                    drop(reservation);
                    return Ok(unwritten(record, &object, true));
                }
                Change::Store { object, reservation } => {
                    (Operation::Update { key, expected, object }, reservation, false)
                }
                Change::Remove { object, reservation } => {
                    (Operation::Delete { key, expected, object }, reservation, true)
                }
            };
            match self.store.write(operation).await {
                Ok(record) => {
                    reservation.commit();
                    return Ok(Modified { record, removed });
                }
                Err(WriteError::Modified | WriteError::Missing) if attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(write_failed(&target.served.kind, &target.name, &error)),
            }
        }
    }
}

/// The record as it would be, with the revision it has.
fn unwritten(record: Record, object: &Value, removed: bool) -> Modified {
    Modified { record: Record { json: object.to_string().into(), ..record }, removed }
}
