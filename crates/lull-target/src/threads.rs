//! The threads of one life. Thread 0 is the one on which the machine runs; it has connections like the others. An
//! accepted connection is given to the thread with the fewest, and stays there: its requests meet no other thread.
//! Between the machine and a connection go only messages that are no requests, through one queue each way for each
//! thread, so that what concerns one connection keeps its order.

use crate::clock::Clock;
use crate::daemon::{Input, Shared};
use crate::gauge::Watch;
use crate::local::{Command, Local, TURNS_TO_READ};
use crate::media;
use lull_block::{DEFAULT_BUDGET, Pool};
use lull_proto::MonoTime;
use std::cell::RefCell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

/// How long a deadline waits for threads that read what is there: one whose disk makes it wait must not keep the others'
/// deadlines.
const READ_LIMIT: Duration = Duration::from_millis(100);

/// All threads.
pub struct Threads {
    all: Vec<Handle>,
    lost: Arc<Notify>,
}

struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    watch: Arc<Watch>,
    load: Arc<AtomicUsize>,
    end: RefCell<Option<End>>,
}

/// How the end of a thread is waited for.
struct End {
    ended: oneshot::Receiver<()>,
    /// None for the machine's own.
    thread: Option<JoinHandle<()>>,
}

/// A connection's place on its thread, counted until it is dropped.
pub struct Berth(Arc<AtomicUsize>);

