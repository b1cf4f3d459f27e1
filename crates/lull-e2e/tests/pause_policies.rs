//! One of three does not answer PAUSE: what happens when the pause timer ends.

use std::time::Duration;

use lull_admin::{
    AttachmentPhase, Decision, OutcomeKind, RestartPhase, RestartRecord, SessionPhase, TargetPhase,
};
use lull_e2e::{Initiator, Load, PROMPT, Shape, Signal, Target, Use, World, now, wait_for};

/// Others are served again within this after a restart was given up.
const SOON: Duration = Duration::from_secs(1);

/// A target, three initiators with a load on each, the second of them stopped.
struct Scene {
    // Loads end before their initiators, these before the target.
    loads: Vec<Load>,
    initiators: Vec<Initiator>,
    target: Target,
    _world: World,
}

impl Scene {
    /// The keep-alive is long, so that the frozen one is not taken for lost.
    fn new() -> Self {
        let world = World::new();
        let builder = world.target("stor").set("keep-alive", "30s");
        let disks = ["db1", "db2", "db3"];
        let builder = disks.iter().fold(builder, |builder, disk| builder.file(disk, "16M"));
        let target = builder.start();
        let initiators: Vec<_> = disks
            .iter()
            .zip(["web1", "web2", "web3"])
            .map(|(disk, name)| world.initiator(name).uses(Use::of(&target, disk)).start())
            .collect();
        let loads: Vec<_> =
            initiators.iter().map(|web| Load::start(&web.nbd(), Shape::default())).collect();
        initiators[1].freeze();
        Self { loads, initiators, target, _world: world }
    }

    fn others(&self) -> [&Load; 2] {
        [&self.loads[0], &self.loads[2]]
    }

    /// Measures from the call until both others have been served, and that nothing holds them after it.
    fn others_are_served_soon(&self) {
        let since = now();
        for load in self.others() {
            let stall = load.served_after(since, PROMPT);
            assert!(stall < SOON, "served {stall:?} after the restart was given up");
            load.take_window();
        }
        self.others().iter().for_each(|load| load.wait_progress(200));
        for load in self.others() {
            let window = load.take_window();
            assert!(window.longest_gap < SOON, "held again after that: {window:?}");
        }
    }

    /// The frozen one goes on where it was, and nobody has lost anything.
    fn everybody_goes_on(self) {
        self.initiators[1].thaw();
        self.loads.iter().for_each(|load| load.wait_progress(200));
        self.target.wait_all_sharing();
        for load in self.loads {
            let report = load.finish().clean();
            assert_eq!(report.verified, Shape::default().blocks);
        }
    }

    fn last(&self) -> RestartRecord {
        let ended = || self.target.history().pop().filter(|record| record.outcome.is_some());
        wait_for("the restart has its outcome", PROMPT, ended)
    }
}

/// The others have paused and the stopped one has not.
fn assert_only_web2_is_missing(record: &RestartRecord) {
    for row in &record.rows {
        assert_eq!(row.pause_complete_ms.is_none(), row.initiator == "web2", "{row:?}");
    }
}

/// [PAUSE-6] Exit status 3 names who was not ready and why.
#[test]
fn abort_gives_up_and_lets_everybody_go_on() {
    let scene = Scene::new();
    let pid = scene.target.pid();
    let words = ["restart", "--daemon", "--pause-timeout", "1s", "--on-pause-timeout", "abort"];
    let begun = now();
    let said = scene.target.lull(&words).code(3).says("web2").stderr;
    scene.others_are_served_soon();
    assert!(begun.elapsed() >= Duration::from_secs(1), "the pause timer ran");
    let why = said.lines().find(|line| line.contains("not ready")).expect("who was not ready");
    assert!(!why.contains("web1") && !why.contains("web3"), "{why}");
    eprintln!("{why}");
    assert_eq!(scene.target.pid(), pid, "the daemon was not replaced");
    let record = scene.last();
    let outcome = record.outcome.clone().expect("an outcome");
    assert_eq!(outcome.kind, OutcomeKind::Aborted);
    assert!(outcome.not_ready[0].contains("web2"), "{outcome:?}");
    assert_only_web2_is_missing(&record);
    scene.everybody_goes_on();
}

