//! Clients that speak NBD straight to the target [SAFE-9]: listed, counted against writers, held while the target is
//! away; they cannot be paused.

use crate::daemon::{Input, Shared};
use crate::executor::{Executor, ended_by};
use crate::gauge::Gauge;
use crate::local::Local;
use lull_block::{Buffer, Completion, IoStatus, Op};
use lull_frontend::nbd::{self, Closer, Device, Errno, Exports, Geometry, OpenRefused, Reply};
use lull_proto::target::{ResourceIndex, Target};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What one client may take: buffers are shared with initiators, which must not wait for long for one who reads no
/// replies; and a client that does not read its last ones must not prolong a restart's downtime.
pub fn limits() -> nbd::Limits {
    nbd::Limits {
        bytes: 16 << 20,
        linger: Duration::from_millis(500),
        stuck: Duration::from_secs(30),
        ..nbd::Limits::default()
    }
}

/// The target's resources as one NBD connection sees them.
pub struct Shelf {
    local: Rc<Local>,
    peer: String,
}

/// A place beside the initiators, which the machine gave to one client. It is counted until it is dropped.
pub struct Place {
    pub id: u64,
    pub resource: ResourceIndex,
    /// The client must be content with reading.
    pub read_only: bool,
    /// The resource's life in which it was given.
    pub life: u64,
    pub control: mpsc::UnboundedSender<Input>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = Input::AgentlessLeft { id: self.id, resource: self.resource };
        // The machine's thread ends after all others.
        let _ = self.control.send(left);
    }
}

/// Clients that have their places and are not told yet.
#[derive(Default)]
pub struct Arriving(Vec<(oneshot::Sender<Result<Place, OpenRefused>>, Place)>);

impl Arriving {
    pub fn push(&mut self, reply: oneshot::Sender<Result<Place, OpenRefused>>, place: Place) {
        self.0.push((reply, place));
    }

    /// [SAFE-7] Who may write is let in when it is on stable storage that the one before has lost the right to send again.
    /// Who does not wait any more gives up its place.
    pub fn let_in(&mut self, machine: &Target) {
        let ready = |(reply, place): &mut (oneshot::Sender<_>, Place)| {
            reply.is_closed() || place.read_only || machine.closed(place.resource).is_none()
        };
        for (reply, place) in self.0.extract_if(.., ready) {
            // Dropped on its way, it is given up like any other.
            let _ = reply.send(Ok(place));
        }
    }
}

impl Shelf {
    pub fn new(local: Rc<Local>, peer: String) -> Self {
        Self { local, peer }
    }

    fn names(&self) -> Vec<String> {
        self.local.shared.iter().map(|shared| shared.name.clone()).collect()
    }

    fn find(&self, name: &str) -> Result<ResourceIndex, OpenRefused> {
        let place = match (name, &*self.local.shared) {
            ("", [_]) => Some(0),
            (name, shared) => shared.iter().position(|shared| shared.name == name),
        };
        let names = || self.names().join(", ");
        let unknown = || match name {
            "" => format!("name one of the exports: {}", names()),
            name => format!("there is no \"{name}\" here; there is: {}", names()),
        };
        place.map(ResourceIndex).ok_or_else(|| OpenRefused::Unknown(unknown()))
    }

    /// What the machine says to a question that only it can answer.
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, OpenRefused>>) -> Input,
    ) -> Result<T, OpenRefused> {
        let (reply, answer) = oneshot::channel();
        self.local.tell(question(reply));
        let gone = |_| Err(OpenRefused::Shutdown("the target is ending".to_owned()));
        answer.await.unwrap_or_else(gone)
    }
}

impl Exports for Shelf {
    type Device = Disk;

    fn list(&self) -> Vec<String> {
        self.names()
    }

    /// Where a writer has the resource, it is offered read-only, which goes beside it.
    async fn open(&self, name: &str) -> Result<Rc<Disk>, OpenRefused> {
        let resource = self.find(name)?;
        let gauge = Arc::new(Gauge::default());
        let client = Client {
            peer: self.peer.clone(),
            thread: self.local.number,
            gauge: Arc::clone(&gauge),
            control: self.local.control(),
        };
        let place = self.ask(|reply| Input::AgentlessCame { resource, client, reply }).await?;
        Ok(Rc::new(Disk::open(&self.local, place, gauge)))
    }

    async fn describe(&self, name: &str) -> Result<Geometry, OpenRefused> {
        let resource = self.find(name)?;
        let read_only = self.ask(|reply| Input::AgentlessLooks { resource, reply }).await?;
        Ok(geometry(&self.local.shared[resource.0], read_only))
    }
}

