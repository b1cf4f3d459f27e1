//! A load on a block device in a guest that writes down what it asked and what it was answered: a history, which others
//! judge.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lull_history::file::{self, Event};
use lull_history::{Held, Op, Outcome, Promise};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::load::content::{BLOCK, content, mix, number_of};

/// Who asks in the history: the load.
pub const LOAD: u64 = 1;

/// Who asks in the history when everything is read once more in the end.
pub const LAST_PASS: u64 = 2;

/// Blocks that are used, from the first.
pub const BLOCKS: u64 = 4096;

/// Requests under way at a time.
const LANES: u64 = 4;

/// Requests of the first lane from one flush to the next.
const FLUSH_EVERY: u64 = 40;

/// Blocks of each read in the end.
const LAST_READ: u64 = 16;

/// How often a read in the end is tried: what fails for so long stays unread.
const LAST_TRIES: u32 = 20;

/// How long a lane rests after an answer, so that a guest with one processor gets something else done as well.
const REST: Duration = Duration::from_millis(8);

/// The same after an error: those who fail at once would do nothing else.
const REST_OF_ERROR: Duration = Duration::from_millis(100);

/// Makes contents this load's own.
const SEED: u64 = 0x626c_6f63_6b73;

/// What a load came to, beside its history.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BlocksReport {
    /// Requests that succeeded.
    pub done: u64,
    /// Requests that failed, by the reason.
    pub errors: BTreeMap<String, u64>,
}

/// Writes, reads and flushes blocks of `device`, past this kernel's cache, until there is a file at `until`; then
/// everything is read once more. All of it is in the history at `record`; how many requests have succeeded and how many
/// have failed is at `progress`, ten times a second.
///
/// # Errors
/// Where the device cannot be opened, or the history not be written.
pub fn run(
    device: &Path,
    until: &Path,
    record: &Path,
    progress: &Path,
) -> std::io::Result<BlocksReport> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    let device = OpenOptions::new().read(true).write(true).custom_flags(direct).open(device)?;
    let load = Blocks {
        device,
        ends: AtomicBool::new(false),
        done: AtomicU64::new(0),
        errors: Mutex::default(),
        record: Mutex::new(Record::new(record)?),
    };
    std::thread::scope(|scope| {
        let load = &load;
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || load.lane(lane))).collect();
        while !until.exists() && !lanes.iter().any(|lane| lane.is_finished()) {
            load.tell(progress)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        load.ends.store(true, Ordering::Relaxed);
        lanes.into_iter().try_for_each(|lane| lane.join().expect("a lane does not panic"))
    })?;
    load.read_all()?;
    load.tell(progress)?;
    let errors = load.errors.into_inner().expect("reasons");
    Ok(BlocksReport { done: load.done.into_inner(), errors })
}

/// The load.
struct Blocks {
    device: File,
    ends: AtomicBool,
    done: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
    record: Mutex<Record>,
}

impl Blocks {
    /// One request after the other, until the end.
    fn lane(&self, lane: u64) -> std::io::Result<()> {
        let mut buffer = Aligned::new(BLOCK);
        for step in 1.. {
            if self.ends.load(Ordering::Relaxed) {
                break;
            }
            let chance = mix(SEED ^ mix(lane ^ mix(step)));
            // Blocks of its own: what a block holds is then known but for what failed.
            let block = chance / 8 % (BLOCKS / LANES) * LANES + lane;
            let succeeded = match chance % 8 {
                _ if lane == 0 && step % FLUSH_EVERY == 0 => self.flush()?,
                0 => self.read(LOAD, block, &mut buffer)?,
                _ => self.write(block, &mut buffer)?,
            };
            std::thread::sleep(if succeeded { REST } else { REST_OF_ERROR });
        }
        Ok(())
    }

    fn write(&self, block: u64, buffer: &mut Aligned) -> std::io::Result<bool> {
        let op = |number| Op::Write { first: block, count: 1, content: number, durable: false };
        let number = self.record().begin(LOAD, op)?;
        let place = block * BLOCK as u64;
        buffer.bytes().copy_from_slice(&content(SEED, place, number));
        let outcome = self.device.write_all_at(buffer.bytes(), place);
        self.end(number, &outcome, Vec::new())
    }

