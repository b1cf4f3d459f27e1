//! An operator's word that another medium, or other content, is what a resource is from now on [SAFE-8].

use crate::clock::Clock;
use crate::life::system;
use crate::media::{self, Media};
use crate::store::{Commit, ResourceRow, Store, StoreError};
use crate::{Config, RunError};
use lull_block::Backend;
use lull_proto::target::Ticket;
use lull_transport::handover::VARIABLE;
use lull_wire::{Incarnation, InstanceId, ResourceId, Tenure};
use std::io;
use std::sync::mpsc;

/// Makes what lies under these resources theirs, while no target runs on this state: each gets a new identity, which
/// is stored with the medium too where that can carry it, and a new tenure, and its roster is forgotten. Whoever used it
/// is refused until its own operator adopts it as well. What was done, a sentence each.
///
/// A process that takes over from another one does nothing: the word was for that one.
///
/// # Errors
/// A resource that is not configured or keeps nothing, and whatever keeps a target from starting.
pub fn adopt(config: &Config, names: &[String]) -> Result<Vec<String>, RunError> {
    if names.is_empty() || std::env::var_os(VARIABLE).is_some() {
        return Ok(Vec::new());
    }
    for name in names {
        match config.resources.iter().find(|resource| resource.name == *name) {
            None => {
                let known: Vec<_> = config.resources.iter().map(|one| one.name.as_str()).collect();
                return Err(RunError::NotThere { name: name.clone(), known: known.join(", ") });
            }
            Some(resource) if media::is_volatile(&resource.backend) => {
                return Err(RunError::NothingKept { name: name.clone() });
            }
            Some(_) => {}
        }
    }
    let nobody = InstanceId(media::random()?);
    let Media { database, remembered, backends, chains } = Media::open(config, nobody, true)?;
    for (resource, chain) in chains {
        if names.contains(&config.resources[resource.0].name) {
            chain.adopt().map_err(|error| system("an attachment")(io::Error::other(error)))?;
        }
    }
    let (mut commits, mut said) = (Vec::new(), Vec::new());
    for (resource, backend) in config.resources.iter().zip(&backends) {
        if !names.contains(&resource.name) {
            continue;
        }
        let known = remembered.resources.get(&resource.name);
        let tenure = known.map_or(Tenure(0), ResourceRow::tenure).next();
        let row = row(backend.as_ref(), tenure)?;
        let places = remembered.seats.iter().filter(|seat| seat.resource == resource.name);
        let mut nodes = Vec::new();
        for seat in places {
            nodes.push(seat.node.clone());
            commits.push(Commit::Gone(seat.attachment.clone()));
        }
        said.push(sentence(&resource.name, &row, &nodes));
        commits.push(Commit::Resources(vec![(resource.name.clone(), row)]));
    }
    let (committed, done) = mpsc::channel();
    let tell = move |(_, good)| _ = committed.send(good);
    let store = Store::start(database, &config.state_dir, Clock::start(), tell)
        .map_err(system("the state's thread"))?;
    store.commit(Some(Ticket(0)), commits);
    if done.recv() != Ok(true) {
        let source = io::Error::other("it could not be written");
        return Err(StoreError::Directory { dir: config.state_dir.clone(), source }.into());
    }
    Ok(said)
}

/// What is kept of a medium that becomes a resource's.
fn row(backend: &dyn Backend, tenure: Tenure) -> Result<ResourceRow, RunError> {
    let fresh = ResourceId(media::random()?);
    let marked = backend.set_identity(fresh.0);
    // What cannot be marked anew keeps the mark that it has.
    let found = backend.identity().map(ResourceId);
    if let Err(error) = &marked
        && error.kind() != io::ErrorKind::Unsupported
    {
        tracing::warn!("{}: its identity could not be stored with it: {error}", backend.describe());
    }
    Ok(ResourceRow {
        identity: found.unwrap_or(fresh).to_string(),
        marked: found.is_some(),
        device: backend.device(),
        incarnation: Incarnation(media::random()?).to_string(),
        tenure: tenure.0,
        backend: backend.describe(),
        size: backend.geometry().size,
    })
}

fn sentence(name: &str, row: &ResourceRow, nodes: &[String]) -> String {
    let ResourceRow { backend, identity, tenure, .. } = row;
    let what = format!("\"{name}\" is {backend} from now on: identity {identity}, tenure {tenure}");
    if nodes.is_empty() {
        return format!("{what}; nobody had a place there");
    }
    format!(
        "{what}; off its roster: {}, whose unflushed writes are lost; each comes back with `lull attach --adopt`",
        nodes.join(", ")
    )
}
