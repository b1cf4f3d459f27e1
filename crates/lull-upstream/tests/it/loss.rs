//! What becomes of requests when their server goes away.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lull_block::{Completion, IoStatus, Op};
use lull_frontend::nbd::{Errno, Op as NbdOp};
use lull_upstream::Notice;

use crate::server::{Disk, Server};
use crate::{Bench, Notices, open_noticed};

const MIB: u64 = 1 << 20;
const WRITE: Op = Op::Write { fua: false };

/// A medium on a server of ours.
struct Case {
    dir: tempfile::TempDir,
    disk: Disk,
    server: Option<Server>,
    bench: Bench,
    notices: Notices,
}

impl Case {
    fn new(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(MIB);
        let server = Server::start(&dir.path().join("s"), &disk);
        let (backend, notices) =
            open_noticed(&format!("{}{options}", server.uri), Duration::from_secs(20));
        let bench = Bench::of(backend.unwrap());
        Self { dir, disk, server: Some(server), bench, notices }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("s")
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
    }

    fn start(&mut self) {
        self.server = Some(Server::start(&self.path(), &self.disk));
    }

    fn release(&self) {
        self.server.as_ref().unwrap().release();
    }

    fn hold(&self) {
        self.disk.state().hold = true;
    }

    /// Starts a write that is not answered at once.
    fn begin(&self, offset: u64, data: &[u8], tag: u64) {
        let mut request = self.bench.request(WRITE, offset, data.len() as u32, tag);
        request.buffer.copy_from_slice(data);
        assert!(self.bench.backend.start(request).is_none());
    }

    /// Waits for answers, in the order of their tags.
    fn answers(&self, count: usize) -> Vec<Completion> {
        let mut done = self.bench.wait(count);
        done.sort_by_key(|done| done.tag);
        done
    }

    fn wait_away(&self) -> String {
        wait_until(|| self.bench.backend.waiting().is_some());
        self.bench.backend.waiting().map(|waiting| waiting.what).unwrap_or_default()
    }

    fn noticed(&self, so: impl Fn(&Notice) -> bool) -> usize {
        self.notices.lock().unwrap().iter().filter(|notice| so(notice)).count()
    }
}

/// Waits for something that another thread does.
fn wait_until(mut so: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let happens = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let limit = Duration::from_secs(20);
    let waited = runtime.block_on(async { tokio::time::timeout(limit, happens).await });
    waited.expect("it happens");
}

fn writes(seen: &[(NbdOp, u64)]) -> Vec<u64> {
    seen.iter().filter(|(op, _)| matches!(op, NbdOp::Write { .. })).map(|(_, at)| *at).collect()
}

#[test]
fn requests_wait_for_their_server_and_are_sent_again_in_order() {
    // [CONN-3] none is answered twice or never, and none fails.
    let mut case = Case::new("");
    case.hold();
    for tag in 0..16 {
        case.begin(tag * 4096, &[tag as u8 + 1; 4096], tag);
    }
    case.disk.wait_seen(16);
    case.kill();
    let what = case.wait_away();
    assert!(what.contains("reachable") || what.contains("serve again"), "{what}");
    for tag in 16..24 {
        case.begin(tag * 4096, &[tag as u8 + 1; 4096], tag);
    }
    case.disk.state().hold = false;
    case.disk.state().bytes.fill(0);
    case.start();
    let answers = case.answers(24);
    assert!(answers.iter().all(|done| done.result == Ok(())), "{answers:?}");
    drop(answers);
    let order = writes(&case.disk.wait_seen(24));
    assert_eq!(order, (0..24).map(|tag| tag * 4096).collect::<Vec<_>>());
    for tag in 0..24u64 {
        assert_eq!(case.bench.read(tag * 4096, 4096).unwrap(), [tag as u8 + 1; 4096]);
    }
    assert_eq!(case.bench.backend.waiting(), None);
    assert_eq!(case.noticed(|notice| matches!(notice, Notice::Lost { .. })), 1);
    assert_eq!(case.noticed(|notice| matches!(notice, Notice::Back { again: 16, .. })), 1);
    assert_eq!(case.noticed(|notice| matches!(notice, Notice::Unflushed { .. })), 0);
    wait_until(|| case.bench.pool.in_use() == 0);
}

