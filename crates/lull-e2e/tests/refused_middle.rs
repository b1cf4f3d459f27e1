//! Three nodes in a line, where the one in the middle is not let in at the first any more: for a while, or for good.

use lull_admin::{Alert, AlertKind, AttachmentStatus, Status};
use lull_e2e::{Initiator, Load, PROMPT, Shape, Target, Use, World, wait_for, wait_until};

fn line(world: &World) -> (Target, Target, Initiator) {
    let top = world.target("top").file("d", "16M").start();
    let middle = world.target("middle").backend("d", &top.uri("d")).start();
    let leaf = world.initiator("leaf").uses(Use::of(&middle, "d")).start();
    (top, middle, leaf)
}

fn alert(status: Option<Status>, kind: AlertKind) -> Option<Alert> {
    status?.alerts.into_iter().find(|alert| alert.kind == kind)
}

fn upper(middle: &Target) -> Option<AttachmentStatus> {
    middle.try_status()?.initiator?.attachments.pop()
}

/// How many lines of a log have all of these words.
fn lines(log: &str, words: &[&str]) -> usize {
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// [CHAIN-1] [SAFE-5] [SAFE-7] [SAFE-8] Who is evicted above fails nobody: its users keep what they asked, hear that it is for
/// good and what the way out is, and so does its operator. What they kept is lost by the operator's word, not before.
#[test]
fn a_middle_that_is_evicted_names_the_way_out_and_fails_nobody_before_it() {
    let world = World::new();
    let (top, mut middle, leaf) = line(&world);
    let load = Load::start(&leaf.nbd(), Shape::default());
    load.wait_progress(100);
    top.lull(&["evict", "middle", "--yes", "--force"]).ok();
    let refused =
        wait_for("it is refused", PROMPT, || alert(leaf.try_status(), AlertKind::Refused));
    assert!(refused.text.contains("--adopt d") && refused.text.contains("top/d"), "{refused:?}");
    let lost = wait_for("it is told", PROMPT, || alert(middle.try_status(), AlertKind::Faulted));
    assert!(lost.next.contains("--adopt d") && lost.text.contains("evicted"), "{lost:?}");
    let attachment = leaf.attachment();
    assert_eq!((attachment.errors, load.errors()), (0, 0));
    assert!(attachment.outage.is_some_and(|outage| outage.deadline.is_some()), "its timer runs");
    middle.kill();
    middle.start();
    wait_until("it is refused again", PROMPT, || {
        alert(middle.try_status(), AlertKind::Faulted).is_some()
    });
    assert_eq!((leaf.attachment().errors, load.errors()), (0, 0));
    middle.kill();
    middle.spawn_with(&["--adopt", "d"]);
    middle.wait_serving();
    wait_until("it is told that it is lost", PROMPT, || leaf.log().contains("is lost"));
    drop(load);
    drop(leaf);
    let leaf = world.initiator("leaf").uses(Use::of(&middle, "d")).flag("--adopt").start();
    Load::start(&leaf.nbd(), Shape { seed: 7, ..Shape::default() }).finish();
}

/// [CHAIN-1] [TIMER-5] Who is refused above says so, once at each node, and goes on as soon as it is let in.
#[test]
fn a_middle_that_is_refused_says_so_once() {
    let world = World::new();
    let top = world.target("top").file("other", "16M").start();
    let middle = world.target("middle").backend("d", &top.uri("d")).start();
    let mut leaf = world.initiator("leaf").uses(Use::of(&middle, "d")).prepare();
    leaf.spawn();
    wait_until("it was refused twice", PROMPT, || {
        upper(&middle).is_some_and(|upper| upper.epoch > 1)
    });
    let waits = wait_for("it holds", PROMPT, || leaf.try_status()?.initiator?.attachments.pop());
    let waits = waits.waits_for.expect("it says for whom");
    assert!(
        waits.for_whom.contains("top/d") && waits.what.contains("there is no resource"),
        "{waits:?}"
    );
    let upper = upper(&middle).expect("its attachment");
    let outage = upper.outage.expect("it is not let in").why;
    assert!(outage.contains("there is no resource"), "{outage}");
    assert_eq!(lines(&top.log(), &["refused", "there is no resource"]), 1, "{}", top.log());
    let (middle_log, leaf_log) = (middle.log(), leaf.log());
    assert_eq!(lines(&middle_log, &["holds", "there is no resource"]), 1, "{middle_log}");
    assert!(
        lines(&leaf_log, &["holds"]) <= 2,
        "when it has not been reached, and when it refuses: {leaf_log}"
    );
    drop(top);
    let _top = world.target("top").file("d", "16M").start();
    leaf.wait_sharing();
}
