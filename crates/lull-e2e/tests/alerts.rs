//! What an operator should look at is in the status, in the log when it begins and when it is over, and in the metrics.

use lull_admin::{Alert, AlertKind, Status};
use lull_e2e::{PROMPT, Use, World, wait_for, wait_until};

fn alert(status: Option<Status>, kind: AlertKind) -> Option<Alert> {
    status?.alerts.into_iter().find(|alert| alert.kind == kind)
}

/// [SAFE-7] Who is lost and has a place reserved is named with what ends that.
#[test]
fn a_lost_initiators_reservation_is_an_alert_until_it_is_back() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    assert_eq!(target.status_document().alerts, []);
    web.kill();
    let found =
        wait_for("it is an alert", PROMPT, || alert(target.try_status(), AlertKind::Reserved));
    assert_eq!((found.node.as_deref(), found.resource.as_deref()), (Some("web1"), Some("db1")));
    assert!(found.next.contains("lull evict web1 --resource db1"), "{found:?}");
    let text = target.lull(&["status"]).ok().stdout;
    assert!(text.contains("! web1 on db1: lost"), "{text}");
    wait_until("the log says so", PROMPT, || target.log().contains("web1 on db1: alert: lost"));
    web.start();
    wait_until("it is over", PROMPT, || target.status_document().alerts.is_empty());
    wait_until("the log says so", PROMPT, || target.log().contains("web1 on db1: over: lost"));
}

/// [TIMER-1] [TIMER-5]
#[test]
fn a_target_that_is_gone_past_the_timer_is_an_alert_at_its_initiator() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let one = Use::of(&target, "db1").set("on-timeout", "hook:echo note; exit 3");
    let web = world.initiator("web1").uses(one.set("restart-timeout", "1s")).start();
    target.kill();
    let gone =
        wait_for("it is an alert", PROMPT, || alert(web.try_status(), AlertKind::TargetGone));
    assert_eq!(gone.attachment.as_deref(), Some("db1"));
    let failed =
        wait_for("so is its hook", PROMPT, || alert(web.try_status(), AlertKind::HookFailed));
    assert!(failed.text.contains("exit status: 3"), "{failed:?}");
    let text = web.lull(&["status"]).ok().stdout;
    assert!(text.contains("! db1: cannot share past its time"), "{text}");
    assert!(text.contains("\n    note\n"), "what the hook said: {text}");
    target.start();
    wait_until("both are over", PROMPT, || {
        web.try_status().is_some_and(|status| status.alerts.is_empty())
    });
}

/// [PAUSE-5] A target that cannot serve after its restart's command says why, to whoever asks and to whoever ordered it,
/// and serves as soon as it can. That the command failed as well is not forgotten over it.
#[test]
fn a_target_that_cannot_serve_again_says_why_until_it_can() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let state = target.state_dir().join("target.redb");
    let (state, away) = (state.display().to_string(), world.path("away").display().to_string());
    let command = format!("mv {state} {away} && mkdir {state} && exit 3");
    let running = target.begin(&["restart", "--exec", &command]);
    let why =
        wait_for("it is an alert", PROMPT, || alert(target.try_status(), AlertKind::NotServing));
    assert!(why.text.contains("target.redb"), "{why:?}");
    let text = target.lull(&["status"]).ok().stdout;
    assert!(text.contains("then: end"), "it has an end: {text}");
    std::fs::remove_dir(&state).expect("removed");
    std::fs::rename(&away, &state).expect("moved back");
    web.wait_sharing();
    assert_eq!(alert(target.try_status(), AlertKind::NotServing), None);
    let said = running.finish(PROMPT).code(1).says("stor: cannot serve: ").says("target.redb");
    said.says("the command failed (exit status: 3)");
}