#[test]
fn changes_that_overlap_are_never_outstanding_together() {
    // [SAFE-3] whatever order a server carries requests out in, and after a loss too.
    let mut case = Case::new("");
    case.hold();
    case.begin(0, &[1; 8192], 0);
    case.begin(4096, &[2; 8192], 1);
    case.begin(65536, &[3; 4096], 2);
    assert_eq!(writes(&case.disk.wait_seen(1)), [0]);
    case.kill();
    case.wait_away();
    case.start();
    assert_eq!(writes(&case.disk.wait_seen(1)), [0]);
    assert_eq!(case.disk.state().seen, [], "the rest waits behind it");
    case.release();
    assert!(case.answers(3).iter().all(|done| done.result == Ok(())));
    assert_eq!(writes(&case.disk.wait_seen(2)), [4096, 65536]);
    assert_eq!(case.bench.read(0, 4096).unwrap(), [1; 4096]);
    assert_eq!(case.bench.read(4096, 8192).unwrap(), [2; 8192]);
}

#[test]
fn a_flush_after_a_loss_with_unflushed_changes_claims_nothing() {
    // [SAFE-4] the server may have lost them with its memory.
    let mut case = Case::new("");
    case.bench.write(0, &[1; 4096], false).unwrap();
    case.kill();
    case.wait_away();
    case.start();
    assert_eq!(case.bench.plain(Op::Flush, 0, 0), Err(IoStatus::Forgotten));
    assert_eq!(case.bench.plain(Op::Flush, 0, 0), Err(IoStatus::Forgotten));
    assert_eq!(case.bench.write(0, &[2; 4096], true), Err(IoStatus::Forgotten));
    assert_eq!(case.bench.write(0, &[3; 4096], false), Ok(()), "it promises nothing");
    case.bench.backend.renew();
    assert_eq!(case.bench.read(0, 4096).unwrap(), [3; 4096]);
    assert_eq!(case.bench.plain(Op::Flush, 0, 0), Ok(()));
    assert_eq!(case.noticed(|notice| matches!(notice, Notice::Unflushed { .. })), 1);
}

#[test]
fn a_read_after_a_loss_with_unflushed_changes_finds_nothing_older() {
    // [SAFE-2] Whoever wrote sends it again first.
    let mut case = Case::new("");
    case.bench.write(0, &[1; 4096], false).unwrap();
    case.kill();
    case.wait_away();
    case.disk.state().bytes.fill(0);
    case.start();
    assert_eq!(case.bench.read(0, 4096).err(), Some(IoStatus::Forgotten));
    assert_eq!(case.bench.read(0, 4096).err(), Some(IoStatus::Forgotten), "nobody has begun anew");
    case.bench.backend.renew();
    case.bench.write(0, &[1; 4096], false).unwrap();
    assert_eq!(case.bench.read(0, 4096).unwrap(), [1; 4096]);
}

#[test]
fn a_flush_after_a_loss_with_everything_flushed_succeeds() {
    let mut case = Case::new("");
    case.bench.write(0, &[1; 4096], false).unwrap();
    case.bench.plain(Op::Flush, 0, 0).unwrap();
    case.bench.write(8192, &[1; 4096], true).unwrap();
    case.kill();
    case.wait_away();
    case.start();
    assert!(case.bench.read(0, 4096).is_ok());
    assert_eq!(case.bench.plain(Op::Flush, 0, 0), Ok(()));
    assert_eq!(case.bench.write(0, &[2; 4096], true), Ok(()));
}

