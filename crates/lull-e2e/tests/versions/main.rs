//! Daemons of today beside peers that speak an earlier version of the protocol and were never changed since.

mod raw;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use lull_admin::{AttachmentPhase, SessionPhase};
use lull_e2e::{
    FrozenTarget, Load, PROMPT, Running, Shape, Signal, Target, Use, World, check_disk, frozen,
    has_program, wait_until,
};
use lull_wire::messages::{Attached, Refused};
use lull_wire::{
    Digest, Epoch, ExtentState, Features, Message, OpCode, RefusalCode, Retry, StatusCode, Tenure,
    Text,
};

/// A load that a peer in Python keeps up with.
fn light() -> Shape {
    Shape { depth: 4, blocks: 256, ..Shape::default() }
}

/// [CONN-8] [PAUSE-7] Restarts of a target of the first version, with either kind of incarnation afterwards.
#[test]
fn a_target_of_the_first_version_is_used_through_its_restarts() {
    let world = World::new();
    let mut target = FrozenTarget::start(&world, 1);
    let web = world.initiator("web1").uses(Use::at(&target.addr(), "db1")).start();
    let load = Load::start(&web.nbd(), light());
    for (round, flags) in [&[][..], &["--same-incarnation"], &[]].iter().enumerate() {
        load.wait_progress(50);
        target.signal(Signal::USR1);
        target.wait_said("web1 completed", round + 1);
        target.wait_gone();
        target.again(flags);
        target.wait_said("web1 stalled", round + 1);
    }
    web.wait_sharing();
    load.wait_progress(50);
    load.finish().clean();
    check_disk(&web.nbd(), light());
    web.lull(&["detach", "db1"]).ok();
    target.wait_said("web1 detached", 1);
}

/// [CONN-8] [CONN-2] [CONN-3] What was unanswered at its crash is sent again to a target of the first version. Its medium
/// outlives the process.
#[test]
fn a_target_of_the_first_version_that_is_killed_is_waited_for() {
    let world = World::new();
    let mut target = FrozenTarget::start(&world, 1);
    let web = world.initiator("web1").uses(Use::at(&target.addr(), "db1")).start();
    let load = Load::start(&web.nbd(), light());
    for _ in 0..3 {
        load.wait_progress(50);
        target.kill();
        web.wait_phase(AttachmentPhase::Away);
        target.again(&[]);
        web.wait_sharing();
    }
    load.wait_progress(50);
    load.finish().clean();
    check_disk(&web.nbd(), light());
}

/// [CONN-8] [PAUSE-6] A pause of a target of the first version that comes to nothing.
#[test]
fn a_target_of_the_first_version_may_give_a_pause_up() {
    let world = World::new();
    let target = FrozenTarget::start(&world, 1);
    let web = world.initiator("web1").uses(Use::at(&target.addr(), "db1")).start();
    let load = Load::start(&web.nbd(), light());
    load.wait_progress(50);
    target.signal(Signal::USR2);
    target.wait_said("web1 completed", 1);
    web.wait_phase(AttachmentPhase::Paused);
    target.signal(Signal::USR2);
    web.wait_sharing();
    load.wait_progress(50);
    load.finish().clean();
}

/// Ends with its handle.
struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run of the initiator of the first version, with what it says in a log.
fn initiator(world: &World, target: &Target, name: &str, words: &[&str]) -> Frozen {
    let mut command = frozen(1, "initiator.py");
    command.args(["--node", name, target.listen(), "db1"]).args(words).current_dir(world.path(""));
    let log = std::fs::File::create(world.path(&format!("{name}.log"))).expect("a log");
    let out = std::fs::File::create(world.path(&format!("{name}.out"))).expect("an output");
    command.stdin(Stdio::piped()).stdout(out).stderr(log);
    Frozen(command.spawn().expect("python3 starts"))
}

#[track_caller]
fn wait_end(mut run: Frozen) {
    drop(run.0.stdin.take());
    wait_until("the end of initiator.py", PROMPT, || {
        run.0
            .try_wait()
            .expect("waiting for a child")
            .map(|status| assert!(status.success()))
            .is_some()
    });
}

/// [CONN-8] [PAUSE-1] [PAUSE-3] A writer and a reader of the first version take part in a restart of today's target.
#[test]
fn initiators_of_the_first_version_write_read_and_take_part_in_a_restart() {
    const CHUNK: usize = 1 << 20;
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let data: Vec<u8> =
        (0..2 * CHUNK as u32).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let mut writer = initiator(&world, &target, "old-writer", &["write", "0"]);
    let reader = initiator(&world, &target, "old-reader", &["stay", "--seconds", "600"]);
    let mut pipe = writer.0.stdin.take().expect("a pipe");
    pipe.write_all(&data[..CHUNK]).expect("a writer that reads");
    for name in ["old-writer", "old-reader"] {
        target.wait_session(name, SessionPhase::Sharing);
    }
    let record = target.restart(&["--daemon", "--pause-timeout", "10s"]);
    assert_eq!(record.rows.len(), 2, "{record:?}");
    assert!(record.rows.iter().all(|row| row.pause_complete_ms.is_some()), "{record:?}");
    for name in ["old-writer", "old-reader"] {
        target.wait_session(name, SessionPhase::Sharing);
    }
    pipe.write_all(&data[CHUNK..]).expect("a writer that reads");
    drop(pipe);
    wait_end(writer);
    lull_e2e::send(reader.0.id(), Signal::TERM);
    wait_end(reader);
    let run = initiator(&world, &target, "old", &["read", "0", &data.len().to_string()]);
    wait_end(run);
    assert!(std::fs::read(world.path("old.out")).expect("its output") == data, "other data");
    assert!(target.status().initiators.is_empty(), "all of them have detached");
}

