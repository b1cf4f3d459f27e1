//! `lull bench` as a judge of servers that are killed: it records what it saw, and says what is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lull_e2e::{Finished, ForeignServer, PROMPT, Running, Signal, World, send, wait_until};

/// A load that goes on until it is told to end, and its record.
struct Bench {
    running: Running,
    record: PathBuf,
}

impl Bench {
    fn start(world: &World, uri: &str) -> Self {
        Self::shaped(world, uri, ["4M", "40"])
    }

    /// Over so many bytes, and with a flush after so many writes.
    fn shaped(world: &World, uri: &str, [span, flush_every]: [&str; 2]) -> Self {
        let record = world.path("history");
        let file = record.display().to_string();
        let words = ["bench", uri, "--write", "--json", "--record", &file];
        let shape = ["--time", "10m", "--span", span, "--flush-every", flush_every, "--depth", "8"];
        let bench = Self { running: world.start(&[&words[..], &shape].concat()), record };
        bench.wait_progress();
        bench
    }

    /// Waits until its record has grown: it is written in pieces of thousands of lines.
    fn wait_progress(&self) {
        let length = || std::fs::metadata(&self.record).map_or(0, |file| file.len());
        let before = length();
        wait_until("the load goes on", PROMPT, || length() > before);
    }

    /// Ends it: everything that it wrote is read once more.
    fn end(self) -> Finished {
        send(self.running.pid(), Signal::INT);
        self.running.finish(Duration::from_secs(60))
    }
}

fn check(world: &World, record: &Path) -> Finished {
    world.lull(&["bench", "--check", &record.display().to_string(), "--json"])
}

/// The kinds of wrong blocks that a load found.
fn kinds(finished: &Finished) -> Vec<String> {
    let verification = &finished.json()["places"][0]["verification"];
    let wrong = verification["wrong"].as_object().expect("a verification").clone();
    wrong.into_iter().map(|(kind, _)| kind).collect()
}

/// Unflushed writes that die with a client's target are missed, and nothing is said against its flushes.
#[test]
fn a_server_that_loses_what_was_not_flushed_is_convicted_of_that_and_no_more() {
    let world = World::new();
    let disk = format!("faulty:volatile:file:{},size=32M", world.path("db1.img").display());
    let mut target = world.target("stor").backend("db1", &disk).nbd().start();
    // Seldom flushed, and so wide that not all of what is lost is written again before the end.
    let bench = Bench::shaped(&world, &target.nbd_uri("db1"), ["32M", "400"]);
    let record = bench.record.clone();
    bench.wait_progress();
    target.kill();
    target.start();
    bench.wait_progress();
    let found = kinds(&bench.end().code(1));
    assert!(!found.is_empty(), "what was acknowledged is gone, and nobody saw it");
    assert!(found.iter().all(|kind| ["lost", "came_back"].contains(&&**kind)), "{found:?}");
    let verdict = check(&world, &record).code(1).says("not explained");
    let first = &verdict.json()["findings"][0];
    assert!(first["newer_line"].as_u64() < first["line"].as_u64(), "{first}");
    assert_eq!(first["flush_line"], serde_json::Value::Null);
}

/// A server that forgets what it had flushed is told from one that may have forgotten.
#[test]
fn a_server_that_loses_what_was_flushed_is_convicted_of_that() {
    let world = World::new();
    let mut server = ForeignServer::forgetful(&world, "8M");
    let bench = Bench::start(&world, &server.uri());
    let record = bench.record.clone();
    server.kill();
    server.again();
    bench.wait_progress();
    let found = kinds(&bench.end().code(1));
    assert!(found.iter().any(|kind| kind == "flushed_lost"), "{found:?}");
    let finished = world.lull(&["bench", "--check", &record.display().to_string()]).code(1);
    let said = finished.stdout;
    assert!(said.contains("WRONG flushed_lost"), "{said}");
    assert!(said.contains("the flush in lines"), "{said}");
    assert!(said.contains("no disk may lose it"), "{said}");
}

/// Killed and started again, a server that keeps what it acknowledged is right: its clients' errors are no lost writes.
#[test]
fn a_server_that_is_killed_and_loses_nothing_is_right() {
    let world = World::new();
    let disk = world.write("disk.img", "");
    std::fs::File::options().write(true).open(&disk).expect("it").set_len(8 << 20).expect("room");
    for qemu in [false, true] {
        let mut server = match qemu {
            false => ForeignServer::nbdkit(&world, &disk),
            true => ForeignServer::qemu(&world, &disk),
        };
        let bench = Bench::start(&world, &server.uri());
        let record = bench.record.clone();
        for _ in 0..2 {
            server.kill();
            server.again();
            bench.wait_progress();
        }
        let finished = bench.end().code(1);
        assert_eq!(kinds(&finished), Vec::<String>::new(), "{}", finished.stdout);
        let verdict = check(&world, &record).ok().json();
        assert!(verdict["not_done"].as_u64() > Some(0), "requests died with it: {verdict}");
        std::fs::remove_file(record).expect("a record");
    }
}
