//! The rows of the database.

use super::Table;
use lull_proto::ledger::Outcomes;
use lull_proto::target::{Entry, ResourceIndex};
use lull_wire::messages::{Address, Name};
use lull_wire::{Access, Epoch, Incarnation, RequestNumber, ResourceId, StatusCode, Tenure};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
pub(super) const NOTES: Table = Table::new("notes");
pub(super) const RESOURCES: Table = Table::new("resources");
pub(super) const ROSTER: Table = Table::new("roster");
pub(super) const OUTCOMES: Table = Table::new("outcomes");
pub(super) const RESTARTS: TableDefinition<'static, u64, &str> = TableDefinition::new("restarts");

/// What is kept of a resource, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRow {
    /// What it is, in hexadecimal digits.
    pub identity: String,
    /// Whether its medium carries the identity: one that once did and does not is another one [SAFE-8].
    #[serde(default)]
    pub marked: bool,
    /// What the kernel calls it, where it is a block device: one of another name, or smaller, is another one [SAFE-8].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its last incarnation, in hexadecimal digits.
    pub incarnation: String,
    /// Its writer's tenure.
    pub tenure: u64,
    /// What it rested on last, for people.
    pub backend: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A place on the roster, by its attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRow {
    /// Which attachment, in hexadecimal digits.
    pub attachment: String,
    /// The initiator's name.
    pub node: String,
    /// The resource's name.
    pub resource: String,
    /// The number of its access.
    pub access: u8,
    /// The owner's instance, in hexadecimal digits.
    pub instance: String,
    /// The last ATTACH.
    pub epoch: u64,
    /// How long it is kept after a loss; none: without limit.
    pub hold_ms: Option<u64>,
    /// Whether it may have something to replay in another incarnation [SAFE-10].
    #[serde(default = "unknown")]
    pub dirty: bool,
    /// Where it wants to be knocked [CONN-1]. Who goes back to a release that does not know it loses a hint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub callback: String,
}

/// What changes of a sharer came to, by its attachment: as far as changes of others lie over them [SAFE-11].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// The instance whose numbers they have, in hexadecimal digits.
    pub instance: String,
    /// The number of each request, and that of its status.
    pub outcomes: Vec<(u64, u8)>,
}

impl OutcomeRow {
    /// As the ledger has it.
    pub fn of(outcomes: &Outcomes) -> Self {
        let all = outcomes.all.iter().map(|(number, status)| (number.0, status.number()));
        Self { instance: outcomes.instance.to_string(), outcomes: all.collect() }
    }

    /// For the ledger; `None` where the row makes no sense.
    pub fn outcomes(&self) -> Option<Outcomes> {
        let all = self.outcomes.iter();
        let all = all.map(|(number, status)| (RequestNumber(*number), StatusCode::from(*status)));
        Some(Outcomes { instance: self.instance.parse().ok()?, all: all.collect() })
    }
}

/// What is not known to be clean is dirty.
fn unknown() -> bool {
    true
}

impl SeatRow {
    /// As the machine has it.
    pub fn of(entry: &Entry, resource: &str) -> Self {
        let hold_ms = (entry.hold != Duration::MAX).then_some(entry.hold.as_millis() as u64);
        Self {
            attachment: entry.attachment.to_string(),
            node: entry.node.as_str().to_owned(),
            resource: resource.to_owned(),
            access: entry.access.number(),
            instance: entry.instance.to_string(),
            epoch: entry.epoch.0,
            hold_ms,
            dirty: entry.dirty,
            callback: entry.callback.as_str().to_owned(),
        }
    }

    /// Whether it can be one that was written here.
    pub(super) fn makes_sense(&self) -> bool {
        let entry = self.entry(ResourceIndex(0));
        entry.is_some_and(|entry| !matches!(entry.access, Access::Unknown(_)))
    }

    /// For the machine; `None` where the row makes no sense.
    pub fn entry(&self, resource: ResourceIndex) -> Option<Entry> {
        Some(Entry {
            node: Name::new(&self.node)?,
            attachment: self.attachment.parse().ok()?,
            resource,
            access: Access::from(self.access),
            instance: self.instance.parse().ok()?,
            epoch: Epoch(self.epoch),
            hold: self.hold_ms.map_or(Duration::MAX, Duration::from_millis),
            dirty: self.dirty && Access::from(self.access).writes(),
            callback: Address::new(&self.callback).unwrap_or_default(),
        })
    }
}

impl ResourceRow {
    /// Whether it can be one that was written here.
    pub(super) fn makes_sense(&self) -> bool {
        let identity = self.identity.parse::<ResourceId>();
        identity.is_ok() && self.incarnation.parse::<Incarnation>().is_ok()
    }

    /// The tenure as the machine has it.
    pub fn tenure(&self) -> Tenure {
        Tenure(self.tenure)
    }
}
