//! Clients that speak NBD straight to the target [SAFE-9]: listed, counted against writers, held while the target is
//! away; they cannot be paused.

use crate::daemon::{Daemon, Input};
use crate::executor::Executor;
use lull_block::{Buffer, Completion, IoStatus, Op};
use lull_frontend::nbd::{self, Closer, Device, Errno, Exports, Geometry, OpenRefused, Reply};
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
        fast_zeroes: true,
        cache: true,
        extents: true,
        multi_conn: true,
        description: shared.backend.describe(),
    }
}

/// A request of a client, of which a part is under way: what carries no data may cover more than one request to a
/// backend can.
struct Part {
    reply: Reply<Buffer>,
    op: Op,
    /// Where the next part begins.
    next: u64,
    /// Bytes after that.
    rest: u64,
}

/// What runs the requests of one connection.
struct Runner {
    executor: Executor<Part>,
    /// Used when the daemon lets its clients go.
    closer: Closer,
}

/// One export in use by one connection.
pub struct Disk {
    daemon: Rc<Daemon>,
    place: ResourceIndex,
    id: u64,
    geometry: Geometry,
    runner: Rc<Runner>,
    completer: JoinHandle<()>,
}

impl Disk {
    fn open(daemon: &Rc<Daemon>, place: ResourceIndex, read_only: bool, peer: &str) -> Self {
        let geometry = geometry(daemon, place, read_only);
        let executor = Executor::new(daemon.shared(place).backend.clone());
        let closer = daemon.core.borrow().closer.clone();
        let runner = Rc::new(Runner { executor, closer });
        let completing = Rc::clone(&runner);
        let completer = tokio::task::spawn_local(async move {
            let mut done = Vec::new();
            loop {
                completing.executor.next(&mut done).await;
                for completion in done.drain(..) {
                    if let Some(part) = completing.executor.ticket(&completion) {
                        completing.carry_on(part, completion);
                    }
                }
            }
        });
        let id = daemon.agentless_came(place, geometry.read_only, peer);
        Self { daemon: Rc::clone(daemon), place, id, geometry, runner, completer }
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
        length: u64,
        buffer: Option<Buffer>,
        reply: Reply<Buffer>,
    ) {
        let op = match op {
            nbd::Op::Read => Op::Read,
            nbd::Op::Write { fua } => Op::Write { fua },
            nbd::Op::Flush => Op::Flush,
            nbd::Op::Discard => Op::Discard,
            nbd::Op::WriteZeroes { fua, keep_allocated, fast } => {
                Op::WriteZeroes { fua, keep_allocated, fast }
            }
            nbd::Op::Extents => Op::Extents,
            nbd::Op::Cache => Op::ReadAhead,
        };
        let buffer = buffer.unwrap_or_else(Buffer::empty);
        let first = longest_part(length);
        // A list of extents may end early: whoever wants the rest asks again.
        let rest = if op == Op::Extents { 0 } else { length - u64::from(first) };
        let part = Part { reply, op, next: offset + u64::from(first), rest };
        if let Some((part, done)) = self.runner.executor.start(op, offset, first, buffer, part) {
            self.runner.carry_on(part, done);
        }
    }
}

/// The length of the first part of what has `length` bytes: all of it, or as much as is a multiple of any block.
fn longest_part(length: u64) -> u32 {
    const MOST: u32 = 1 << 31;
    u32::try_from(length).unwrap_or(MOST).min(MOST)
}

impl Runner {
    /// A part is done: the next one, one after the other, or the answer.
    fn carry_on(&self, mut part: Part, mut done: Completion) {
        while part.rest > 0 && done.result.is_ok() && part.reply.is_heard() {
            if self.closer.is_closed() {
                // [PAUSE-7] Terabytes to be zeroed do not hold a restart up, and are not answered with an error: the
                // client finds its connection ended in the middle of its request.
                return part.reply.abandon();
            }
            let (op, offset, length) = (part.op, part.next, longest_part(part.rest));
            part.next += u64::from(length);
            part.rest -= u64::from(length);
            match self.executor.start(op, offset, length, Buffer::empty(), part) {
                Some(next) => (part, done) = next,
                None => return,
            }
        }
        match done.result {
            Ok(()) => part.reply.done(Ok((!done.buffer.is_empty()).then_some(done.buffer))),
            Err(status) => part.reply.fail(errno(status)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The front end reads a backend's list as it is: nobody translates it on the way.
    #[test]
    fn backend_and_front_end_mean_the_same_by_an_extent() {
        for (hole, zero) in [(false, false), (true, false), (false, true), (true, true)] {
            let length = (7 << 32) + 512;
            let ours = lull_block::Extent { length, hole, zero };
            let told = nbd::Extent { length, hole, zero };
            assert_eq!(nbd::Extent::decode(&ours.encode()), told);
            assert_eq!(told.encode(), ours.encode());
        }
    }

    #[test]
    fn parts_cover_the_whole_and_begin_on_any_block() {
        for length in [0, 512, (1 << 31) - 512, 1 << 31, u64::from(u32::MAX) - 511, 5 << 40] {
            let (mut rest, mut parts) = (length, 0u64);
            while rest > 0 {
                let part = u64::from(longest_part(rest));
                assert!(part > 0 && (part == rest || part.is_multiple_of(1 << 16)));
                (rest, parts) = (rest - part, parts + 1);
            }
            assert!(parts <= length.div_ceil(1 << 31), "{parts} parts of {length}");
        }
    }
}