    fn flush(&self) -> std::io::Result<bool> {
        let number = self.record().begin(LOAD, |_| Op::Flush)?;
        let outcome = self.device.sync_all();
        self.end(number, &outcome, Vec::new())
    }

    /// Reads as many blocks as the buffer has; in the history each by itself, since each may be wrong.
    fn read(&self, by: u64, first: u64, buffer: &mut Aligned) -> std::io::Result<bool> {
        let count = (buffer.bytes().len() / BLOCK) as u64;
        let begin = |block| self.record().begin(by, |_| Op::Read { first: block, count: 1 });
        let numbers = (first..first + count).map(begin).collect::<std::io::Result<Vec<_>>>()?;
        let outcome = self.device.read_exact_at(buffer.bytes(), first * BLOCK as u64);
        let blocks = (first..).zip(buffer.bytes().chunks_exact(BLOCK));
        for (number, (block, bytes)) in numbers.into_iter().zip(blocks) {
            let held = outcome.is_ok().then(|| held(block, bytes));
            self.end(number, &outcome, held.into_iter().collect())?;
        }
        Ok(outcome.is_ok())
    }

    fn read_all(&self) -> std::io::Result<()> {
        let mut buffer = Aligned::new(BLOCK * LAST_READ as usize);
        let mut tries = 0;
        for first in (0..BLOCKS).step_by(LAST_READ as usize) {
            while !self.read(LAST_PASS, first, &mut buffer)? && tries < LAST_TRIES {
                tries += 1;
                std::thread::sleep(REST_OF_ERROR);
            }
        }
        Ok(())
    }

    /// Notes how a request has ended; whether it has succeeded.
    fn end(
        &self,
        number: u64,
        outcome: &std::io::Result<()>,
        held: Vec<Held>,
    ) -> std::io::Result<bool> {
        // Whoever gets an error does not know what becomes of it.
        let end = if outcome.is_ok() { Outcome::Done } else { Outcome::Unknown };
        self.record().end(number, end, held)?;
        if let Err(error) = outcome {
            *self.errors.lock().expect("reasons").entry(error.to_string()).or_default() += 1;
        } else {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(outcome.is_ok())
    }

    fn tell(&self, progress: &Path) -> std::io::Result<()> {
        let failed: u64 = self.errors.lock().expect("reasons").values().sum();
        std::fs::write(progress, format!("{} {failed}\n", self.done.load(Ordering::Relaxed)))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("the history")
    }
}

/// The history so far. A line is in its file before the kernel has the request, or anybody the answer.
struct Record {
    began: Instant,
    file: File,
    last: u64,
}

impl Record {
    fn new(path: &Path) -> std::io::Result<Self> {
        let mut file = File::create(path)?;
        // A consumer whose disk says nothing of a loss counts on what it was answered.
        file.write_all(file::head(Promise::Acknowledged, Some(0)).as_bytes())?;
        Ok(Self { began: now(), file, last: 0 })
    }

    /// A request begins; its number, from which `op` may be made.
    fn begin(&mut self, by: u64, op: impl FnOnce(u64) -> Op) -> std::io::Result<u64> {
        self.last += 1;
        let id = self.last;
        self.line(&Event::Begin { id, by, op: op(id) })?;
        Ok(id)
    }

    fn end(&mut self, id: u64, outcome: Outcome, content: Vec<Held>) -> std::io::Result<()> {
        self.line(&Event::End { id, outcome, content })
    }

    fn line(&mut self, event: &Event) -> std::io::Result<()> {
        let mut line = String::new();
        file::write(&mut line, (now() - self.began).as_micros() as u64, event);
        self.file.write_all(line.as_bytes())
    }
}

/// What a block that was read holds.
fn held(block: u64, bytes: &[u8]) -> Held {
    let number = number_of(bytes);
    if bytes == content(SEED, block * BLOCK as u64, number) {
        Held::Whole(number)
    } else {
        Held::Strange
    }
}

/// Bytes at an address as direct I/O wants it.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK];
        let from = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, from, length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..][..self.length]
    }
}