impl Berth {
    fn take(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says that a thread ended by a panic.
struct Alive(Arc<Notify>);

impl Drop for Alive {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

impl Threads {
    /// Starts so many, this one among them; to be called within its `LocalSet`.
    ///
    /// # Errors
    /// Where the system gives no thread, or no memory.
    pub fn start(
        count: NonZeroUsize,
        clock: Clock,
        shared: &Arc<[Shared]>,
        control: &mpsc::UnboundedSender<Input>,
    ) -> io::Result<Self> {
        let lost = Arc::new(Notify::new());
        let mut threads = Self { all: Vec::new(), lost };
        for number in 0..count.get() {
            let pool = Pool::new(DEFAULT_BUDGET / count)?;
            let watch = Arc::new(Watch::new(clock));
            let (commands, asked) = mpsc::unbounded_channel();
            let (tell_end, ended) = oneshot::channel();
            let (shared, control) = (Arc::clone(shared), control.clone());
            let (seen, lost) = (Arc::clone(&watch), Arc::clone(&threads.lost));
            let thread = if number == 0 {
                let local = Local::new(number, shared, pool, seen, control);
                tokio::task::spawn_local(async move {
                    local.run(asked).await;
                    let _ = tell_end.send(());
                });
                None
            } else {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let work = move || {
                    let _alive = Alive(lost);
                    let here = LocalSet::new();
                    runtime.block_on(here.run_until(async move {
                        media::give_ring();
                        Local::new(number, shared, pool, seen, control).run(asked).await;
                    }));
                    // With its tasks go its descriptors and its hold on the media [PAUSE-9].
                    drop(here);
                    drop(runtime);
                    let _ = tell_end.send(());
                };
                let name = format!("lull-data-{number}");
                Some(std::thread::Builder::new().name(name).spawn(work)?)
            };
            let end = RefCell::new(Some(End { ended, thread }));
            threads.all.push(Handle { commands, watch, load: Arc::default(), end });
        }
        Ok(threads)
    }

    /// The thread for one more connection, and the place there. Of those with the fewest it is the first: a single
    /// connection shares the machine's thread and wakes no second one.
    pub fn berth(&self) -> (usize, Berth) {
        let load = |(_, handle): &(usize, &Handle)| handle.load.load(Ordering::Relaxed);
        let least = self.all.iter().enumerate().min_by_key(load);
        let (number, handle) = least.unwrap_or_else(|| unreachable!("there is at least one"));
        (number, Berth::take(&handle.load))
    }

    /// Connections on all of them.
    pub fn load(&self) -> usize {
        self.all.iter().map(|handle| handle.load.load(Ordering::Relaxed)).sum()
    }

    /// Asks something of one thread.
    pub fn ask(&self, number: usize, command: Command) {
        // A thread that is gone has no connections either; its loss is told by `lost`.
        let _ = self.all[number].commands.send(command);
    }

    /// Lets every client without an agent go.
    pub fn let_agentless_go(&self) {
        for number in 0..self.all.len() {
            self.ask(number, Command::LetAgentlessGo);
        }
    }

    /// Begins to look when the last answer is given, as if it had been now.
    pub fn begin_watch(&self, now: MonoTime) {
        self.all.iter().for_each(|handle| handle.watch.begin(now));
    }

    /// Looks no longer.
    pub fn end_watch(&self) {
        self.all.iter().for_each(|handle| handle.watch.end());
    }

    /// The last answer of all.
    pub fn last_answer(&self) -> MonoTime {
        self.all.iter().map(|handle| handle.watch.last()).max().unwrap_or_default()
    }

    /// Has every thread read what is there, so that it is seen before a deadline is acted upon [TIMER-6].
    pub async fn read(&self) {
        self.read_within(READ_LIMIT).await;
    }

    async fn read_within(&self, limit: Duration) {
        let ask = |number| {
            let (done, read) = oneshot::channel();
            self.ask(number, Command::Read { done });
            read
        };
        let reading: Vec<_> = (1..self.all.len()).map(ask).collect();
        for _ in 0..TURNS_TO_READ {
            tokio::task::yield_now().await;
        }
        let all = async {
            for read in reading {
                // One that is gone has nothing to read.
                let _ = read.await;
            }
        };
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// Returns when a thread has ended by itself, which is a bug.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Lets the last messages leave and ends all; when it returns, the others' descriptors are closed.
    pub async fn end(&self) {
        for number in 0..self.all.len() {
            self.ask(number, Command::End);
        }
        for handle in &self.all {
            let Some(end) = handle.end.take() else { continue };
            let _ = end.ended.await;
            join(end.thread);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for (number, handle) in self.all.iter().enumerate() {
            if let Some(end) = handle.end.take() {
                self.ask(number, Command::End);
                join(end.thread);
            }
        }
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.join().is_err()
    {
        tracing::error!("a thread ended by a panic; its words are above");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_thread_with_the_fewest_and_the_first_to_the_machines_own() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let here = LocalSet::new();
        runtime.block_on(here.run_until(async {
            let (control, _heard) = mpsc::unbounded_channel();
            let count = NonZeroUsize::new(3).unwrap();
            let shared: Arc<[Shared]> = Arc::new([]);
            let threads = Threads::start(count, Clock::start(), &shared, &control).unwrap();
            let mut berths: Vec<_> = (0..6).map(|_| threads.berth()).collect();
            let numbers: Vec<_> = berths.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, [0, 1, 2, 0, 1, 2]);
            berths.remove(4);
            assert_eq!(threads.berth().0, 1, "one has left it");
            threads.end().await;
        }));
    }

    #[test]
    fn every_thread_has_read_what_was_there_when_a_deadline_is_acted_upon() {
        // [TIMER-6]
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let here = LocalSet::new();
        runtime.block_on(here.run_until(async {
            let (control, mut heard) = mpsc::unbounded_channel();
            let count = NonZeroUsize::new(3).unwrap();
            let shared: Arc<[Shared]> = Arc::new([]);
            let threads = Threads::start(count, Clock::start(), &shared, &control).unwrap();
            let mut peers = Vec::new();
            for conn in 1..=3 {
                let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                let (number, berth) = threads.berth();
                let (conn, gauge) = (lull_proto::ConnId(conn), Arc::default());
                let socket = lull_transport::Socket::Unix(ours);
                threads.ask(number, Command::Serve { conn, socket, gauge, berth });
                let mut frame = Vec::new();
                let ping = lull_wire::Message::from(lull_wire::messages::Ping { token: 1 });
                ping.encode(lull_wire::frame::Digest::NONE, &mut frame);
                std::io::Write::write_all(&mut theirs, &frame).unwrap();
                peers.push(theirs);
            }
            // On a busy machine a thread may not have run for longer than a deadline waits for it.
            threads.read_within(Duration::MAX).await;
            let come = std::iter::from_fn(|| heard.try_recv().ok());
            assert_eq!(come.filter(|input| matches!(input, Input::Frame { .. })).count(), 3);
            threads.end().await;
        }));
    }
}
