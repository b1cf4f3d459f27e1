//! The state of an initiator that does not run, for people.

use std::path::Path;

use lull_admin::{AttachmentPhase, AttachmentStatus, InitiatorStatus, Status};

use crate::state_file::{StateError, Stored, is_in_use, read_stored};

/// The attachments that have a file in the directory, by name.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| {
        entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)
    };
    let mut names: Vec<_> = entries.filter_map(name).collect();
    names.sort();
    names
}

/// Whether the directory holds an initiator's state.
pub fn has_state(dir: &Path) -> bool {
    !names(dir).is_empty()
}

/// Its attachments as the daemon left them: all of them away, with what their targets know them by.
///
/// # Errors
/// A daemon runs on it, or a file cannot be read, or is not what was written.
pub fn stored_status(dir: &Path) -> Result<Status, StateError> {
    let mut of = InitiatorStatus::default();
    for name in names(dir) {
        if is_in_use(dir, &name) {
            return Err(StateError::Runs { dir: dir.to_owned() });
        }
        let Stored { node, epoch, incarnation } = read_stored(dir, &name)?;
        of.name = node;
        let phase = AttachmentPhase::Away;
        of.attachments.push(AttachmentStatus {
            name,
            phase,
            epoch,
            incarnation,
            ..Default::default()
        });
    }
    Ok(Status { name: of.name.clone(), initiator: Some(of), ..Status::default() })
}
