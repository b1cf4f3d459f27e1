//! What a starting target takes and learns: media, locked; the state, read; what each resource is.

use crate::daemon::{Life, Shared};
use crate::life::system;
use crate::sharers::Sharers;
use crate::store::{self, Remembered, ResourceRow, Used};
use crate::{Config, ResourceConfig, RunError, errand};
use lull_block::{Backend, BackendSpec, Context, IoLoop, Workers};
use lull_proto::Geometry;
use lull_proto::target::{Entry, Resource, ResourceIndex};
use lull_upstream::{Chain, Notice, Seat, Upstreams, is_chained};
use lull_wire::messages::{Name, Path};
use lull_wire::{Features, Incarnation, InstanceId, ResourceId};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Threads for what would block the loop.
const WORKERS: usize = 8;
/// How long a start waits for the lock of a medium: a killed predecessor keeps it while its I/O is in flight.
/// A process's first life waits for less: its holder may as well be another target, and an operator looks on.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const FIRST_LOCK_WAIT: Duration = Duration::from_secs(2);

/// How long a start waits for the server of a medium. A successor's users wait too, and its predecessor takes over again
/// if it is not done in time.
const SERVER_WAIT: Duration = Duration::from_secs(20);
const FIRST_SERVER_WAIT: Duration = Duration::from_secs(5);

/// Where in the state directory the attachments to other targets are.
const UPSTREAM: &str = "upstream";

/// Media and state, locked and new: nobody is served yet.
pub struct Media {
    pub database: redb::Database,
    pub remembered: Remembered,
    pub backends: Vec<Arc<dyn Backend>>,
    /// What still has to begin, in this life's own turn: the attachments to other targets' resources on which resources
    /// of this one rest.
    pub chains: Vec<(ResourceIndex, Chain)>,
}

impl Media {
    pub fn open(config: &Config, instance: InstanceId, first: bool) -> Result<Self, RunError> {
        let (database, remembered) = store::open(&config.state_dir)?;
        errand::check(&config.state_dir)?;
        let workers = Workers::new(WORKERS).map_err(system("worker threads"))?;
        let (lock_wait, server_wait) = match first {
            true => (FIRST_LOCK_WAIT, FIRST_SERVER_WAIT),
            false => (LOCK_WAIT, SERVER_WAIT),
        };
        let mut context = Context { workers, lock_wait, remotes: None };
        let (mut backends, mut chains) = (Vec::new(), Vec::new());
        for resource in &config.resources {
            let seat = Seat {
                node: config.node.clone(),
                instance,
                resource: resource.name.clone(),
                state_dir: config.state_dir.join(UPSTREAM),
                silence: config.silence,
            };
            let upstreams = Arc::new(Upstreams::new(server_wait, tell).for_resource(seat));
            context.remotes = Some(Arc::clone(&upstreams) as _);
            let backend = lull_block::open(&resource.backend, &context)
                .map_err(|source| RunError::Backend { name: resource.name.clone(), source })?;
            chains.extend(upstreams.chain().map(|chain| (ResourceIndex(backends.len()), chain)));
            backends.push(backend);
        }
        Ok(Self { database, remembered, backends, chains })
    }
}

/// Gives the calling thread the ring through which it serves files, until its `LocalSet` ends; that waits for what is on
/// its way to a medium. To be called once on each thread that has connections.
pub fn give_ring() {
    match IoLoop::start() {
        Ok(ring) => {
            tokio::task::spawn_local(async move { ring.run().await });
        }
        // The status names the engine of each resource.
        Err(error) => tracing::info!("files are served by threads: io_uring: {error}"),
    }
}

