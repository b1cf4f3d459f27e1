//! Daemons of today beside peers that speak an earlier version of the protocol and were never changed since.

use std::io::Write as _;
use std::process::{Child, Stdio};

use lull_admin::{AttachmentPhase, SessionPhase};
use lull_e2e::{
    FrozenTarget, Load, PROMPT, Shape, Signal, Target, Use, World, check_disk, frozen, wait_until,
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
