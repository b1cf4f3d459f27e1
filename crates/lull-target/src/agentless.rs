//! Clients that speak NBD straight to the target [SAFE-9]: listed, counted against writers, held while the target is
//! away; they cannot be paused.

use crate::daemon::{Daemon, Input};
use crate::executor::Executor;
use lull_block::{Buffer, Completion, IoStatus, Op};
use lull_frontend::nbd::{self, Device, Errno, Exports, Geometry, OpenRefused, Reply};
use lull_proto::target::ResourceIndex;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What one client may take: buffers are shared with initiators, and a client that does not read its last replies
/// must not prolong a restart's downtime.
pub fn limits() -> nbd::Limits {
    nbd::Limits { bytes: 16 << 20, linger: Duration::from_millis(500), ..nbd::Limits::default() }
}

/// The target's resources as one NBD connection sees them.
pub struct Shelf {
    daemon: Rc<Daemon>,
    peer: String,
}

impl Shelf {
    pub fn new(daemon: Rc<Daemon>, peer: String) -> Self {
        Self { daemon, peer }
    }

    fn find(&self, name: &str) -> Result<ResourceIndex, OpenRefused> {
        let names = self.daemon.resource_names();
        match name {
            "" if names.len() == 1 => Ok(ResourceIndex(0)),
            "" => {
                Err(OpenRefused::Unknown(format!("name one of the exports: {}", names.join(", "))))
            }
            name => {
                names.iter().position(|other| other == name).map(ResourceIndex).ok_or_else(|| {
                    OpenRefused::Unknown(format!(
                        "there is no \"{name}\" here; there is: {}",
                        names.join(", ")
                    ))
                })
            }
        }
    }
}

impl Exports for Shelf {
    type Device = Disk;

    fn list(&self) -> Vec<String> {
        self.daemon.resource_names()
    }

    /// Where a writer has the resource, it is offered read-only, which goes beside it.
    fn open(&self, name: &str) -> Result<Rc<Disk>, OpenRefused> {
        let place = self.find(name)?;
        let read_only = self.daemon.admit_agentless(place)?;
        Ok(Rc::new(Disk::open(&self.daemon, place, read_only, &self.peer)))
    }

    fn describe(&self, name: &str) -> Result<Geometry, OpenRefused> {
        let place = self.find(name)?;
        let read_only = self.daemon.admit_agentless(place)?;
        Ok(geometry(&self.daemon, place, read_only))
    }
}

fn geometry(daemon: &Daemon, place: ResourceIndex, read_only: bool) -> Geometry {
    let shared = daemon.shared(place);
    let found = shared.backend.geometry();
    Geometry {
        size: found.size,
        block: found.block,
        preferred: found.preferred,
        max_length: found.max_length,
        read_only: read_only || found.read_only,
        discard: found.discard,
        write_zeroes: found.write_zeroes,
        multi_conn: true,
        description: shared.backend.describe(),
    }
}

/// One export in use by one connection.
pub struct Disk {
    daemon: Rc<Daemon>,
    place: ResourceIndex,
    id: u64,
    geometry: Geometry,
    executor: Rc<Executor<Reply<Buffer>>>,
    completer: JoinHandle<()>,
}

impl Disk {
    fn open(daemon: &Rc<Daemon>, place: ResourceIndex, read_only: bool, peer: &str) -> Self {
        let geometry = geometry(daemon, place, read_only);
        let executor = Rc::new(Executor::new(daemon.shared(place).backend.clone()));
        let completing = Rc::clone(&executor);
        let completer = tokio::task::spawn_local(async move {
            let mut done = Vec::new();
            loop {
                completing.next(&mut done).await;
                for completion in done.drain(..) {
                    if let Some(reply) = completing.ticket(&completion) {
                        answer(reply, completion);
                    }
                }
            }
        });
        let id = daemon.agentless_came(place, geometry.read_only, peer);
        Self { daemon: Rc::clone(daemon), place, id, geometry, executor, completer }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.completer.abort();
        self.daemon.input(Input::AgentlessLeft { id: self.id, resource: self.place });
    }
}

impl Device for Disk {
    type Buffer = Buffer;

    fn geometry(&self) -> Geometry {
        self.geometry.clone()
    }

    fn buffer(&self, length: u32) -> Option<Buffer> {
        self.daemon.pool().take(length as usize)
    }

    fn buffer_freed(&self) -> impl Future<Output = ()> {
        self.daemon.pool().freed()
    }

    fn submit(
        &self,
        op: nbd::Op,
        offset: u64,
        length: u32,
        buffer: Option<Buffer>,
        reply: Reply<Buffer>,
    ) {
        let op = match op {
            nbd::Op::Read => Op::Read,
            nbd::Op::Write { fua } => Op::Write { fua },
            nbd::Op::Flush => Op::Flush,
            nbd::Op::Discard => Op::Discard,
            nbd::Op::WriteZeroes { fua, keep_allocated } => Op::WriteZeroes { fua, keep_allocated },
        };
        let buffer = buffer.unwrap_or_else(Buffer::empty);
        if let Some((reply, done)) = self.executor.start(op, offset, length, buffer, reply) {
            answer(reply, done);
        }
    }
}

fn answer(reply: Reply<Buffer>, done: Completion) {
    match done.result {
        Ok(()) => reply.done(Ok((!done.buffer.is_empty()).then_some(done.buffer))),
        Err(status) => reply.fail(errno(status)),
    }
}

fn errno(status: IoStatus) -> Errno {
    match status {
        IoStatus::Io | IoStatus::WriteBackFailed | IoStatus::Faulted => Errno::Io,
        IoStatus::NoSpace | IoStatus::OutOfRange => Errno::NoSpace,
        IoStatus::ReadOnly => Errno::Perm,
        IoStatus::Invalid => Errno::Inval,
        IoStatus::NotSupported => Errno::NotSupported,
        IoStatus::NoMemory => Errno::NoMem,
    }
}
