//! A small load that knows what every block must hold: a number of workers over one NBD
//! connection, each with blocks of its own and one request at a time.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lull_frontend::nbd::client::Connection;
use lull_frontend::nbd::{Uri, client::RequestError};

use crate::clock::now;
use crate::wait::{PROMPT, wait_for, wait_until};

/// Bytes of a block.
const BLOCK: usize = 4096;

/// Requests of a worker between two flushes.
const FLUSH_EVERY: u64 = 97;

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Requests in flight at once.
    pub depth: u64,
    /// Blocks of 4 KiB that it uses, from the disk's start.
    pub blocks: u64,
    /// The pause of each worker after each request; zero: none.
    pub think: Duration,
    /// Distinguishes what it writes from what others write.
    pub seed: u64,
    /// Whether it only reads; nothing is checked then but the answers.
    pub read_only: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { depth: 8, blocks: 1024, think: Duration::from_millis(1), seed: 1, read_only: false }
    }
}

/// What happened within a time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Requests that succeeded.
    pub done: u64,
    /// Requests that failed.
    pub errors: u64,
    /// The longest time without a success, within the window.
    pub longest_gap: Duration,
}

/// What a load came to.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests that succeeded.
    pub done: u64,
    /// Requests that failed, by the reason.
    pub errors: BTreeMap<String, u64>,
    /// Blocks that did not hold what they must, in words.
    pub wrong: Vec<String>,
    /// The longest time without a success.
    pub longest_gap: Duration,
    /// Blocks that the last pass read and found right.
    pub verified: u64,
}

impl LoadReport {
    /// Itself, if nothing failed and no block was wrong.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn clean(self) -> Self {
        assert!(self.errors.is_empty(), "errors reached the consumer: {self:?}");
        self.right()
    }

    /// Itself, if no block was wrong.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn right(self) -> Self {
        assert!(self.wrong.is_empty(), "blocks are wrong: {self:?}");
        assert!(self.done > 0, "the load has done nothing");
        self
    }
}

/// What one block may hold.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// Number of the last write that was answered with success; 0: none, zeroes.
    sure: u64,
    /// Number of a later write whose outcome is not known.
    perhaps: Option<u64>,
}

#[derive(Debug)]
struct Counters {
    report: LoadReport,
    last_success: Instant,
    window_begun: Instant,
    window: Window,
    stop: bool,
    lost: Option<String>,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    counters: Arc<Mutex<Counters>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts on the disk at `uri` (`nbd+unix:…`, `nbd://…`), whose used blocks are zeroes, and waits for its first
    /// successes.
    #[track_caller]
    pub fn start(uri: &str, shape: Shape) -> Self {
        let load = Self::begin(uri, shape);
        load.wait_progress(2 * shape.depth);
        load
    }

    /// Starts without waiting for anything.
    pub fn begin(uri: &str, shape: Shape) -> Self {
        let begun = now();
        let window = Window { done: 0, errors: 0, longest_gap: Duration::ZERO };
        let report = LoadReport::default();
        let counters = Counters {
            report,
            last_success: begun,
            window_begun: begun,
            window,
            stop: false,
            lost: None,
        };
        let counters = Arc::new(Mutex::new(counters));
        let (mine, uri) = (Arc::clone(&counters), Uri::from_str(uri).expect("an NBD URI"));
        let thread = std::thread::spawn(move || run(&uri, shape, &mine));
        Self { counters, thread: Some(thread) }
    }

    /// Requests that have succeeded so far.
    pub fn done(&self) -> u64 {
        self.lock().report.done
    }

    /// Requests that have failed so far.
    pub fn errors(&self) -> u64 {
        self.lock().report.errors.values().sum()
    }

    /// Waits until `count` more requests have succeeded.
    #[track_caller]
    pub fn wait_progress(&self, count: u64) {
        let from = self.done();
        wait_for(&format!("{count} more requests succeed"), PROMPT, || {
            let counters = self.lock();
            assert!(counters.lost.is_none(), "the load has lost its disk: {:?}", counters.lost);
            (counters.report.done >= from + count).then_some(())
        });
    }

