//! What holds whoever does the work: a ring of the caller's thread, or threads that wait.

use std::fs::{self, File};
use std::thread;

use lull_block::{Completion, Completions, IoStatus, Op, OpenError, Pool, Request};

use crate::{Bench, event_loop, open_text};

/// More than a ring holds.
const MANY: u64 = 1500;
const PAGE: u32 = 4096;

/// A file with room for [`MANY`] pages, on each engine.
fn every_file(at: &std::path::Path) -> Vec<String> {
    let at = at.display();
    ["direct=on,engine=uring", "direct=on,engine=threads", "engine=uring", "engine=threads"]
        .map(|options| {
            format!("file:{at}/{options},size=8M,{options}").replace("/direct=on,", "/direct-")
        })
        .into()
}

fn many_pages() -> Pool {
    Pool::with_classes(&[(PAGE as usize, MANY as usize)]).unwrap()
}

/// Starts one request of a page for each number below [`MANY`], all at once; all answers, in order.
fn all_at_once(bench: &Bench, pool: &Pool, op: Op) -> Vec<Completion> {
    let mut done = Vec::new();
    for tag in 0..MANY {
        let mut buffer = pool.take(PAGE as usize).unwrap();
        buffer.fill(if op == Op::Read { 0xee } else { tag as u8 });
        let token = bench.completions.token(tag);
        let offset = tag * u64::from(PAGE);
        done.extend(bench.backend.start(Request { op, offset, length: PAGE, buffer, token }));
    }
    done.extend(bench.wait(MANY as usize - done.len()));
    done.sort_by_key(|done| done.tag);
    done
}

#[test]
fn requests_beyond_a_rings_depth_wait_and_are_each_answered() {
    let dir = tempfile::tempdir().unwrap();
    let pool = many_pages();
    for text in every_file(dir.path()) {
        let bench = Bench::open(&text);
        for op in [Op::Write { fua: false }, Op::Write { fua: true }, Op::Read] {
            let done = all_at_once(&bench, &pool, op);
            for (tag, done) in done.iter().enumerate() {
                assert_eq!((done.tag, done.result), (tag as u64, Ok(())), "{text} {op:?}");
                assert!(done.buffer.iter().all(|&byte| byte == tag as u8), "{text} {op:?}");
            }
        }
        assert_eq!(pool.in_use(), 0, "{text}: every buffer came back");
    }
}

#[test]
fn a_cut_file_fails_those_beyond_its_end_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let pool = many_pages();
    for text in every_file(dir.path()) {
        let bench = Bench::open(&text);
        let path = &fs::read_dir(dir.path()).unwrap().last().unwrap().unwrap().path();
        let there = MANY / 2;
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(there * u64::from(PAGE)).unwrap();
        let done = all_at_once(&bench, &pool, Op::Read);
        for done in done {
            let expected = if done.tag < there { Ok(()) } else { Err(IoStatus::Io) };
            assert_eq!(done.result, expected, "{text}: page {}", done.tag);
        }
        drop(bench);
        fs::remove_file(path).unwrap();
    }
}

/// [SAFE-6] The lock is on the descriptor that does the I/O: when it can be had, nothing is under
/// way.
#[test]
fn a_loop_that_ends_waits_for_what_is_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("file:{}/disk,size=8M,direct=on,engine=uring", dir.path().display());
    let completions = Completions::new();
    let (pool, home) = (many_pages(), completions.clone());
    let (on_thread, from) = (text.clone(), pool.clone());
    let other = thread::spawn(move || {
        event_loop::have();
        let backend = open_text(&on_thread).unwrap();
        for tag in 0..MANY {
            let mut buffer = from.take(PAGE as usize).unwrap();
            buffer.fill(tag as u8);
            let (op, offset) = (Op::Write { fua: true }, tag * u64::from(PAGE));
            let token = home.token(tag);
            let request = Request { op, offset, length: PAGE, buffer, token };
            assert!(backend.start(request).is_none());
        }
        // Nobody waits: the thread ends, and with it its loop.
    });
    other.join().unwrap();
    let mut done = Vec::new();
    completions.drain(&mut done);
    assert_eq!(done.len(), MANY as usize);
    assert!(done.iter().all(|done| done.result == Ok(())));
    drop(done);
    assert_eq!(pool.in_use(), 0);
    let bench = Bench::open(&text);
    assert_eq!(bench.read((MANY - 1) * 4096, PAGE).unwrap(), [(MANY - 1) as u8; PAGE as usize]);
}

#[test]
fn a_thread_without_a_ring_is_served_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("file:{}/disk,size=8M,direct=on,engine=uring", dir.path().display());
    let bench = Bench::open(&text);
    let request = bench.request(Op::Read, 0, PAGE, 7);
    thread::scope(|scope| {
        let started = scope.spawn(|| bench.backend.start(request).is_none());
        assert!(started.join().unwrap());
    });
    let done = bench.wait(1).pop().unwrap();
    assert_eq!((done.tag, done.result), (7, Ok(())));
    assert_eq!(done.buffer[..], [0; PAGE as usize]);
}

/// [SAFE-4] They share calls across threads too, and each is answered where it was asked.
#[test]
fn two_threads_share_a_file_and_its_flushes() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_file(dir.path()) {
        let backend = open_text(&text).unwrap();
        let work = |side: u64| {
            let bench = Bench::of(backend.clone());
            for round in 0..20u64 {
                let offset = (round * 2 + side) * u64::from(PAGE);
                let data = [round as u8 + side as u8; PAGE as usize];
                bench.write(offset, &data, round % 4 == 0).unwrap();
                bench.plain(Op::Flush, 0, 0).unwrap();
                assert_eq!(bench.read(offset, PAGE).unwrap(), data, "{text}");
            }
        };
        thread::scope(|scope| {
            // A panic of either is one of the scope.
            for side in [0, 1] {
                scope.spawn(move || work(side));
            }
        });
    }
}

/// The ring knows the memory of the first pool only.
#[test]
fn a_buffer_of_another_pool_serves_too() {
    let dir = tempfile::tempdir().unwrap();
    for text in every_file(dir.path()) {
        let bench = Bench::open(&text);
        bench.write(0, &[3; PAGE as usize], false).unwrap();
        let other = Pool::with_classes(&[(PAGE as usize, 1)]).unwrap();
        let token = bench.completions.token(9);
        let buffer = other.take(PAGE as usize).unwrap();
        let done = bench.run(Request { op: Op::Read, offset: 0, length: PAGE, buffer, token });
        assert_eq!((done.result, done.buffer[0]), (Ok(()), 3), "{text}");
    }
}

#[test]
fn a_file_system_that_cannot_bypass_the_page_cache_says_what_to_do() {
    // The kernel's own file systems have no disk to go to.
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let Err(error) = open_text(&format!("file:{path},direct=on,read-only")) else {
        panic!("{path} was opened past the page cache");
    };
    assert!(matches!(error, OpenError::NoDirect { .. }), "{error}");
    assert!(error.to_string().contains("use direct=off"), "{error}");
    // Newer kernels let a memory file system have it; older ones are told the same.
    let shm = tempfile::tempdir_in("/dev/shm").unwrap();
    let text = format!("file:{}/disk,size=1M,direct=on", shm.path().display());
    match open_text(&text) {
        Ok(backend) => {
            assert_eq!(Bench::of(backend).read(0, PAGE).unwrap(), [0; PAGE as usize]);
        }
        Err(error) => assert!(matches!(error, OpenError::NoDirect { .. }), "{error}"),
    }
}
