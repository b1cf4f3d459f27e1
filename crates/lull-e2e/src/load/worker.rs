//! The workers of a load.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::{ConnectError, Connection, RequestError};

use super::content::{BLOCK, content, mix, number_of};
use super::{Counters, Shape};
use crate::clock::now;
use crate::wait::PROMPT;

/// Requests of a worker between two flushes.
const FLUSH_EVERY: u64 = 97;

/// What one block may hold.
#[derive(Clone, Debug, Default)]
struct Block {
    /// Number of the last write that was answered with success; 0: none, zeroes.
    sure: u64,
    /// Numbers of later writes whose outcome is not known.
    perhaps: Vec<u64>,
}

/// How long is waited before a disk that is away is dialled again.
const DIAL_EVERY: Duration = Duration::from_millis(5);

/// The disk as all workers have it: one connection, which may be followed by another.
struct Disk {
    uri: Uri,
    /// The connection, and how many there were before it.
    present: RefCell<(u64, Connection<Vec<u8>>)>,
    dialling: tokio::sync::Mutex<()>,
}

impl Disk {
    async fn dial(uri: Uri) -> Result<Self, ConnectError> {
        let connection = Connection::connect(&uri).await?;
        Ok(Self { uri, present: RefCell::new((0, connection)), dialling: Default::default() })
    }

    fn present(&self) -> (u64, Connection<Vec<u8>>) {
        self.present.borrow().clone()
    }

    /// Another connection in place of the one with this number. Why not, where it could not be had for long.
    async fn again(&self, number: u64) -> Result<(), String> {
        let _dialling = self.dialling.lock().await;
        let deadline = now() + 2 * PROMPT;
        while self.present.borrow().0 == number {
            match tokio::time::timeout(PROMPT, Connection::connect(&self.uri)).await {
                Ok(Ok(connection)) => self.present.replace((number + 1, connection)),
                Ok(Err(error)) if now() > deadline => return Err(error.to_string()),
                Err(_) => return Err("the handshake was not answered".to_owned()),
                Ok(Err(_)) => {
                    tokio::time::sleep(DIAL_EVERY).await;
                    continue;
                }
            };
        }
        Ok(())
    }
}

/// Runs a load until it is stopped, then reads every block.
pub(super) fn run(uri: Uri, shape: Shape, counters: &Arc<Mutex<Counters>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        let disk = match Disk::dial(uri).await {
            Ok(disk) => Rc::new(disk),
            Err(error) => {
                counters.lock().expect("counters").lost = Some(error.to_string());
                return;
            }
        };
        let workers: Vec<_> = (0..shape.depth)
            .map(|number| {
                let worker = Worker {
                    disk: Rc::clone(&disk),
                    shape,
                    number,
                    blocks: vec![Block::default(); (shape.blocks / shape.depth) as usize],
                    counters: Arc::clone(counters),
                    random: shape.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number,
                    written: 0,
                };
                tokio::task::spawn_local(worker.work())
            })
            .collect();
        for worker in workers {
            worker.await.expect("a worker of the load");
        }
        // A server that was not told good-bye logs a loss.
        let (_, connection) = disk.present();
        connection.disconnect().await;
    });
}

struct Worker {
    disk: Rc<Disk>,
    shape: Shape,
    number: u64,
    blocks: Vec<Block>,
    counters: Arc<Mutex<Counters>>,
    random: u64,
    written: u64,
}

impl Worker {
    async fn work(mut self) {
        let (mut count, mut passes) = (self.number, 0);
        loop {
            let (stop, asked) = {
                let counters = self.counters.lock().expect("counters");
                (counters.stop, counters.passes)
            };
            if stop || asked > passes {
                if !self.shape.read_only && !self.pass(stop).await {
                    return;
                }
                if stop {
                    return;
                }
                passes += 1;
                self.counters.lock().expect("counters").passed += 1;
            }
            count += 1;
            let which = (self.chance() % self.blocks.len() as u64) as usize;
            let connection = self.disk.present();
            let outcome = match (count % FLUSH_EVERY, self.shape.read_only) {
                (0, false) => connection.1.flush().await,
                (_, false) if self.chance().is_multiple_of(2) => {
                    self.write(&connection.1, which).await
                }
                _ => self.read(&connection.1, which).await.map(drop),
            };
            if !self.note(outcome, connection.0).await {
                return;
            }
            if !self.shape.think.is_zero() {
                tokio::time::sleep(self.shape.think).await;
            }
        }
    }

