//! A consumer that writes what it can tell again.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::str::FromStr as _;

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

const BLOCK: u64 = Consumer::BLOCK;

/// What block `number` holds.
fn content(number: u64) -> Vec<u8> {
    (0..BLOCK / 8).flat_map(|word| (number * 31 + word + 1).to_le_bytes()).collect()
}

/// A consumer that stays connected, and works only while it is told to.
#[derive(Debug)]
pub struct Consumer {
    runtime: Runtime,
    tasks: LocalSet,
    disk: Connection<Vec<u8>>,
}

impl Consumer {
    /// The length of its blocks, in bytes.
    pub const BLOCK: u64 = 4096;

    /// One that is connected to this NBD URI.
    #[track_caller]
    pub fn connect(uri: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (tasks, uri) = (LocalSet::new(), Uri::from_str(uri).expect("an NBD URI"));
        let disk = tasks.block_on(&runtime, Connection::connect(&uri)).expect("a disk");
        Self { runtime, tasks, disk }
    }

    /// Writes that many blocks, and no flush; returns when all are acknowledged.
    #[track_caller]
    pub fn write(&self, blocks: u64) {
        self.tasks.block_on(&self.runtime, write(&self.disk, blocks));
    }

    /// Writes a version of each of that many blocks, all at the same time; whether all were acknowledged.
    pub fn put(&self, blocks: usize, version: u64) -> bool {
        let done = Cell::new(true);
        let one = async |number: usize| {
            let (at, payload) = (number as u64 * BLOCK, Versions::content(number, version));
            done.set(self.disk.write(at, payload, false).await.is_ok() && done.get());
        };
        let lanes = (0..blocks).map(|number| Box::pin(one(number))).collect();
        self.tasks.block_on(&self.runtime, all(lanes));
        done.get()
    }

    /// How many of that many blocks are not of this version.
    #[track_caller]
    pub fn other_than(&self, blocks: usize, version: u64) -> usize {
        let read = async {
            let mut others = 0;
            for number in 0..blocks {
                let at = number as u64 * BLOCK;
                let found = self.disk.read(at, vec![0; BLOCK as usize]).await.expect("a read");
                others += usize::from(found != Versions::content(number, version));
            }
            others
        };
        self.tasks.block_on(&self.runtime, read)
    }

    /// How many of them are not what was written.
    #[track_caller]
    pub fn lost(&self, blocks: u64) -> usize {
        self.tasks.block_on(&self.runtime, lost(&self.disk, blocks))
    }

    /// Writes that many pieces of so many blocks each, all at the same time.
    #[track_caller]
    pub fn write_pieces(&self, pieces: u64, blocks: u64) {
        let one = async |piece: u64| {
            let bytes = (piece * blocks..(piece + 1) * blocks).flat_map(content).collect();
            let done = self.disk.write(piece * blocks * BLOCK, bytes, false).await;
            done.expect("a write is acknowledged");
        };
        let lanes = (0..pieces).map(|piece| Box::pin(one(piece))).collect();
        self.tasks.block_on(&self.runtime, all(lanes));
    }

    /// Reads them, all at the same time. How many of their blocks are not what was written.
    #[track_caller]
    pub fn lost_in_pieces(&self, pieces: u64, blocks: u64) -> usize {
        let lost = Cell::new(0);
        let one = async |piece: u64| {
            let into = vec![0; (blocks * BLOCK) as usize];
            let found = self.disk.read(piece * blocks * BLOCK, into).await.expect("a read");
            let found = found.chunks(BLOCK as usize).zip(piece * blocks..);
            lost.update(|lost| lost + found.filter(|(has, block)| *has != content(*block)).count());
        };
        let lanes = (0..pieces).map(|piece| Box::pin(one(piece))).collect();
        self.tasks.block_on(&self.runtime, all(lanes));
        lost.get()
    }

    /// Flushes.
    #[track_caller]
    pub fn flush(&self) {
        self.tasks.block_on(&self.runtime, self.disk.flush()).expect("a flush");
    }
}

