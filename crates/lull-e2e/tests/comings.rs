//! Initiators that come and go at moments that do not suit.

use lull_admin::{AttachmentPhase, RestartPhase, SessionPhase};
use lull_e2e::{Load, PROMPT, Shape, Signal, Target, Use, World, check_disk, rounds, wait_until};

fn target(world: &World) -> Target {
    world.target("stor").file("db1", "16M").file("db2", "16M").start()
}

/// [CONN-1] The order in which machines boot does not matter.
#[test]
fn an_initiator_that_is_first_waits_for_its_target() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").prepare();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    web.spawn();
    let attachment = web.wait_phase(AttachmentPhase::Dialling);
    assert!(attachment.outage.is_some(), "no hold without an owner: {attachment:?}");
    target.start();
    web.wait_sharing();
    let load = Load::start(&web.nbd(), Shape::default());
    load.finish().clean();
}

/// [PAUSE-8] Who is new during a pause is put off, not refused.
#[test]
fn one_that_is_new_during_a_pause_comes_in_after_it() {
    let world = World::new();
    let target = target(&world);
    let web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web1.nbd(), Shape::default());
    target.lull(&["pause"]).ok();
    let mut web2 = world.initiator("web2").uses(Use::of(&target, "db2")).prepare();
    web2.spawn();
    wait_until("web2 has been put off", PROMPT, || web2.log().contains("trying again"));
    assert!(target.session("web2").is_none());
    target.lull(&["resume"]).ok();
    web2.wait_sharing();
    load.wait_progress(100);
    load.finish().clean();
}

/// [CONN-5] SIGTERM of an initiator is its detaching: nothing is kept for it, and nothing is lost.
#[test]
fn a_terminated_initiator_flushes_and_leaves_the_roster() {
    let world = World::new();
    let target = target(&world);
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    Load::start(&web.nbd(), Shape::default()).finish().clean();
    web.process().signal(Signal::TERM);
    assert!(web.process().wait(PROMPT).success());
    assert!(target.session("web1").is_none());
    let other = world.initiator("web2").uses(Use::of(&target, "db1")).start();
    check_disk(&other.nbd(), Shape::default());
}

/// [PAUSE-8] Who detaches during a pause counts as done.
#[test]
fn one_that_detaches_during_a_pause_is_not_waited_for() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").file("db2", "16M").file("db3", "16M");
    let target = target.set("keep-alive", "30s").start();
    let web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let web2 = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    let web3 = world.initiator("web3").uses(Use::of(&target, "db3")).start();
    let load = Load::start(&web1.nbd(), Shape::default());
    web2.freeze();
    let running = target.begin(&["restart", "--daemon", "--pause-timeout", "60s"]);
    target.wait_restart(RestartPhase::Pausing);
    web3.lull(&["detach", "db3"]).ok();
    web2.thaw();
    running.finish(PROMPT).ok();
    load.wait_progress(100);
    load.finish().clean();
    target.wait_session("web2", SessionPhase::Sharing);
    assert!(target.session("web3").is_none());
}

/// [CONN-2] [SAFE-5] Both sides die at once and come back in either order.
#[test]
fn both_sides_killed_at_once_find_each_other_again() {
    let world = World::new();
    let mut target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    for round in 0..rounds(2) {
        let target_first = round % 2 == 0;
        let load = Load::start(&web.nbd(), Shape { seed: 1, ..Shape::default() });
        target.kill();
        web.kill();
        drop(load);
        if target_first {
            target.start();
            web.spawn();
        } else {
            web.spawn();
            target.start();
        }
        web.wait_sharing();
        target.wait_all_sharing();
        assert_eq!(target.status().initiators.len(), 1);
        check_disk(&web.nbd(), Shape::default());
        web.lull(&["status"]).ok();
        // The next load finds zeroes again.
        web.lull(&["detach", "db1"]).ok();
        std::fs::remove_dir_all(web.state_dir()).expect("its state");
        zero(&world);
        web.start();
    }
}

/// Makes the first disk read as zeroes.
fn zero(world: &World) {
    let disk = std::fs::OpenOptions::new().write(true).open(world.path("db1.img")).expect("a disk");
    disk.set_len(0).and_then(|()| disk.set_len(16 << 20)).expect("an empty disk");
}
