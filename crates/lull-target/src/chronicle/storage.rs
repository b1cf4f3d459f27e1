//! What of the storage a restart waits for [TIMER-5].

use super::Chronicle;
use lull_admin::NotReady;
use lull_proto::target::Phase;
use lull_wire::RestartId;
use std::collections::BTreeMap;

/// The backends whose flush a restart has begun and not seen the end of. One that hangs outlives the restart that gave
/// it up, beside that of the next.
pub(super) type Unflushed = BTreeMap<(RestartId, usize), NotReady>;

impl Chronicle {
    /// A restart flushes a backend.
    pub fn flushing(&mut self, restart: RestartId, at: usize, resource: &str, backend: &str) {
        let because = format!("its disk has not finished a flush ({backend})");
        let attachment = resource.to_owned();
        let late = NotReady { initiator: self.node.clone(), attachment, because };
        self.unflushed.insert((restart, at), late);
    }

    /// It is flushed, or cannot be.
    pub fn flushed(&mut self, restart: RestartId, at: usize) {
        self.unflushed.remove(&(restart, at));
    }

    /// What of the storage the restart waits for in this phase of it.
    pub fn storage_late(&self, phase: &Phase) -> Vec<NotReady> {
        match phase {
            Phase::Settling { .. } => self.unflushed(),
            Phase::Intending { .. } | Phase::Sealing { .. } | Phase::Revoking { .. } => {
                self.unwritten()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn unflushed(&self) -> Vec<NotReady> {
        let current = self.current().map_or(0, |record| record.id);
        let of_current = self.unflushed.iter().filter(|((id, _), _)| id.0 == current);
        of_current.map(|(_, late)| late.clone()).collect()
    }

    pub(super) fn unwritten(&self) -> Vec<NotReady> {
        let because = "its state directory has not taken the record of the restart".to_owned();
        vec![NotReady { initiator: self.node.clone(), attachment: String::new(), because }]
    }
}
