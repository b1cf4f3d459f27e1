//! A ring with a medium that never answers.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::{DEPTH, IoLoop};
use crate::file::engine::{Engine, FileBackend};
use crate::file::inspect::{self, Kind};
use crate::file::medium::Medium;
use crate::{Backend as _, Completions, IoStatus, Op, Pool, Request, Workers};

const PAGE: u32 = 4096;

fn backend(file: OwnedFd) -> FileBackend {
    let medium = Medium::new(file, Kind::Regular, true);
    let geometry = inspect::geometry(1 << 20, 512, false);
    let workers = Workers::new(2).unwrap();
    FileBackend::new(medium, geometry, "disk".into(), false, Engine::Ring, &workers)
}

/// Starts a read of the first page.
fn read(from: &FileBackend, pool: &Pool, to: &Completions, tag: u64) {
    let buffer = pool.take(PAGE as usize).unwrap();
    let request = Request { op: Op::Read, offset: 0, length: PAGE, buffer, token: to.token(tag) };
    assert!(from.start(request).is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn a_medium_that_hangs_leaves_the_ring_to_the_others() {
    let ring = IoLoop::start().expect("this test needs io_uring, which is not permitted here");
    let many = u64::from(DEPTH) * 2;
    let pool = Pool::with_classes(&[(PAGE as usize, many as usize + 1)]).unwrap();
    // A socket to which nobody writes.
    let (socket, silent) = UnixStream::pair().unwrap();
    let (hung, hung_done) = (backend(socket.into()), Completions::new());
    for tag in 0..many {
        read(&hung, &pool, &hung_done, tag);
    }
    let file = tempfile::tempfile().unwrap();
    File::set_len(&file, 1 << 20).unwrap();
    let (lively, lively_done) = (backend(file.into()), Completions::new());
    read(&lively, &pool, &lively_done, 7);
    tokio::select! {
        never = ring.run() => match never {},
        () = lively_done.ready() => {}
    }
    let mut done = Vec::new();
    lively_done.drain(&mut done);
    assert_eq!((done[0].tag, done[0].result), (7, Ok(())));
    hung_done.drain(&mut done);
    assert_eq!(done.len(), 1, "the other answers nothing yet");
    // Once it ends, what waited is let go too: nothing was dropped.
    drop(silent);
    done.clear();
    while done.len() < many as usize {
        tokio::select! {
            never = ring.run() => match never {},
            () = hung_done.ready() => hung_done.drain(&mut done),
        }
    }
    assert!(done.iter().all(|done| done.result == Err(IoStatus::Io)));
}
