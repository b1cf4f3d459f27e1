//! The state of a target that does not run, for people.

use super::rows::RESTARTS;
use super::{FILE, Fault, Remembered, StoreError, format, read_all};
use lull_admin::{
    ResourceStatus, RestartRecord, SessionPhase, SessionStatus, Status, TargetPhase, TargetStatus,
};
use redb::{ReadOnlyDatabase, ReadableDatabase, ReadableTable};
use std::path::{Path, PathBuf};

fn open(dir: &Path) -> Result<(ReadOnlyDatabase, PathBuf), StoreError> {
    let file = dir.join(FILE);
    if !file.exists() {
        return Err(StoreError::Missing { dir: dir.to_owned() });
    }
    match ReadOnlyDatabase::open(&file) {
        Ok(database) => Ok((database, file)),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
            Err(StoreError::Runs { dir: dir.to_owned() })
        }
        // A daemon that was killed leaves a log behind, which only a writer may apply.
        Err(redb::DatabaseError::RepairAborted) => {
            drop(
                redb::Database::open(&file)
                    .map_err(|error| super::not_opened(dir, &file, error))?,
            );
            let database = ReadOnlyDatabase::open(&file)
                .map_err(|error| super::not_opened(dir, &file, error))?;
            Ok((database, file))
        }
        Err(error) => Err(super::not_opened(dir, &file, error)),
    }
}

/// Whether the directory holds a target's state.
pub fn has_state(dir: &Path) -> bool {
    dir.join(FILE).exists()
}

/// All of it, as the daemon left it.
pub(super) fn remembered(dir: &Path) -> Result<Remembered, StoreError> {
    let (database, file) = open(dir)?;
    read_all(&database).map_err(|fault| fault.at(&file))
}

/// Resources and roster as the daemon left them: everybody is lost.
///
/// # Errors
/// Where there is no state, it is in use, or it cannot be read.
pub fn status(dir: &Path) -> Result<Status, StoreError> {
    let (database, file) = open(dir)?;
    let remembered = read_all(&database).map_err(|fault| fault.at(&file))?;
    let resources = remembered.resources.iter().map(|(name, row)| ResourceStatus {
        name: name.clone(),
        backend: row.backend.clone(),
        size: row.size,
        incarnation: row.incarnation.clone(),
        tenure: row.tenure,
        ..ResourceStatus::default()
    });
    let initiators = remembered.seats.iter().map(|seat| SessionStatus {
        initiator: seat.node.clone(),
        attachment: seat.resource.clone(),
        resource: seat.resource.clone(),
        access: crate::daemon::access(lull_wire::Access::from(seat.access)),
        phase: SessionPhase::Lost,
        epoch: seat.epoch,
        instance: seat.instance.clone(),
        hold_ms: seat.hold_ms,
        ..SessionStatus::default()
    });
    // The state does not name its node; the last restart does.
    let last = records(&database).map_err(|fault| fault.at(&file))?.pop();
    let name = last.map(|record| record.node).unwrap_or_default();
    let target = TargetStatus {
        name: name.clone(),
        phase: TargetPhase::Down,
        resources: resources.collect(),
        initiators: initiators.collect(),
        ..TargetStatus::default()
    };
    Ok(Status { name, target: Some(target), ..Status::default() })
}

/// Every restart that is remembered, the newest last.
///
/// # Errors
/// Where there is no state, it is in use, or it cannot be read.
pub fn histories(dir: &Path) -> Result<Vec<RestartRecord>, StoreError> {
    let (database, file) = open(dir)?;
    records(&database).map_err(|fault| fault.at(&file))
}

pub(super) fn records(database: &impl ReadableDatabase) -> Result<Vec<RestartRecord>, Fault> {
    let transaction = database.begin_read()?;
    format::known(&transaction)?;
    let mut records = Vec::new();
    for row in transaction.open_table(RESTARTS)?.iter()? {
        records.push(serde_json::from_str(row?.1.value())?);
    }
    Ok(records)
}
