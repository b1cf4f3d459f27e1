//! The load against a server that is right, and against the same with one thing wrong.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use lull_frontend::nbd::{
    Closer, Device, Errno, Exports, Geometry, Limits, Op, OpenRefused, Reply, Uri, serve,
};
use lull_transport::{Addr, Listener};
use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::{Load, Plan, Report, new_run};

const BLOCKS: u64 = 64;

/// What is wrong with a disk, from its hundredth request on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// One write in ten is acknowledged and thrown away.
    LosesWrites,
    /// One read in ten returns what was there before the last write.
    ReadsThePast,
    /// One read in ten has a bit that is another.
    FlipsBits,
    /// One read in ten is of the next block.
    Misplaces,
    /// One request in ten is answered with an error.
    Fails,
    /// Nothing is answered any more.
    Hangs,
}

/// A disk in memory.
struct Disk {
    wrong: Cell<Wrong>,
    requests: Cell<u64>,
    now: RefCell<HashMap<u64, Vec<u8>>>,
    past: RefCell<HashMap<u64, Vec<u8>>>,
    unanswered: RefCell<Vec<Reply<Vec<u8>>>>,
}

impl Disk {
    fn execute(&self, op: Op, offset: u64, buffer: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let wrong = |kind| {
            let nth = self.requests.get();
            self.wrong.get() == kind && nth > 100 && nth.is_multiple_of(10)
        };
        let mut buffer = buffer?;
        let empty = || vec![0; buffer.len()];
        if op != Op::Read {
            if !wrong(Wrong::LosesWrites) {
                let old = self.now.borrow_mut().insert(offset, buffer.clone());
                self.past.borrow_mut().insert(offset, old.unwrap_or_else(empty));
            }
            return Some(buffer);
        }
        let next = offset + buffer.len() as u64;
        let found = match () {
            () if wrong(Wrong::ReadsThePast) => self.past.borrow().get(&offset).cloned(),
            () if wrong(Wrong::Misplaces) => self.now.borrow().get(&next).cloned(),
            () => self.now.borrow().get(&offset).cloned(),
        };
        buffer = found.unwrap_or_else(empty);
        if wrong(Wrong::FlipsBits) {
            buffer[700] ^= 1;
        }
        Some(buffer)
    }
}

impl Device for Disk {
    type Buffer = Vec<u8>;

    fn geometry(&self) -> Geometry {
        Geometry {
            size: BLOCKS * 4096,
            block: 512,
            preferred: 4096,
            max_length: 1 << 20,
            read_only: false,
            discard: false,
            write_zeroes: false,
            fast_zeroes: false,
            cache: false,
            extents: false,
            multi_conn: false,
            description: String::new(),
        }
    }

    fn buffer(&self, length: u32) -> Option<Vec<u8>> {
        Some(vec![0; length as usize])
    }

    async fn buffer_freed(&self) {}

    fn submit(&self, op: Op, offset: u64, _: u64, buffer: Option<Vec<u8>>, reply: Reply<Vec<u8>>) {
        self.requests.set(self.requests.get() + 1);
        match self.wrong.get() {
            Wrong::Fails if self.requests.get().is_multiple_of(10) => reply.done(Err(Errno::Io)),
            Wrong::Hangs if self.requests.get() > 100 => {
                self.unanswered.borrow_mut().push(reply);
            }
            _ => reply.done(Ok(self.execute(op, offset, buffer))),
        }
    }
}

struct OneDisk(Rc<Disk>);

impl Exports for OneDisk {
    type Device = Disk;

    fn list(&self) -> Vec<String> {
        vec!["disk".into()]
    }

    async fn open(&self, _: &str) -> Result<Rc<Disk>, OpenRefused> {
        Ok(Rc::clone(&self.0))
    }
}

/// A server on a socket of its own.
struct Server {
    disk: Rc<Disk>,
    uri: Uri,
    listener: Rc<Listener>,
    _directory: tempfile::TempDir,
    connections: Rc<RefCell<JoinSet<()>>>,
}

impl Server {
    async fn start(wrong: Wrong) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let addr = Addr::Unix(directory.path().join("nbd.sock"));
        let disk = Rc::new(Disk {
            wrong: Cell::new(wrong),
            requests: Cell::new(0),
            now: RefCell::default(),
            past: RefCell::default(),
            unanswered: RefCell::default(),
        });
        let listener = Rc::new(Listener::bind(&addr).await.unwrap());
        let connections = Rc::new(RefCell::new(JoinSet::new()));
        let uri = Uri { addr, export: String::new() };
        let server = Self { disk, uri, listener, _directory: directory, connections };
        let exports = Rc::new(OneDisk(Rc::clone(&server.disk)));
        let (listener, connections) = (Rc::clone(&server.listener), Rc::clone(&server.connections));
        spawn_local(async move {
            while let Ok(stream) = listener.accept().await {
                let serving = serve(stream, Rc::clone(&exports), Limits::default(), Closer::new());
                let _ = connections.borrow_mut().spawn_local(async move {
                    let _ = serving.await;
                });
            }
        });
        server
    }

    /// Cuts every connection, with whatever was under way.
    fn cut(&self) {
        *self.connections.borrow_mut() = JoinSet::new();
    }

    fn plan(&self) -> Plan {
        Plan { depth: 8, count: Some(4000), ..Plan::new(self.uri.clone()) }
    }
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

