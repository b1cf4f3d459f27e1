//! Several initiators that write to one disk, at the same places.

use lull_admin::{AttachmentPhase, OutcomeKind, SessionPhase};
use lull_e2e::{Initiator, PROMPT, Signal, Target, Use, World, rounds, wait_for, wait_until};
use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;
use lull_history::{Checker, Held, Op, Outcome, Promise};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of a unit, units of the disk that are used, and of the longest request.
const UNIT: u64 = 512;
const UNITS: u64 = 64;
const LONGEST: u64 = 12;
/// Requests that each initiator's consumers have under way.
const DEPTH: u64 = 6;

/// What all of them asked and were answered, in real time, and who judges it.
struct Judge {
    checker: Checker,
    requests: u64,
    contents: u64,
    fault: Option<String>,
}

/// Consumers of several initiators of one disk.
struct Crowd {
    judge: Arc<Mutex<Judge>>,
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn start(initiators: &[Initiator]) -> Self {
        let checker = Checker::new(Promise::Acknowledged, Some(0));
        let judge = Judge { checker, requests: 0, contents: 1, fault: None };
        let mut crowd = Self {
            judge: Arc::new(Mutex::new(judge)),
            stop: Arc::default(),
            done: Vec::new(),
            failed: Arc::default(),
            threads: Vec::new(),
        };
        for (by, initiator) in initiators.iter().enumerate() {
            let uri = Uri::from_str(&initiator.nbd()).expect("an NBD URI");
            let done = Arc::<AtomicU64>::default();
            let one = Consumers {
                by: by as u64 + 1,
                judge: Arc::clone(&crowd.judge),
                stop: Arc::clone(&crowd.stop),
                done: Arc::clone(&done),
                failed: Arc::clone(&crowd.failed),
            };
            crowd.done.push(done);
            crowd.threads.push(std::thread::spawn(move || one.run(&uri)));
        }
        crowd.wait_progress(0..initiators.len());
        crowd
    }

    /// Waits until each of these has been answered some more.
    fn wait_progress(&self, which: std::ops::Range<usize>) {
        let count = |at: usize| self.done[at].load(Ordering::Relaxed);
        let from: Vec<_> = which.clone().map(count).collect();
        wait_until("the consumers of all are answered", 2 * PROMPT, || {
            which.clone().zip(&from).all(|(at, from)| count(at) >= from + 30)
        });
    }

    /// The target was killed: what nobody was answered may be done again in another order.
    fn target_died(&self) {
        self.judge.lock().expect("the judge").checker.redone();
    }

    /// Ends it; how many requests failed.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        wait_until("all are answered", 4 * PROMPT, || {
            self.threads.iter().all(JoinHandle::is_finished)
        });
        for thread in self.threads {
            thread.join().expect("consumers");
        }
        let judge = self.judge.lock().expect("the judge");
        assert_eq!(judge.fault, None, "after {} requests", judge.requests);
        self.failed.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Consumers {
    by: u64,
    judge: Arc<Mutex<Judge>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Consumers {
    fn run(self, uri: &Uri) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async {
            let connection = Connection::<Vec<u8>>::connect(uri).await.expect("a disk");
            let work = |nth| {
                tokio::task::spawn_local(self.clone().work(connection.clone(), self.by * 100 + nth))
            };
            let workers: Vec<_> = (0..DEPTH).map(work).collect();
            for worker in workers {
                worker.await.expect("a worker");
            }
            connection.disconnect().await;
        });
    }

    async fn work(self, connection: Connection<Vec<u8>>, seed: u64) {
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while !self.stop.load(Ordering::Relaxed) {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let count = 1 + chance % LONGEST;
            // Most of them meet at the begin of the disk.
            let room = if chance >> 8 & 3 == 0 { UNITS - count } else { 6 };
            let first = (chance >> 16) % (room + 1);
            self.ask(&connection, chance >> 40 & 1 == 0, first, count).await;
        }
    }

    async fn ask(&self, connection: &Connection<Vec<u8>>, writes: bool, first: u64, count: u64) {
        let (id, content) = {
            let mut judge = self.judge.lock().expect("the judge");
            judge.requests += 1;
            let (id, content) = (judge.requests, judge.contents);
            judge.contents += count;
            let op = match writes {
                true => Op::Write { first, count, content, durable: false },
                false => Op::Read { first, count },
            };
            judge.checker.begin(id, self.by, op);
            (id, content)
        };
        let (at, length) = (first * UNIT, (count * UNIT) as usize);
        let outcome = if writes {
            let number = |byte: usize| content + byte as u64 / (UNIT / 8);
            let bytes = (0..length / 8).flat_map(|word| number(word).to_le_bytes()).collect();
            connection.write(at, bytes, false).await.map(|_| Vec::new())
        } else {
            connection.read(at, vec![0; length]).await
        };
        let mut judge = self.judge.lock().expect("the judge");
        let (outcome, found) = match outcome {
            Ok(found) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                (Outcome::Done, found)
            }
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                (Outcome::Unknown, Vec::new())
            }
        };
        let held = |unit: &[u8]| {
            Held::Whole(unit.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
        };
        let held: Vec<_> = found.chunks(UNIT as usize).map(held).collect();
        if let Err(fault) = judge.checker.end(id, outcome, &held) {
            judge.fault.get_or_insert_with(|| fault.to_string());
        }
    }
}

