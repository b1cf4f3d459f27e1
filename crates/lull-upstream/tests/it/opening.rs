//! Media that open, or do not, and leave nothing behind.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use lull_block::{IoStatus, Op};

use crate::server::{Disk, Server};
use crate::{Bench, open_noticed, open_text};

fn refused(text: &str) -> String {
    match open_noticed(text, Duration::ZERO).0 {
        Ok(_) => panic!("{text} was opened"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_the_next_step() {
    let said = refused("nbd+unix:///disk?socket=/nowhere");
    for part in ["nbd+unix:///disk?socket=/nowhere", "cannot reach", "nbdinfo --list"] {
        assert!(said.contains(part), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("s"), &Disk::new(1 << 20));
    let said = refused(&server.uri.replace("/disk?", "/dusk?"));
    assert!(said.contains("no export `dusk`"), "{said}");
    let odd = Server::start(&dir.path().join("odd"), &Disk::new(0));
    assert!(refused(&odd.uri).contains("give it a size"));
}

#[test]
fn a_server_that_accepts_and_says_nothing_does_not_hold_up_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent");
    let _listener = UnixListener::bind(&path).unwrap();
    let said = refused(&format!("nbd+unix:///disk?socket={}", path.display()));
    assert!(said.contains("does not answer within 5s"), "{said}");
}

#[test]
fn a_server_that_comes_late_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let late = std::thread::spawn({
        let path = path.clone();
        move || Server::start(&path, &Disk::new(1 << 20))
    });
    let backend = open_text(&format!("nbd+unix:///disk?socket={}", path.display())).unwrap();
    assert_eq!(backend.geometry().size, 1 << 20);
    drop(late.join().unwrap());
}

#[test]
fn no_connection_is_left_when_the_medium_is_closed() {
    // [SAFE-6] in the words that a network has for it.
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(1 << 20);
    let server = Server::start(&dir.path().join("s"), &disk);
    for _ in 0..3 {
        let bench = Bench::open(&server.uri);
        bench.write(0, &[1; 4096], false).unwrap();
        assert_eq!(disk.state().users, 1);
        drop(bench);
        disk.wait("the connection is gone", |state| state.users == 0);
    }
}

#[test]
fn what_a_closed_medium_still_holds_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("s"), &Disk::new(1 << 20));
    let Bench { backend, pool, completions } = Bench::open(&server.uri);
    server.kill();
    let token = completions.token(7);
    let buffer = pool.take(4096).unwrap();
    let request = lull_block::Request { op: Op::Read, offset: 0, length: 4096, buffer, token };
    assert!(backend.start(request).is_none());
    drop(backend);
    let mut done = Vec::new();
    completions.drain(&mut done);
    let [done] = &done[..] else { panic!("{done:?}") };
    assert_eq!((done.tag, &done.result), (7, &Err(IoStatus::Faulted)));
}

#[test]
fn another_address_is_another_disk() {
    // [SAFE-8]
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(1 << 20);
    let identity = |name: &str| {
        let server = Server::start(&dir.path().join(name), &disk);
        let backend = open_text(&format!("{},write-through", server.uri)).unwrap();
        assert!(backend.set_identity([1; 16]).is_err());
        (backend.identity(), backend.describe(), backend.engine())
    };
    let one = identity("a");
    assert_eq!(one.2, "nbd");
    assert!(one.1.starts_with("nbd+unix:///disk?socket="), "{one:?}");
    assert!(one.0.is_some() && one == identity("a") && one.0 != identity("b").0);
}