fn report_of(wrong: Wrong) -> Report {
    local(async {
        let server = Server::start(wrong).await;
        Load::start(server.plan(), new_run().unwrap()).await.unwrap().finish().await
    })
}

/// The kinds of wrong blocks that a report names.
fn kinds(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.ok, report.verification.as_ref().unwrap().wrong_blocks == 0);
    report.verification.as_ref().unwrap().wrong.keys().copied().collect()
}

#[test]
fn a_right_disk_is_right_and_everything_on_it_is_read_again() {
    let report = report_of(Wrong::Nothing);
    assert!(report.ok, "{report:?}");
    assert_eq!(report.reads + report.writes, 4000);
    let found = report.verification.unwrap();
    assert_eq!((found.checked_reads, found.verified_blocks), (report.reads, BLOCKS));
    assert!(found.complete);
}

#[test]
fn an_acknowledged_write_that_is_thrown_away_is_found() {
    assert!(kinds(&report_of(Wrong::LosesWrites)).contains(&"lost"));
}

#[test]
fn an_old_write_that_comes_back_is_found() {
    let report = report_of(Wrong::ReadsThePast);
    assert!(kinds(&report).contains(&"came_back"), "{report:?}");
}

#[test]
fn content_that_nobody_wrote_there_is_found() {
    for wrong in [Wrong::FlipsBits, Wrong::Misplaces] {
        let report = report_of(wrong);
        assert!(kinds(&report).contains(&"corrupt"), "{wrong:?}: {report:?}");
    }
}

#[test]
fn errors_are_counted_by_kind_and_do_not_end_the_load() {
    let report = local(async {
        let server = Server::start(Wrong::Fails).await;
        let plan = Plan { count: Some(500), flush_every: 20, ..server.plan() };
        Load::start(plan, new_run().unwrap()).await.unwrap().finish().await
    });
    assert!(!report.ok);
    assert!(report.errors["EIO"] >= 50, "{report:?}");
    assert_eq!(report.errors.len(), 1);
    let found = report.verification.unwrap();
    assert_eq!(found.wrong_blocks, 0, "an error is no wrong block: {found:?}");
}

#[test]
fn the_first_error_ends_a_load_that_is_told_so() {
    let report = local(async {
        let server = Server::start(Wrong::Fails).await;
        let plan = Plan { stop_at_error: true, verify: false, ..server.plan() };
        Load::start(plan, new_run().unwrap()).await.unwrap().finish().await
    });
    assert!(!report.ok);
    assert!(report.reads + report.writes < 30, "{report:?}");
}

#[test]
fn a_lost_connection_costs_an_error_per_request_and_is_made_again() {
    let report = local(async {
        let server = Server::start(Wrong::Hangs).await;
        let load = Load::start(server.plan(), new_run().unwrap()).await.unwrap();
        while server.disk.unanswered.borrow().len() < 8 {
            tokio::task::yield_now().await;
        }
        server.disk.wrong.set(Wrong::Nothing);
        server.cut();
        server.disk.unanswered.take().into_iter().for_each(|reply| reply.done(Err(Errno::Io)));
        load.finish().await
    });
    assert!(!report.ok);
    assert_eq!(report.errors["connection lost"], 8, "{report:?}");
    assert_eq!(report.connections_lost, 1);
    assert_eq!(report.reads + report.writes, 4000 - 8);
    assert_eq!(report.verification.unwrap().wrong_blocks, 0);
}

#[test]
fn what_is_never_answered_is_an_error_and_not_a_hang() {
    let report = local(async {
        let server = Server::start(Wrong::Hangs).await;
        // Long enough for a busy machine to ask in.
        let time = Some(Duration::from_secs(1));
        let patience = Duration::from_millis(20);
        let plan = Plan { time, patience, count: None, ..server.plan() };
        let report = Load::start(plan, new_run().unwrap()).await.unwrap().finish().await;
        server.disk.unanswered.take().into_iter().for_each(|reply| reply.done(Err(Errno::Io)));
        report
    });
    assert!(!report.ok);
    assert_eq!(report.errors["no answer"], 8, "{report:?}");
    assert!(report.longest_gap_ms >= 20, "{report:?}");
    assert!(!report.verification.unwrap().complete);
}

#[test]
fn a_disk_that_does_not_fit_the_plan_is_refused_with_the_next_step() {
    let refused = |change: fn(&mut Plan)| {
        local(async move {
            let server = Server::start(Wrong::Nothing).await;
            let mut plan = server.plan();
            change(&mut plan);
            Load::start(plan, 1).await.unwrap_err().to_string()
        })
    };
    assert!(refused(|plan| plan.block = 2 << 20).contains("--block-size"));
    assert!(refused(|plan| plan.block = 1 << 20).contains("fewer than one block"));
    assert!(refused(|plan| plan.uri.addr = Addr::Unix("/nonexistent".into())).contains("unix:"));
}