    /// Reads every block; false where nothing more can come. The blocks of the last one are counted.
    async fn pass(&mut self, is_last: bool) -> bool {
        for which in 0..self.blocks.len() {
            let connection = self.disk.present();
            let outcome = self.read(&connection.1, which).await;
            let right = is_last && matches!(outcome, Ok(true));
            if !self.note(outcome.map(drop), connection.0).await {
                return false;
            }
            self.counters.lock().expect("counters").report.verified += u64::from(right);
        }
        true
    }

    /// Counts what came of a request on the connection with this number; false where nothing more can come.
    async fn note(&self, outcome: Result<(), RequestError>, number: u64) -> bool {
        match outcome {
            Ok(()) => {
                self.succeeded();
                true
            }
            Err(RequestError::Lost(_)) if self.shape.returns => {
                let outcome = self.disk.again(number).await;
                let mut counters = self.counters.lock().expect("counters");
                counters.report.returns = self.disk.present.borrow().0;
                counters.lost = outcome.err();
                counters.lost.is_none()
            }
            Err(error) => {
                let mut counters = self.counters.lock().expect("counters");
                *counters.report.errors.entry(error.to_string()).or_default() += 1;
                counters.window.errors += 1;
                let lost = matches!(error, RequestError::Lost(_));
                if lost {
                    counters.lost = Some(error.to_string());
                }
                !lost
            }
        }
    }

    fn succeeded(&self) {
        let at = now();
        let mut counters = self.counters.lock().expect("counters");
        let counters = &mut *counters;
        let gap = at - counters.last_success;
        let within = at - counters.last_success.max(counters.window_begun);
        counters.last_success = at;
        counters.report.done += 1;
        counters.report.longest_gap = counters.report.longest_gap.max(gap);
        counters.window.done += 1;
        counters.window.longest_gap = counters.window.longest_gap.max(within);
    }

    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    fn place(&self, which: usize) -> u64 {
        (which as u64 * self.shape.depth + self.number) * BLOCK as u64
    }

    async fn write(
        &mut self,
        disk: &Connection<Vec<u8>>,
        which: usize,
    ) -> Result<(), RequestError> {
        self.written += 1;
        let number = self.written;
        let place = self.place(which);
        let block = &mut self.blocks[which];
        block.perhaps.push(number);
        disk.write(place, content(self.shape.seed, place, number), false).await?;
        self.blocks[which] = Block { sure: number, perhaps: Vec::new() };
        Ok(())
    }

    /// Reads a block and judges it; true where it is right.
    async fn read(
        &mut self,
        disk: &Connection<Vec<u8>>,
        which: usize,
    ) -> Result<bool, RequestError> {
        let place = self.place(which);
        let found = disk.read(place, vec![0; BLOCK]).await?;
        if self.shape.read_only {
            return Ok(true);
        }
        let (block, seed) = (&mut self.blocks[which], self.shape.seed);
        let fits = |number: &u64| found == content(seed, place, *number);
        if fits(&block.sure) {
            // Nothing of a lost connection is done any more: what was not done by now never is.
            if self.shape.returns {
                block.perhaps.clear();
            }
            return Ok(true);
        }
        if let Some(number) = block.perhaps.iter().copied().find(fits) {
            if self.shape.returns {
                *block = Block { sure: number, perhaps: Vec::new() };
            }
            return Ok(true);
        }
        let number = number_of(&found);
        let words = format!(
            "block at {place}: write {} was acknowledged ({:?} perhaps), it holds number {number}",
            block.sure, block.perhaps
        );
        self.counters.lock().expect("counters").report.wrong.push(words);
        Ok(false)
    }
}