    /// How long it takes from `since` until a request succeeds, at most `within`.
    #[track_caller]
    pub fn served_after(&self, since: Instant, within: Duration) -> Duration {
        let last = wait_for("a request succeeds", within, || {
            let last = self.lock().last_success;
            (last > since).then_some(last)
        });
        last - since
    }

    /// What happened since this was last called or the load began; a gap counts from there.
    pub fn take_window(&self) -> Window {
        let mut counters = self.lock();
        let at = now();
        let gap = at - counters.last_success.max(counters.window_begun);
        let mut window = counters.window;
        window.longest_gap = window.longest_gap.max(gap);
        counters.window = Window { done: 0, errors: 0, longest_gap: Duration::ZERO };
        counters.window_begun = at;
        window
    }

    /// Ends it: workers finish their requests, then every block is read and judged.
    ///
    /// # Panics
    /// Where the disk does not answer any more.
    #[track_caller]
    pub fn finish(mut self) -> LoadReport {
        self.lock().stop = true;
        let thread = self.thread.take().expect("a load that runs");
        wait_until("the load ends with its last pass", 4 * PROMPT, || thread.is_finished());
        if let Err(why) = thread.join() {
            std::panic::resume_unwind(why);
        }
        let counters = self.lock();
        assert!(counters.lost.is_none(), "the load has lost its disk: {:?}", counters.lost);
        counters.report.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().expect("counters")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Ok(mut counters) = self.counters.lock() {
            counters.stop = true;
        }
    }
}

fn run(uri: &Uri, shape: Shape, counters: &Arc<Mutex<Counters>>) {
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
        // After two unknown outcomes the older one counts as one that may be there no more.
        block.perhaps = Some(number);
        self.connection.write(place, content(self.shape.seed, place, number), false).await?;
        self.blocks[which] = Block { sure: number, perhaps: None };
        Ok(())
    }

    /// Reads a block and judges it; true where it is right.
    async fn read(&mut self, which: usize) -> Result<bool, RequestError> {
        let place = self.place(which);
        let found = self.connection.read(place, vec![0; BLOCK]).await?;
        if self.shape.read_only {
            return Ok(true);
        }
        let block = self.blocks[which];
        let seed = self.shape.seed;
        let fits = |number| found == content(seed, place, number);
        if fits(block.sure) || block.perhaps.is_some_and(fits) {
            return Ok(true);
        }
        let number = found[..8].try_into().map_or(0, u64::from_le_bytes);
        let words = format!(
            "block at {place}: write {} was acknowledged ({:?} perhaps), it holds number {number}",
            block.sure, block.perhaps
        );
        self.counters.lock().expect("counters").report.wrong.push(words);
        Ok(false)
    }
}

/// Reads every block that a load of this shape has left and waits for the reads only: that each is
/// zeroes or a whole write of this seed, whichever. For a disk that is read by another.
///
/// # Panics
/// Where one is not, or cannot be read.
#[track_caller]
pub fn check_disk(uri: &str, shape: Shape) {
    let uri = Uri::from_str(uri).expect("an NBD URI");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime"), async {
        let connection = Connection::<Vec<u8>>::connect(&uri).await.expect("a disk");
        for block in 0..shape.blocks {
            let place = block * BLOCK as u64;
            let found = connection.read(place, vec![0; BLOCK]).await.expect("a read");
            let number = found[..8].try_into().map_or(0, u64::from_le_bytes);
            assert!(found == content(shape.seed, place, number), "block at {place} is torn");
        }
        connection.disconnect().await;
    });
}

/// What write `number` puts at `place`; number 0 is what a new disk holds.
fn content(seed: u64, place: u64, number: u64) -> Vec<u8> {
    if number == 0 {
        return vec![0; BLOCK];
    }
    let key = mix(seed ^ mix(place ^ mix(number)));
    let mut block = Vec::with_capacity(BLOCK);
    block.extend(number.to_le_bytes());
    for word in 1..BLOCK as u64 / 8 {
        block.extend(key.wrapping_add(word).wrapping_mul(0xd134_2543_de82_ef95).to_le_bytes());
    }
    block
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
