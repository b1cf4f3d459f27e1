//! A consumer that writes what it can tell again.

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

    /// How many of them are not what was written.
    #[track_caller]
    pub fn lost(&self, blocks: u64) -> usize {
        self.tasks.block_on(&self.runtime, lost(&self.disk, blocks))
    }

    /// Flushes.
    #[track_caller]
    pub fn flush(&self) {
        self.tasks.block_on(&self.runtime, self.disk.flush()).expect("a flush");
    }
}

/// Writes that many blocks, 16 at a time, and no flush.
async fn write(disk: &Connection<Vec<u8>>, blocks: u64) {
    let one = async |lane: u64| {
        for number in (lane..blocks).step_by(16) {
            let at = number * BLOCK;
            disk.write(at, content(number), false).await.expect("a write is acknowledged");
        }
    };
    let mut lanes: Vec<_> = (0..16).map(|lane| Box::pin(one(lane))).collect();
    std::future::poll_fn(|context| {
        lanes.retain_mut(|lane| lane.as_mut().poll(context).is_pending());
        if lanes.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
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