#[test]
fn write_through_leaves_nothing_to_be_lost() {
    let mut case = Case::new(",write-through");
    case.bench.write(0, &[1; 4096], false).unwrap();
    case.bench.zero(8192, 4096, false).unwrap();
    let seen = case.disk.wait_seen(2);
    let durable = NbdOp::WriteZeroes { fua: true, keep_allocated: false, fast: false };
    assert_eq!(seen, [(NbdOp::Write { fua: true }, 0), (durable, 8192)]);
    case.kill();
    case.wait_away();
    case.start();
    assert_eq!(case.bench.plain(Op::Flush, 0, 0), Ok(()));
}

#[test]
fn a_server_that_says_it_goes_down_is_waited_for() {
    let case = Case::new("");
    case.disk.state().fail = Some(Errno::Shutdown);
    case.begin(0, &[1; 4096], 0);
    wait_until(|| case.noticed(|notice| matches!(notice, Notice::Lost { .. })) > 0);
    case.disk.state().fail = None;
    assert_eq!(case.answers(1)[0].result, Ok(()));
    let said = case.notices.lock().unwrap()[0].to_string();
    assert!(said.contains("shutting down"), "{said}");
}

#[test]
fn an_export_that_shrank_is_refused_until_it_is_as_large_again() {
    // [CONN-7] for the users of ours.
    let mut case = Case::new("");
    case.kill();
    case.wait_away();
    case.disk.state().size = MIB / 2;
    case.start();
    case.begin(0, &[1; 4096], 0);
    let shrank =
        |notice: &Notice| matches!(notice, Notice::Away { why, .. } if why.contains("shrank"));
    wait_until(|| case.noticed(shrank) > 0);
    assert!(case.wait_away().contains("shrank from 1048576 to 524288"));
    assert_eq!(writes(&case.disk.state().seen), [] as [u64; 0]);
    case.disk.state().size = MIB;
    assert_eq!(case.answers(1)[0].result, Ok(()));
}

#[test]
fn a_server_that_answers_nothing_is_named() {
    let case = Case::new("");
    case.hold();
    case.begin(0, &[1; 4096], 0);
    assert_eq!(case.wait_away(), "answer what it was sent");
    case.release();
    assert_eq!(case.answers(1)[0].result, Ok(()));
}

/// Passes connections on; each is cut after so many bytes from the server, the last never.
fn cutting_proxy(at: &Path, to: &Path, cuts: Vec<usize>) {
    let listener = UnixListener::bind(at).unwrap();
    let to = to.to_owned();
    std::thread::spawn(move || {
        for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
            let (client, _) = listener.accept().unwrap();
            let server = UnixStream::connect(&to).unwrap();
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let (mut from_server, mut to_client) = (server, client);
            let mut left = cut;
            let mut bytes = [0; 1000];
            while left > 0 {
                let most = left.min(bytes.len());
                let Ok(count @ 1..) = from_server.read(&mut bytes[..most]) else { break };
                if to_client.write_all(&bytes[..count]).is_err() {
                    break;
                }
                left -= count;
            }
            let _ = to_client.shutdown(std::net::Shutdown::Both);
            let _ = from_server.shutdown(std::net::Shutdown::Both);
        }
    });
}

#[test]
fn a_read_that_is_cut_in_the_middle_of_its_data_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(MIB);
    let pattern: Vec<u8> = (0..MIB).map(|n| (n / 7) as u8).collect();
    disk.state().bytes.copy_from_slice(&pattern);
    let server = Server::start(&dir.path().join("s"), &disk);
    // Within the first read's data, within the handshake, and again within the data.
    cutting_proxy(&dir.path().join("p"), &dir.path().join("s"), vec![300_000, 30, 200_000]);
    let uri = format!("nbd+unix:///disk?socket={}", dir.path().join("p").display());
    let (backend, notices) = open_noticed(&uri, Duration::from_secs(20));
    let bench = Arc::new(Bench::of(backend.unwrap()));
    assert_eq!(bench.read(0, MIB as u32).unwrap(), pattern);
    let lost = |notice: &&Notice| matches!(notice, Notice::Lost { .. });
    assert_eq!(notices.lock().unwrap().iter().filter(lost).count(), 2);
    drop(bench);
    drop(server);
}
