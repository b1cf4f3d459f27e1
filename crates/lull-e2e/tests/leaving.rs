//! What an operator is told who ends attachments, at either side, and what is told when one cannot begin.

use lull_admin::SessionPhase;
use lull_e2e::{PROMPT, Running, Shape, Target, Use, World, check_disk, wait_until};

fn target(world: &World) -> Target {
    world.target("stor").file("db1", "16M").start()
}

/// [CONN-5] [SAFE-7] A place that stays reserved is named with what ends it.
#[test]
fn who_detaches_while_the_target_is_away_is_told_that_its_place_stays_reserved() {
    let world = World::new();
    let mut target = target(&world);
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    target.kill();
    wait_until("the loss is known", PROMPT, || web.attachment().outage.is_some());
    let told = web.lull(&["detach", "db1"]).code(3);
    assert!(told.stderr.contains("stays reserved"), "{}", told.stderr);
    assert!(told.stderr.contains("lull evict web1 --resource db1"), "{}", told.stderr);
    target.start();
    target.wait_session("web1", SessionPhase::Lost);
    target.lull(&["evict", "web1", "--resource", "db1", "--yes"]).ok();
    assert!(target.session("web1").is_none());
}

/// [SAFE-5] Nobody who is at work is cut off by mistake.
#[test]
fn who_is_connected_is_evicted_by_force_only() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let told = target.lull(&["evict", "web1", "--yes"]).code(1);
    assert!(
        told.stderr.contains("is connected") && told.stderr.contains("--force"),
        "{}",
        told.stderr
    );
    web.wait_sharing();
    target.lull(&["evict", "web1", "--yes", "--force"]).ok();
    assert_eq!(web.process().wait(PROMPT).code(), Some(1), "it ends");
    let log = target.log();
    assert!(log.contains("web1: told to disconnect"), "events name the node: {log}");
    // What it says is what lets it in again.
    let state = web.state_dir().join("db1.json");
    let log = web.log();
    assert!(log.contains(&state.display().to_string()), "it says what to remove: {log}");
    std::fs::remove_file(&state).expect("what it named is there");
    web.start();
    check_disk(&web.nbd(), Shape::default());
}

/// [SAFE-9] A refusal that ends a daemon is told once.
#[test]
fn a_final_refusal_is_told_once() {
    let world = World::new();
    let target = target(&world);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db9")).prepare();
    web.spawn();
    assert_eq!(web.process().wait(PROMPT).code(), Some(1));
    let log = web.log();
    assert_eq!(log.matches("there is no resource").count(), 1, "{log}");
}

/// Two attachments of one resource on a node, each under its own name.
#[test]
fn an_attachment_has_the_name_that_it_is_given() {
    let world = World::new();
    let target = target(&world);
    let one = Use::of(&target, "db1").set("access", "ro").set("attachment-name", "copy");
    let mut web = world.initiator("web1").uses(one).prepare();
    web.spawn();
    wait_until("it shares under its name", PROMPT, || {
        let all = web.try_status().and_then(|status| status.initiator);
        all.is_some_and(|all| all.attachments.iter().any(|one| one.name == "copy"))
    });
    web.lull(&["detach", "copy"]).ok();
    assert!(web.process().wait(PROMPT).success());
    // Down, it is told from its state directory, which is nobody else's. Of one that runs it tells nothing.
    let state = target.state_dir().display().to_string();
    let nowhere = world.path("none.sock").display().to_string();
    for words in [["status", "--state", &state], ["history", "--state", &state]] {
        world.lull(&words).code(1).says("a target runs on the state directory");
    }
    drop(target);
    for words in [["status", "--admin", &nowhere], ["history", "--admin", &nowhere]] {
        world.lull(&words).code(4).says("no daemon at").says("--state DIR");
    }
    let told = world.lull(&["status", "--state", &state, "--admin", &nowhere]).ok();
    assert!(told.stdout.contains("not running"), "{}", told.stdout);
    // At its default place it is read by whoever asks for the daemon, which is not there.
    let default = world.path("default");
    std::fs::create_dir(&default).expect("a new directory");
    std::os::unix::fs::symlink(&state, default.join("target")).expect("a new name");
    let mut asks = world.command(&["status"]);
    asks.env("STATE_DIRECTORY", &default).env("RUNTIME_DIRECTORY", &default);
    let told = Running::start(asks).finish(PROMPT).code(4).says("next: start");
    assert!(told.stdout.contains("not running"), "{}", told.stdout);
    world.lull(&["history", "--state", "/nowhere", "--admin", &nowhere]).code(1).says("/nowhere");
}