/// A target of two threads with one disk, and so many initiators that share it.
fn shared(world: &World, barrier: &str, count: usize) -> (Target, Vec<Initiator>) {
    let builder = world.target("stor").set("threads", "2").set("barrier", barrier);
    let target = builder.file("db1", "16M").start();
    let initiator = |number: usize| {
        let shares = Use::of(&target, "db1").set("access", "rw-shared");
        world.initiator(&format!("web{number}")).uses(shares).start()
    };
    let initiators = (1..=count).map(initiator).collect();
    (target, initiators)
}

/// [SAFE-11] [RESUME-2] Kills and restarts of the target, under writers that meet at the same blocks: each read of any of
/// them is explained by what all of them wrote, in real time, and nobody gets an error.
#[test]
fn what_sharers_read_is_explained_through_kills_and_restarts() {
    let world = World::new();
    let (mut target, initiators) = shared(&world, "60s", 3);
    let crowd = Crowd::start(&initiators);
    for _ in 0..rounds(4) {
        target.kill();
        crowd.target_died();
        target.start();
        crowd.wait_progress(0..3);
        let record = target.restart(&["--daemon"]);
        assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
        crowd.wait_progress(0..3);
    }
    assert_eq!(crowd.end(), 0);
}

/// [RESUME-2] At the end of the barrier the others go on without the one that is missing, which status names meanwhile;
/// it goes on later, and what it had unanswered was answered with errors.
#[test]
fn who_misses_the_barrier_is_named_and_goes_on_later() {
    let world = World::new();
    let (mut target, initiators) = shared(&world, "4s", 2);
    let crowd = Crowd::start(&initiators);
    // One that still runs would answer, behind the back of the other, all that is on its way.
    target.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(50));
    initiators[1].freeze();
    target.kill();
    crowd.target_died();
    target.start();
    let wait = wait_for("status names whom the others wait for", PROMPT, || {
        let wait = target.status().resources[0].waits_for.clone();
        wait.filter(|wait| wait.for_whom == "web2")
    });
    assert!(wait.deadline.is_some(), "{wait:?}");
    crowd.wait_progress(0..1);
    initiators[1].thaw();
    initiators[1].wait_phase(AttachmentPhase::Sharing);
    crowd.wait_progress(0..2);
    assert!(crowd.end() > 0, "what it had unanswered has an unknown outcome");
    assert!(target.log().contains("the other sharers go on without"), "{}", target.log());
    assert!(initiators[1].log().contains("is unknown"), "{}", initiators[1].log());
    assert!(target.status().resources[0].waits_for.is_none());
}

/// [SAFE-9] Who would write alone is refused, and told who shares; a reader goes beside them.
#[test]
fn one_who_would_write_alone_is_told_who_shares() {
    let world = World::new();
    let (target, initiators) = shared(&world, "60s", 2);
    let admin = format!("unix:{}", world.path("alone.sock").display());
    let nbd = format!("unix:{}", world.path("alone.nbd").display());
    let state = world.path("alone.state").display().to_string();
    let uri = target.uri("db1");
    let words =
        ["attach", &uri, "--nbd", &nbd, "--admin", &admin, "--state", &state, "--name", "alone"];
    let refused = world.lull(&words);
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("is attached rw-shared by web"), "{}", refused.stderr);
    let reads = Use::of(&target, "db1").set("access", "ro");
    let _reader = world.initiator("reads").uses(reads).start();
    target.wait_session("reads", SessionPhase::Sharing);
    drop(initiators);
}