/// [PROCEED-1] The one that was left behind holds and goes on when it wakes.
#[test]
fn proceed_restarts_without_the_one_that_is_missing() {
    let scene = Scene::new();
    let pid = scene.target.pid();
    let words = ["restart", "--daemon", "--pause-timeout", "1s", "--on-pause-timeout", "proceed"];
    let running = scene.target.begin(&words);
    scene.others().iter().for_each(|load| load.wait_progress(1));
    wait_for("another process serves", PROMPT, || {
        scene.target.try_status().filter(|status| status.pid != pid)
    });
    scene.others_are_served_soon();
    scene.initiators[1].thaw();
    running.finish(PROMPT).ok();
    let record = scene.last();
    assert_eq!(record.outcome.as_ref().map(|outcome| outcome.kind), Some(OutcomeKind::Proceeded));
    let row = record.rows.iter().find(|row| row.initiator == "web2").expect("its row");
    assert!(row.not_completed_because.is_some(), "{row:?}");
    assert!(row.resumed_ms.is_some(), "it came back: {row:?}");
    scene.everybody_goes_on();
}

/// [PAUSE-4] [PAUSE-10] Another span, and another; it ends well as soon as the missing one is there.
#[test]
fn wait_waits_for_the_one_that_is_missing() {
    let scene = Scene::new();
    let words = ["restart", "--daemon", "--pause-timeout", "300ms", "--on-pause-timeout", "wait"];
    let begun = now();
    let running = scene.target.begin(&words);
    let paused = scene.target.wait_restart(RestartPhase::Pausing);
    let deadline = paused.deadline.expect("the timer's end is shown");
    let later = wait_for("a second span begins", PROMPT, || {
        let restart = scene.target.status().restart?;
        restart.deadline.filter(|&other| other > deadline).map(|_| restart)
    });
    assert!(later.waits.iter().any(|wait| wait.for_whom.contains("web2")), "{:?}", later.waits);
    wait_for("four spans have passed", PROMPT, || {
        (begun.elapsed() > Duration::from_millis(1200)).then_some(())
    });
    assert_eq!(scene.target.status().phase, TargetPhase::Pausing);
    scene.initiators[1].thaw();
    running.finish(PROMPT).ok();
    let record = scene.last();
    assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
    scene.everybody_goes_on();
}

/// The order of one who can answer and is not at the terminal of this test.
fn asked(scene: &Scene) -> u64 {
    let order = lull_admin::RestartOrder {
        pause_timeout_ms: Some(500),
        interactive: true,
        ..lull_admin::RestartOrder::default()
    };
    let started = scene.target.call(async |client| client.restart(&order).await);
    let started = started.expect("the order is accepted");
    let restart = scene.target.wait_restart(RestartPhase::Asking);
    let question = restart.question.expect("the question that it asks");
    assert_eq!(question.not_ready.len(), 1, "{question:?}");
    assert_eq!(question.not_ready[0].initiator, "web2");
    assert!(!question.not_ready[0].because.is_empty());
    assert!(question.deadline > question.since, "an unanswered question ends");
    assert_eq!(started.initiators.len(), 3);
    started.id
}

fn answer(scene: &Scene, id: u64, decision: Decision) {
    let done = scene.target.call(async |client| client.decide(id, decision).await);
    done.expect("the answer is taken");
}

/// [PAUSE-6]
#[test]
fn a_question_answered_with_abort_lets_everybody_go_on() {
    let scene = Scene::new();
    let id = asked(&scene);
    answer(&scene, id, Decision::Abort);
    scene.others_are_served_soon();
    let outcome = scene.last().outcome.expect("an outcome");
    assert_eq!(outcome.kind, OutcomeKind::Aborted);
    assert!(outcome.not_ready.iter().any(|who| who.contains("web2")), "{outcome:?}");
    assert!(outcome.by_operator, "{outcome:?}");
    let late = scene.target.call(async |client| client.decide(id, Decision::Proceed).await);
    late.expect_err("a question is answered once");
    scene.everybody_goes_on();
}

