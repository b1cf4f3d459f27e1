//! A small load that knows what every block must hold: a number of workers over one NBD
//! connection, each with blocks of its own and one request at a time.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;

use crate::clock::now;
use crate::wait::{PROMPT, wait_for, wait_until};
use content::{BLOCK, content, number_of};

pub(crate) mod content;
mod worker;

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
    /// Whether it connects again where its connection is lost. What was not answered then may have been done or not,
    /// until it is read.
    pub returns: bool,
}

impl Default for Shape {
    fn default() -> Self {
        let think = Duration::from_millis(1);
        let (read_only, returns) = (false, false);
        Self { depth: 8, blocks: 1024, think, seed: 1, read_only, returns }
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
    /// How often its connection was lost and made anew.
    pub returns: u64,
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

#[derive(Debug)]
struct Counters {
    report: LoadReport,
    last_success: Instant,
    window_begun: Instant,
    window: Window,
    stop: bool,
    /// Passes over all blocks that were asked for, and how many of these each worker has ended, summed up.
    passes: u64,
    passed: u64,
    lost: Option<String>,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    counters: Arc<Mutex<Counters>>,
    depth: u64,
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
            passes: 0,
            passed: 0,
            lost: None,
        };
        let counters = Arc::new(Mutex::new(counters));
        let (mine, uri) = (Arc::clone(&counters), Uri::from_str(uri).expect("an NBD URI"));
        let thread = std::thread::spawn(move || worker::run(uri, shape, &mine));
        Self { counters, depth: shape.depth, thread: Some(thread) }
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

    /// Has every block read and judged between its other requests.
    ///
    /// # Panics
    /// Where a request failed so far or a block is wrong.
    #[track_caller]
    pub fn judge(&self) {
        let all = {
            let mut counters = self.lock();
            counters.passes += 1;
            counters.passes * self.depth
        };
        wait_until("the load has read every block", PROMPT, || self.lock().passed >= all);
        let report = self.lock().report.clone();
        report.clean();
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

/// Reads every block that a load of this shape may have written: each is zeroes or a whole write of this seed,
/// whichever. For disks whose load was lost with its initiator.
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
            let number = number_of(&found);
            assert!(found == content(shape.seed, place, number), "block at {place} is torn");
        }
        connection.disconnect().await;
    });
}