/// What was asked of a disk whose daemon died, and what was acknowledged: versions of blocks, each block's own.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The last version that was acknowledged, and the last that was asked for.
    blocks: Vec<(u64, u64)>,
}

impl Versions {
    /// That many blocks, nothing of which was ever written.
    pub fn of(blocks: usize) -> Self {
        Self { blocks: vec![(0, 0); blocks] }
    }

    /// How many changes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.blocks.iter().map(|(acknowledged, _)| acknowledged).sum()
    }

    /// What block `number` holds in a version; nothing was there before the first.
    pub fn content(number: usize, version: u64) -> Vec<u8> {
        let of =
            |word: u64| if version == 0 { 0 } else { (number as u64) << 32 | version << 9 | word };
        (0..BLOCK / 8).flat_map(|word| of(word).to_le_bytes()).collect()
    }
}

impl Consumer {
    /// Writes newer and newer versions, `LANES` at a time and without a flush, until the disk's end. `after` is called
    /// once, when that many more changes are acknowledged.
    pub fn churn(&self, versions: &mut Versions, more: u64, after: impl FnOnce()) {
        let limit = versions.acknowledged() + more;
        let state = RefCell::new((versions, Some(after)));
        let lane = async |lane: usize| {
            let count = state.borrow().0.blocks.len();
            for number in (lane..count).step_by(LANES).cycle() {
                let version = {
                    let (versions, _) = &mut *state.borrow_mut();
                    versions.blocks[number].1 += 1;
                    versions.blocks[number].1
                };
                let payload = Versions::content(number, version);
                if self.disk.write(number as u64 * BLOCK, payload, false).await.is_err() {
                    return;
                }
                let (versions, after) = &mut *state.borrow_mut();
                versions.blocks[number].0 = version;
                if versions.acknowledged() >= limit
                    && let Some(after) = after.take()
                {
                    after();
                }
            }
        };
        let lanes = (0..LANES).map(|number| Box::pin(lane(number))).collect();
        self.tasks.block_on(&self.runtime, all(lanes));
    }

    /// Reads everything; the blocks that hold other than their last acknowledged version or one that was asked for
    /// later. What is found is what counts from here on.
    #[track_caller]
    pub fn unexplained(&self, versions: &mut Versions) -> Vec<usize> {
        let read = async {
            let mut wrong = Vec::new();
            for (number, (acknowledged, asked)) in versions.blocks.iter_mut().enumerate() {
                let at = number as u64 * BLOCK;
                let found = self.disk.read(at, vec![0; BLOCK as usize]).await.expect("a read");
                let fits = |version: &u64| Versions::content(number, *version) == found;
                match (*acknowledged..=*asked).rev().find(fits) {
                    Some(version) => (*acknowledged, *asked) = (version, version),
                    None => wrong.push(number),
                }
            }
            wrong
        };
        self.tasks.block_on(&self.runtime, read)
    }
}

/// Writes that are under way together.
const LANES: usize = 16;

async fn all(mut lanes: Vec<Pin<Box<impl Future<Output = ()>>>>) {
    std::future::poll_fn(|context| {
        lanes.retain_mut(|lane| lane.as_mut().poll(context).is_pending());
        if lanes.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Writes that many blocks, and no flush.
async fn write(disk: &Connection<Vec<u8>>, blocks: u64) {
    let one = async |lane: u64| {
        for number in (lane..blocks).step_by(LANES) {
            let at = number * BLOCK;
            disk.write(at, content(number), false).await.expect("a write is acknowledged");
        }
    };
    all((0..LANES as u64).map(|lane| Box::pin(one(lane))).collect()).await;
}

/// How many of them are not what was written.
async fn lost(disk: &Connection<Vec<u8>>, blocks: u64) -> usize {
    let mut lost = 0;
    for number in 0..blocks {
        let found = disk.read(number * BLOCK, vec![0; BLOCK as usize]).await.expect("a read");
        lost += usize::from(found != content(number));
    }
    lost
}