/// [PAUSE-4] Waiting asks again; `lull abort` from another terminal is an answer too.
#[test]
fn a_question_answered_with_wait_is_asked_again() {
    let scene = Scene::new();
    let id = asked(&scene);
    let first = scene.target.wait_restart(RestartPhase::Asking).question.expect("a question");
    answer(&scene, id, Decision::Wait);
    wait_for("it asks again", PROMPT, || {
        let question = scene.target.status().restart?.question?;
        (question.since > first.since).then_some(())
    });
    scene.target.lull(&["abort"]).ok();
    scene.others_are_served_soon();
    scene.everybody_goes_on();
}

/// [PROCEED-1]
#[test]
fn a_question_answered_with_proceed_restarts_without_the_missing_one() {
    let scene = Scene::new();
    let pid = scene.target.pid();
    let id = asked(&scene);
    answer(&scene, id, Decision::Proceed);
    wait_for("another process serves", PROMPT, || {
        scene.target.try_status().filter(|status| status.pid != pid)
    });
    scene.others_are_served_soon();
    scene.initiators[1].thaw();
    let outcome = scene.last().outcome.expect("an outcome");
    assert_eq!(outcome.kind, OutcomeKind::Proceeded, "{outcome:?}");
    scene.everybody_goes_on();
}

/// [PAUSE-10] Nobody at a terminal: `ask` is `abort` from the start, and `--yes` is an answer.
#[test]
fn without_a_terminal_it_is_given_up_unless_yes_was_said_before() {
    let scene = Scene::new();
    let words = ["restart", "--daemon", "--pause-timeout", "500ms"];
    scene.target.lull(&words).code(3).says("web2");
    scene.others_are_served_soon();
    let pid = scene.target.pid();
    let running = scene.target.begin(&[&words[..], &["--yes"]].concat());
    wait_for("another process serves", PROMPT, || {
        scene.target.try_status().filter(|status| status.pid != pid)
    });
    scene.initiators[1].thaw();
    running.finish(PROMPT).ok();
    scene.everybody_goes_on();
}

/// [PAUSE-8] Who is lost during a pause counts as not completed, and who detaches as done.
#[test]
fn a_pause_ends_well_when_the_missing_one_is_gone_for_good() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let mut web2 = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    let load = Load::start(&web1.nbd(), Shape::default());
    web2.kill();
    target.wait_session("web2", SessionPhase::Lost);
    let words = ["restart", "--daemon", "--pause-timeout", "500ms", "--on-pause-timeout", "abort"];
    target.lull(&words).code(3).says("web2");
    load.wait_progress(100);
    target.lull(&["evict", "web2", "--yes"]).ok();
    target.lull(&words).ok();
    assert_eq!(web1.wait_phase(AttachmentPhase::Sharing).errors, 0);
    load.finish().clean();
}

/// [PAUSE-4] [PAUSE-6] Somebody at a terminal is asked without being told to be.
#[test]
fn somebody_at_a_terminal_is_asked_who_is_waited_for() {
    let scene = Scene::new();
    let words = ["restart", "--daemon", "--pause-timeout", "1s"];
    let mut terminal = scene.target.at_terminal(&words);
    terminal.wait_for("web2");
    scene.target.wait_restart(RestartPhase::Asking);
    terminal.wait_for("proceed");
    terminal.type_line("abort");
    scene.others_are_served_soon();
    assert_eq!(terminal.wait(PROMPT).code(), Some(3), "{}", terminal.seen());
    scene.everybody_goes_on();
}

