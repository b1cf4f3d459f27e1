//! What a starting target takes and learns: media, locked; the state, read; what each resource is.

use crate::daemon::Shared;
use crate::life::system;
use crate::store::{self, Remembered, ResourceRow};
use crate::{Config, RunError};
use lull_block::{Backend, Context, Workers};
use lull_proto::Geometry;
use lull_proto::target::{Entry, Resource, ResourceIndex};
use lull_wire::messages::{Name, Path};
use lull_wire::{Features, Incarnation, ResourceId};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Threads for what would block the loop.
const WORKERS: usize = 8;
/// How long a start waits for the lock of a medium: a killed predecessor keeps it while its I/O is in flight.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Media and state, locked and new: nobody is served yet.
pub struct Media {
    pub database: redb::Database,
    pub remembered: Remembered,
    pub backends: Vec<Arc<dyn Backend>>,
}

impl Media {
    pub fn open(config: &Config) -> Result<Self, RunError> {
        let (database, remembered) = store::open(&config.state_dir)?;
        let workers = Workers::new(WORKERS).map_err(system("worker threads"))?;
        let context = Context { workers, lock_wait: LOCK_WAIT };
        let mut backends = Vec::new();
        for resource in &config.resources {
            let backend = lull_block::open(&resource.backend, &context)
                .map_err(|source| RunError::Backend { name: resource.name.clone(), source })?;
            backends.push(backend);
        }
        Ok(Self { database, remembered, backends })
    }
}

/// The resources of this life: for the machine, and as they are remembered.
pub struct Known {
    pub resources: Vec<Resource>,
    pub rows: Vec<(String, ResourceRow)>,
}

/// Gives each resource its identity and a new incarnation.
pub fn know(
    config: &Config,
    remembered: &Remembered,
    backends: &[Arc<dyn Backend>],
) -> Result<Known, RunError> {
    let mut resources = Vec::new();
    let mut rows = Vec::new();
    for (resource, backend) in config.resources.iter().zip(backends) {
        let known = remembered.resources.get(&resource.name);
        let identity = identity(&resource.name, known, backend.as_ref())?;
        let incarnation = Incarnation(random()?);
        let found = backend.geometry();
        let geometry = Geometry {
            size: found.size,
            block: found.block,
            preferred: found.preferred,
            max_length: found.max_length,
            features: Features::none()
                .with_if(found.discard, Features::DISCARD)
                .with_if(found.write_zeroes, Features::WRITE_ZEROES)
                .with_if(found.read_only, Features::READ_ONLY),
        };
        let tenure = known.map(ResourceRow::tenure).unwrap_or_default();
        let path = vec![lull_wire::Text::clipped(&format!("{}/{}", config.node, resource.name))];
        let row = ResourceRow {
            identity: identity.to_string(),
            incarnation: incarnation.to_string(),
            tenure: tenure.0,
            backend: backend.describe(),
            size: found.size,
        };
        rows.push((resource.name.clone(), row));
        resources.push(Resource {
            name: name(&resource.name)?,
            identity,
            incarnation,
            tenure,
            geometry,
            path: Path::new(path).unwrap_or_default(),
            agentless: Default::default(),
        });
    }
    Ok(Known { resources, rows })
}

/// [SAFE-8] What the resource is: what the medium says, what the state remembers, or, for a new one, something new.
fn identity(
    name: &str,
    known: Option<&ResourceRow>,
    backend: &dyn Backend,
) -> Result<ResourceId, RunError> {
    let marked = backend.identity().map(ResourceId);
    let remembered = known.and_then(|row| row.identity.parse().ok());
    match (marked, remembered) {
        (Some(marked), Some(remembered)) if marked != remembered => {
            Err(RunError::OtherMedium { name: name.to_owned(), backend: backend.describe() })
        }
        (Some(identity), _) => Ok(identity),
        (None, known) => {
            let identity = known.map_or_else(|| random().map(ResourceId), Ok)?;
            if let Err(error) = backend.set_identity(identity.0)
                && error.kind() != io::ErrorKind::Unsupported
            {
                tracing::warn!(
                    "{}: its identity could not be stored with it: {error}",
                    backend.describe()
                );
            }
            Ok(identity)
        }
    }
}

pub fn roster(remembered: &Remembered, resources: &[Resource]) -> Vec<Entry> {
    let entry = |seat: &store::SeatRow| {
        let place =
            resources.iter().position(|resource| resource.name.as_str() == seat.resource)?;
        seat.entry(ResourceIndex(place))
    };
    remembered.seats.iter().filter_map(entry).collect()
}

pub fn shared(
    config: &Config,
    resources: &[Resource],
    backends: Vec<Arc<dyn Backend>>,
) -> Vec<Shared> {
    let named = config.resources.iter().zip(resources).zip(backends);
    named
        .map(|((named, resource), backend)| Shared {
            name: named.name.clone(),
            backend,
            incarnation: resource.incarnation,
        })
        .collect()
}

pub fn name(text: &str) -> Result<Name, RunError> {
    Name::new(text).ok_or_else(|| RunError::Name(text.to_owned()))
}

pub fn random() -> Result<[u8; 16], RunError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| system("random numbers")(io::Error::other(error)))?;
    Ok(bytes)
}