/// Who asks for a place.
pub struct Client {
    pub peer: String,
    /// The thread that has its connection.
    pub thread: usize,
    pub gauge: Arc<Gauge>,
    /// The way back, by which the place is given up.
    pub control: mpsc::UnboundedSender<Input>,
}

fn geometry(shared: &Shared, read_only: bool) -> Geometry {
    let found = shared.backend.geometry();
    Geometry {
        size: found.size,
        block: found.block,
        preferred: found.preferred,
        max_length: found.max_length,
        read_only,
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
    local: Rc<Local>,
    resource: ResourceIndex,
    /// The life of the resource in which the client was let in.
    life: u64,
}

/// One export in use by one connection.
pub struct Disk {
    local: Rc<Local>,
    geometry: Geometry,
    runner: Rc<Runner>,
    gauge: Arc<Gauge>,
    completer: JoinHandle<()>,
    _place: Place,
}

impl Disk {
    fn open(local: &Rc<Local>, place: Place, gauge: Arc<Gauge>) -> Self {
        let shared = &local.shared[place.resource.0];
        let geometry = geometry(shared, place.read_only);
        let executor = Executor::new(shared);
        let (resource, life) = (place.resource, place.life);
        let closer = local.closer.clone();
        let runner = Runner { executor, closer, local: Rc::clone(local), resource, life };
        let runner = Rc::new(runner);
        let (completing, seen) = (Rc::clone(&runner), Arc::clone(&gauge));
        let completer = tokio::task::spawn_local(async move {
            let mut done = Vec::new();
            loop {
                completing.executor.next(&mut done).await;
                for completion in done.drain(..) {
                    if let Some(part) = completing.executor.ticket(&completion) {
                        completing.carry_on(part, completion);
                    }
                }
                seen.set_in_flight(completing.executor.in_flight());
            }
        });
        let local = Rc::clone(local);
        Self { local, geometry, runner, gauge, completer, _place: place }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.completer.abort();
    }
}

impl Device for Disk {
    type Buffer = Buffer;

    fn geometry(&self) -> Geometry {
        self.geometry.clone()
    }

    fn buffer(&self, length: u32) -> Option<Buffer> {
        self.local.pool.take(length as usize)
    }

    fn footprint(&self, buffer: &Buffer) -> usize {
        buffer.footprint()
    }

    fn buffer_freed(&self) -> impl Future<Output = ()> {
        self.local.pool.freed()
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
        self.gauge.set_in_flight(self.runner.executor.in_flight());
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
        let life = &self.local.shared[self.resource.0].life;
        if let Some(why) = ended_by(done.result)
            && life.end(self.life)
        {
            // [SAFE-4] This client is told by the error.
            self.local.tell(Input::LifeEnded { resource: self.resource, why });
        } else if !life.lasts(self.life) {
            // What it wrote may be lost, and no answer says so: it finds its connection ended.
            return part.reply.abandon();
        }
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
            // [CHAIN-1] NBD has no word for it: the client finds its connection ended, and connects again.
            Err(IoStatus::NotExecuted) => part.reply.abandon(),
            Err(status) => part.reply.fail(errno(status)),
        }
    }
}

fn errno(status: IoStatus) -> Errno {
    match status {
        IoStatus::Io
        | IoStatus::WriteBackFailed
        | IoStatus::Forgotten
        | IoStatus::NotExecuted
        | IoStatus::Faulted => Errno::Io,
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
    use crate::bench::{GivesBack, bench};
    use lull_frontend::nbd::client::{Connection, RequestError};
    use lull_transport::Stream;

    /// [CHAIN-1] A client is not told that what its medium gave back failed: it finds its connection ended.
    #[tokio::test(flavor = "local")]
    async fn what_is_given_back_ends_the_connection() {
        let mut bench = bench(Arc::new(GivesBack));
        let (ours, theirs) = Stream::pair().unwrap();
        let shelf = Rc::new(Shelf::new(Rc::clone(&bench.local), "a test".to_owned()));
        tokio::task::spawn_local(nbd::serve(theirs, shelf, limits(), Closer::new()));
        let lets_in = async {
            let Some(Input::AgentlessCame { resource, client, reply }) = bench.heard.recv().await
            else {
                panic!("another input")
            };
            let control = client.control;
            let place = Place { id: 1, resource, read_only: false, life: 0, control };
            assert!(reply.send(Ok(place)).is_ok());
        };
        let (connection, ()) = tokio::join!(Connection::over(ours, "db1"), lets_in);
        let read = connection.unwrap().read(0, vec![0; 4096]).await;
        assert!(matches!(read, Err(RequestError::Lost(_))), "{read:?}");
    }

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