/// [PAUSE-8] [CONN-2] One that stays silent for longer than a living one may is lost, which is no completion either;
/// when it wakes it comes back by the same road.
#[test]
fn one_that_is_taken_for_lost_meanwhile_is_named_and_comes_back() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let web2 = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    let loads = [&web1, &web2].map(|web| Load::start(&web.nbd(), Shape::default()));
    web2.freeze();
    let words = ["restart", "--daemon", "--pause-timeout", "5s", "--on-pause-timeout", "abort"];
    let running = target.begin(&words);
    target.wait_session("web2", SessionPhase::Lost);
    assert_eq!(target.status().phase, TargetPhase::Pausing, "its loss does not end the pause");
    running.finish(PROMPT).code(3).says("web2");
    // Read days later, a record says when that was, not how long ago.
    let not_ready = target.history().pop().and_then(|record| record.outcome).expect("an outcome");
    let why = not_ready.not_ready.join("; ");
    assert!(why.contains("its connection was lost at ") && why.ends_with(" UTC"), "{why}");
    target.lull(&["evict", "web2", "--resource", "db1"]).code(1).says("but of db2");
    loads[0].wait_progress(100);
    web2.thaw();
    loads[1].wait_progress(100);
    target.wait_all_sharing();
    for load in loads {
        load.finish().clean();
    }
}

/// [PAUSE-8] Who was lost and wakes within the pause completes it from there.
#[test]
fn one_that_comes_back_within_the_pause_completes_it() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let web1 = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let web2 = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    let loads = [&web1, &web2].map(|web| Load::start(&web.nbd(), Shape::default()));
    web2.freeze();
    let running = target.begin(&["restart", "--daemon", "--pause-timeout", "60s"]);
    target.wait_session("web2", SessionPhase::Lost);
    web2.thaw();
    running.finish(PROMPT).ok();
    for load in loads {
        load.wait_progress(100);
        load.finish().clean();
    }
    let record = target.history().pop().expect("a record");
    assert_eq!(record.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
}

/// [PAUSE-10] A dying host cannot abort, whatever the policy is.
#[test]
fn a_terminated_target_proceeds_when_its_pause_timer_ends() {
    let mut scene = Scene::new();
    scene.target.signal(Signal::TERM);
    assert!(scene.target.process().wait(PROMPT).success());
    scene.target.start();
    scene.others_are_served_soon();
    scene.initiators[1].thaw();
    let outcome = scene.last().outcome.expect("an outcome");
    assert_eq!(outcome.kind, OutcomeKind::Proceeded, "{outcome:?}");
    scene.everybody_goes_on();
}

/// [PAUSE-10] A restart that is under way becomes the stop of a dying host.
#[test]
fn a_target_that_is_terminated_while_it_waits_for_ever_proceeds() {
    let mut scene = Scene::new();
    let words = ["restart", "--daemon", "--pause-timeout", "1s", "--on-pause-timeout", "wait"];
    let running = scene.target.begin(&words);
    scene.target.wait_restart(RestartPhase::Pausing);
    scene.target.signal(Signal::TERM);
    assert!(scene.target.process().wait(PROMPT).success());
    drop(running);
    scene.target.start();
    scene.others_are_served_soon();
    scene.everybody_goes_on();
}

/// [PAUSE-1] One at a time; who watches may go without ending it.
#[test]
fn a_second_restart_is_refused_while_one_is_under_way() {
    let scene = Scene::new();
    let words = ["restart", "--daemon", "--pause-timeout", "60s", "--on-pause-timeout", "wait"];
    let first = scene.target.begin(&words);
    let restart = scene.target.wait_restart(RestartPhase::Pausing);
    let second = scene.target.lull(&["restart", "--daemon"]).code(1);
    assert!(second.stderr.contains("next:"), "{}", second.stderr);
    scene.target.lull(&["pause"]).code(1);
    drop(first);
    assert_eq!(scene.target.status().restart.map(|other| other.id), Some(restart.id));
    scene.target.lull(&["abort"]).ok();
    scene.others_are_served_soon();
    scene.target.lull(&["abort"]).code(1);
    scene.everybody_goes_on();
}

/// [PAUSE-1] Nobody is told to give up what something else relies on, and what is told is typed as it stands.
#[test]
fn whoever_orders_something_during_a_pause_is_told_of_the_resume() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let resume = format!("`lull resume --admin {}`", target.admin());
    target.lull(&["pause"]).ok().says(&resume);
    for words in [&["pause"][..], &["restart"], &["restart", "--stop"]] {
        let told = target.lull(words).code(1).says(&resume);
        assert!(!told.stderr.contains("abort"), "{}", told.stderr);
    }
    target.lull(&["resume"]).ok();
    target.restart(&["--daemon"]);
}
