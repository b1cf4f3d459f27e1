//! The workers of a load.

use std::sync::{Arc, Mutex};

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::{Connection, RequestError};

use super::content::{BLOCK, content, mix, number_of};
use super::{Counters, Shape};
use crate::clock::now;

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

/// Runs a load until it is stopped, then reads every block.
pub(super) fn run(uri: &Uri, shape: Shape, counters: &Arc<Mutex<Counters>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        let connection = match Connection::<Vec<u8>>::connect(uri).await {
            Ok(connection) => connection,
            Err(error) => {
                counters.lock().expect("counters").lost = Some(error.to_string());
                return;
            }
        };
        let workers: Vec<_> = (0..shape.depth)
            .map(|number| {
                let worker = Worker {
                    connection: connection.clone(),
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
        connection.disconnect().await;
    });
}

struct Worker {
    connection: Connection<Vec<u8>>,
    shape: Shape,
    number: u64,
    blocks: Vec<Block>,
    counters: Arc<Mutex<Counters>>,
    random: u64,
    written: u64,
}

impl Worker {
    async fn work(mut self) {
        let mut count = self.number;
        while !self.counters.lock().expect("counters").stop {
            count += 1;
            let which = (self.chance() % self.blocks.len() as u64) as usize;
            let outcome = match (count % FLUSH_EVERY, self.shape.read_only, self.chance() % 2) {
                (0, false, _) => self.connection.flush().await,
                (_, false, 0) => self.write(which).await,
                _ => self.read(which).await.map(drop),
            };
            if self.note(outcome) {
                return;
            }
            if !self.shape.think.is_zero() {
                tokio::time::sleep(self.shape.think).await;
            }
        }
        if self.shape.read_only {
            return;
        }
        for which in 0..self.blocks.len() {
            let outcome = self.read(which).await;
            let right = matches!(outcome, Ok(true));
            if self.note(outcome.map(drop)) {
                return;
            }
            self.counters.lock().expect("counters").report.verified += u64::from(right);
        }
    }

    /// Counts an outcome; true where nothing more can come.
    fn note(&self, outcome: Result<(), RequestError>) -> bool {
        let at = now();
        let mut counters = self.counters.lock().expect("counters");
        let counters = &mut *counters;
        match outcome {
            Ok(()) => {
                let gap = at - counters.last_success;
                let within = at - counters.last_success.max(counters.window_begun);
                counters.last_success = at;
                counters.report.done += 1;
                counters.report.longest_gap = counters.report.longest_gap.max(gap);
                counters.window.done += 1;
                counters.window.longest_gap = counters.window.longest_gap.max(within);
                false
            }
            Err(error) => {
                *counters.report.errors.entry(error.to_string()).or_default() += 1;
                counters.window.errors += 1;
                let lost = matches!(error, RequestError::Lost(_));
                if lost {
                    counters.lost = Some(error.to_string());
                }
                lost
            }
        }
    }

    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    fn place(&self, which: usize) -> u64 {
        (which as u64 * self.shape.depth + self.number) * BLOCK as u64
    }

    async fn write(&mut self, which: usize) -> Result<(), RequestError> {
        self.written += 1;
        let number = self.written;
        let place = self.place(which);
        let block = &mut self.blocks[which];
        block.perhaps.push(number);
        self.connection.write(place, content(self.shape.seed, place, number), false).await?;
        self.blocks[which] = Block { sure: number, perhaps: Vec::new() };
        Ok(())
    }

    /// Reads a block and judges it; true where it is right.
    async fn read(&mut self, which: usize) -> Result<bool, RequestError> {
        let place = self.place(which);
        let found = self.connection.read(place, vec![0; BLOCK]).await?;
        if self.shape.read_only {
            return Ok(true);
        }
        let block = &self.blocks[which];
        let seed = self.shape.seed;
        let fits = |number| found == content(seed, place, number);
        if fits(block.sure) || block.perhaps.iter().copied().any(fits) {
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