/// [CONN-8] An initiator of a later release that does not speak our versions any more learns what to do, whatever its
/// HELLO has behind the fields that we know.
#[test]
fn an_initiator_from_the_future_is_told_what_is_spoken_here() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let mut peer = raw::Peer::dial(&world.path("stor.sock"));
    peer.hello(3, 7, b"what nobody knows yet");
    let Some((Message::Refused(refused), _)) = peer.next() else { panic!("REFUSED") };
    assert_eq!((refused.code, refused.retry), (RefusalCode::Version, Retry::Final));
    let detail = "this target speaks versions 1 to 2 of the protocol, the initiator 3 to 7; install releases that are \
                  at most one apart";
    assert_eq!(refused.detail.as_str(), detail);
    assert!(peer.next().is_none(), "REFUSED is the last frame");
    let said = target.lull(&["events"]).ok().stdout;
    assert!(said.contains("the initiator 3 to 7"), "{said}");
}

/// [CONN-8] A target of a later release refuses `lull attach`: its words are shown, and it ends.
#[test]
fn a_target_from_the_future_is_not_dialled_for_ever() {
    let world = World::new();
    let path = world.path("future.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let future = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let refused = Refused {
            code: RefusalCode::Version,
            retry: Retry::Final,
            retry_after_ms: 0,
            epoch: Epoch(0),
            tenure: Tenure(0),
            detail: Text::clipped("this target speaks versions 4 to 5; update the initiator"),
        };
        let mut frame = Vec::new();
        Message::from(refused).encode(Digest::NONE, &mut frame);
        stream.write_all(&frame).expect("an initiator that reads");
        // It stays until the initiator has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let web =
        world.initiator("web1").uses(Use::at(&format!("unix:{}", path.display()), "db1")).prepare();
    let said = Running::start(web.command()).finish(PROMPT).code(1);
    said.says("versions 4 to 5").says("update the initiator");
    future.join().expect("a target");
}

/// What a session of this version is granted of a disk with one block of data, and what it is told of its extents.
fn told_of_extents(version: u16) -> (Attached, StatusCode, Vec<(u64, ExtentState)>) {
    let world = World::new();
    let _target = world.target("stor").file("db1", "16M").start();
    std::fs::write(world.path("db1.img"), [7; 65_536])
        .and_then(|()| {
            std::fs::File::options().write(true).open(world.path("db1.img"))?.set_len(16 << 20)
        })
        .expect("a disk");
    let mut peer = raw::Peer::dial(&world.path("stor.sock"));
    peer.hello(version, version, b"");
    let attached = peer.attach("db1");
    let (status, payload) = peer.ask(OpCode::Extents, 0, 16 << 20);
    (attached, status, raw::extents(&payload))
}

/// [CONN-8] In a session of the second version extents are offered and told.
#[test]
fn the_second_version_tells_extents() {
    let (attached, status, list) = told_of_extents(2);
    assert!(attached.features.has(Features::EXTENTS));
    let hole = ExtentState::HOLE.with(ExtentState::ZERO);
    assert_eq!(
        (status, list),
        (StatusCode::Done, vec![(65_536, ExtentState::none()), ((16 << 20) - 65_536, hole)])
    );
}

/// [CONN-8] In a session of the first version they are not offered, and asked for all the same as unknown as ever.
#[test]
fn the_first_version_has_no_extents() {
    let (attached, status, list) = told_of_extents(1);
    assert_eq!(attached.features, Features::DISCARD.with(Features::WRITE_ZEROES));
    assert_eq!((status, list), (StatusCode::NotSupported, vec![]));
}

/// What a consumer of this disk is told of its extents: nbdinfo's lines without what they are called.
fn mapped(running: Running) -> Vec<[u64; 3]> {
    let said = running.finish(PROMPT).ok().stdout;
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|word| word.parse().ok());
        [(); 3].map(|()| numbers.next().expect("offset, length, flags"))
    };
    said.lines().map(line).collect()
}

fn map(uri: &str) -> Running {
    assert!(has_program("nbdinfo"), "nbdinfo is not installed: `apt-get install libnbd-bin`");
    let mut command = Command::new("nbdinfo");
    command.args(["--map", uri]);
    Running::start(command)
}

/// [CONN-3] [PAUSE-7] A consumer behind an attachment learns what is a hole; asked in a pause it waits for the answer.
#[test]
fn a_consumer_of_an_attachment_is_told_extents_and_waits_for_them_in_a_pause() {
    const SIZE: u64 = 16 << 20;
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    assert_eq!(mapped(map(&web.nbd())), [[0, SIZE, 3]]);
    let shape = Shape { depth: 1, blocks: 16, ..Shape::default() };
    let load = Load::start(&web.nbd(), shape);
    load.wait_progress(200);
    load.finish().clean();
    let expected = [[0, 65_536, 0], [65_536, SIZE - 65_536, 3]];
    assert_eq!(mapped(map(&web.nbd())), expected);
    target.lull(&["pause"]).ok();
    web.wait_phase(AttachmentPhase::Paused);
    let mut waiting = map(&web.nbd());
    wait_until("the question is held", PROMPT, || web.attachment().held > 0);
    assert!(!waiting.has_ended());
    target.lull(&["abort"]).ok();
    assert_eq!(mapped(waiting), expected);
}

/// [CONN-7] [CONN-8] What a target of the first version cannot be asked is data.
#[test]
fn all_of_a_disk_of_a_target_of_the_first_version_is_data() {
    let world = World::new();
    let target = FrozenTarget::start(&world, 1);
    let web = world.initiator("web1").uses(Use::at(&target.addr(), "db1")).start();
    assert_eq!(mapped(map(&web.nbd())), [[0, 16 << 20, 0]]);
}