/// Says what happens to a medium behind a network.
fn tell(notice: &Notice) {
    match notice {
        Notice::Back { .. } => tracing::info!("{notice}"),
        Notice::Unflushed { .. } => tracing::error!("{notice}"),
        Notice::Lost { .. } | Notice::Away { .. } | Notice::NeverFlushes { .. } => {
            tracing::warn!("{notice}");
        }
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
    let used = remembered.used();
    for (resource, backend) in config.resources.iter().zip(backends) {
        let known = remembered.resources.get(&resource.name);
        let found = backend.geometry();
        let identity = identity(resource, known, &used, backend.as_ref())?;
        let incarnation = Incarnation(random()?);
        let geometry = Geometry {
            size: found.size,
            block: found.block,
            preferred: found.preferred,
            max_length: found.max_length,
            features: Features::EXTENTS
                .with_if(found.discard, Features::DISCARD)
                .with_if(found.write_zeroes, Features::WRITE_ZEROES)
                .with_if(found.read_only, Features::READ_ONLY),
        };
        let tenure = known.map(ResourceRow::tenure).unwrap_or_default();
        let path = vec![lull_wire::Text::clipped(&format!("{}/{}", config.node, resource.name))];
        let row = ResourceRow {
            identity: identity.id.to_string(),
            marked: identity.marked,
            device: backend.device(),
            incarnation: incarnation.to_string(),
            tenure: tenure.0,
            backend: backend.describe(),
            size: found.size,
        };
        rows.push((resource.name.clone(), row));
        resources.push(Resource {
            name: name(&resource.name)?,
            identity: identity.id,
            incarnation,
            tenure,
            geometry,
            path: Path::new(path).unwrap_or_default(),
            chained: is_chained(&resource.backend),
            agentless: Default::default(),
        });
    }
    Ok(Known { resources, rows })
}

/// What a resource is, and whether its medium says so too.
struct Identity {
    id: ResourceId,
    marked: bool,
}

/// [SAFE-8] What the medium says, what the state remembers, or, for a new one, something new. Memory is new each time:
/// what it held is gone, and who knew it must not go on as if nothing had happened. A medium that is refused gets no mark.
fn identity(
    resource: &ResourceConfig,
    known: Option<&ResourceRow>,
    used: &Used,
    backend: &dyn Backend,
) -> Result<Identity, RunError> {
    if is_chained(&resource.backend) {
        // Whoever owns it says so, and how large it is, when it is reached [CONN-7].
        return Ok(Identity { id: ResourceId::NONE, marked: false });
    }
    let known = known.filter(|_| !is_volatile(&resource.backend));
    let (device, marked) = (backend.device(), backend.identity().map(ResourceId));
    let remembered = known.and_then(|row| row.identity.parse::<ResourceId>().ok());
    let remembered = remembered.filter(|id| !id.is_none());
    if let Some(known) = known {
        let another = match (marked, remembered) {
            (Some(marked), Some(remembered)) => marked != remembered,
            (None, Some(_)) => known.marked,
            (_, None) => false,
        };
        let (words, device) = (backend.describe(), device.as_deref());
        if another || is_another_device(known, device) {
            return Err(RunError::other_medium(resource, &words, device));
        }
        // Only now: another disk's size says nothing about this one.
        used.fits(resource, &words, device, backend.geometry().size)?;
    }
    match marked {
        Some(id) => Ok(Identity { id, marked: true }),
        None => {
            let id = remembered.map_or_else(|| random().map(ResourceId), Ok)?;
            let marked = backend.set_identity(id.0);
            if let Err(error) = &marked
                && error.kind() != io::ErrorKind::Unsupported
            {
                tracing::warn!(
                    "{}: its identity could not be stored with it: {error}",
                    backend.describe()
                );
            }
            Ok(Identity { id, marked: marked.is_ok() })
        }
    }
}

/// [SAFE-8] A block device carries nothing that says which it is. It is known by its name, as far as it has one; and by
/// its size, at which [`Used::fits`] looks.
fn is_another_device(known: &ResourceRow, device: Option<&str>) -> bool {
    known.device.is_some() && known.device.as_deref() != device
}

/// Whether a resource's content ends with the process.
pub fn is_volatile(backend: &BackendSpec) -> bool {
    match backend {
        BackendSpec::Memory { .. } => true,
        BackendSpec::Faulty(_, inner) => is_volatile(inner),
        BackendSpec::File(_) | BackendSpec::Null { .. } | BackendSpec::Remote(_) => false,
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

/// `devices`: which of them are block devices.
pub fn shared(config: &Config, backends: Vec<Arc<dyn Backend>>, devices: &[bool]) -> Arc<[Shared]> {
    let named = config.resources.iter().zip(backends).zip(devices);
    named
        .map(|((named, backend), is_device)| Shared {
            name: named.name.clone(),
            backend,
            is_device: *is_device,
            life: Life::default(),
            toll: Arc::default(),
            sharers: Sharers::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row_of(found: &Identity, backend: &dyn Backend) -> ResourceRow {
        ResourceRow {
            identity: found.id.to_string(),
            marked: found.marked,
            device: backend.device(),
            incarnation: String::new(),
            tenure: 1,
            backend: String::new(),
            size: backend.geometry().size,
        }
    }

    /// [SAFE-8] What was served under a name is known again. What carries another mark, or lost the one that it had, is
    /// not served, and memory is another resource each time.
    #[test]
    fn a_medium_is_known_again_or_not_served() {
        let (dir, nobody) = (tempfile::tempdir().unwrap(), Used::default());
        let opened = |text: &str| {
            let workers = Workers::new(1).unwrap();
            let context = Context { workers, lock_wait: Duration::ZERO, remotes: None };
            let spec: BackendSpec = text.parse().unwrap();
            let backend = lull_block::open(&spec, &context).unwrap();
            (ResourceConfig { name: "db1".into(), backend: spec }, backend)
        };
        let file = |name: &str| opened(&format!("file:{}/{name},size=1M", dir.path().display()));
        let (config, disk) = file("disk");
        let first = identity(&config, None, &nobody, disk.as_ref()).unwrap();
        assert!(first.marked, "the file system of the temporary directory keeps marks");
        let known = row_of(&first, disk.as_ref());
        let again = identity(&config, Some(&known), &nobody, disk.as_ref()).unwrap();
        assert_eq!(again.id, first.id);

        let (config, unmarked) = file("new");
        assert!(
            identity(&config, Some(&known), &nobody, unmarked.as_ref()).is_err(),
            "it lost its mark"
        );
        unmarked.set_identity([9; 16]).unwrap();
        assert!(
            identity(&config, Some(&known), &nobody, unmarked.as_ref()).is_err(),
            "another mark"
        );
        let device = ResourceRow { device: Some("eui.1".into()), marked: false, ..known };
        assert!(
            identity(&config, Some(&device), &nobody, disk.as_ref()).is_err(),
            "it was a device"
        );

        let (config, memory) = opened("mem:1M");
        let one = identity(&config, None, &nobody, memory.as_ref()).unwrap();
        let known = row_of(&one, memory.as_ref());
        assert_ne!(identity(&config, Some(&known), &nobody, memory.as_ref()).unwrap().id, one.id);
    }

    /// [SAFE-8] [CONN-7] What is another disk is called so though it is smaller too. The right one that became smaller is
    /// not marked before it is refused, and the way back is told.
    #[test]
    fn another_medium_that_is_smaller_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let backend: BackendSpec = format!("file:{},size=1M", path.display()).parse().unwrap();
        let config = ResourceConfig { name: "db1".into(), backend };
        let workers = Workers::new(1).unwrap();
        let context = Context { workers, lock_wait: Duration::ZERO, remotes: None };
        let disk = lull_block::open(&config.backend, &context).unwrap();
        let used = Used::of([("db1", 2 << 20, Some("web1".into()))]);
        let mut known = ResourceRow {
            identity: ResourceId([7; 16]).to_string(),
            ..row_of(&Identity { id: ResourceId::NONE, marked: true }, disk.as_ref())
        };
        let refused = |known: &ResourceRow| {
            identity(&config, Some(known), &used, disk.as_ref()).err().expect("it is refused")
        };
        assert!(matches!(refused(&known), RunError::OtherMedium { .. }), "it lost its mark");
        known.marked = false;
        let shrunk = refused(&known);
        let way = format!("(if it is the same disk: `truncate --size=2097152 {path:?}`);");
        assert!(shrunk.to_string().contains(&way), "{shrunk}");
        assert_eq!(disk.identity(), None, "it is not served");
        disk.set_identity([9; 16]).unwrap();
        assert!(matches!(refused(&known), RunError::OtherMedium { .. }), "another mark");
    }

    /// [SAFE-8]
    #[test]
    fn a_device_of_another_name_is_another() {
        let row = |device: Option<&str>| ResourceRow {
            identity: String::new(),
            marked: false,
            device: device.map(str::to_owned),
            incarnation: String::new(),
            tenure: 1,
            backend: String::new(),
            size: 100,
        };
        let known = row(Some("eui.1"));
        assert!(!is_another_device(&known, Some("eui.1")));
        assert!(is_another_device(&known, Some("eui.2")));
        assert!(is_another_device(&known, None), "a file in its place");
        assert!(!is_another_device(&row(None), Some("eui.1")), "of a release that knew no names");
    }
}
