//! What becomes of a restart's record, and of words from elsewhere.

use super::Chronicle;
use crate::clock::Clock;
use crate::store::{self, Store};
use lull_admin::{OutcomeKind, PhaseSpan, RecordRow, RestartKind, RestartPhase, RestartRecord};
use lull_proto::target::{Config, Entry, Report, Resource, ResourceIndex, Target, Why};
use lull_proto::{ConnId, MonoTime};
use lull_wire::messages::{Connect, Hello, Name, Resume, Stall};
use lull_wire::{Access, AttachmentId, Epoch, InstanceId, Message, ResourceId, RestartId};
use std::time::Duration;

const NOW: MonoTime = MonoTime(1_000_000_000);

struct Desk {
    chronicle: Chronicle,
    store: Store,
    dir: tempfile::TempDir,
}

fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let (database, _) = store::open(dir.path()).unwrap();
    let store = Store::start(database, dir.path(), Clock::start(), |_| {}).unwrap();
    Desk { chronicle: Chronicle::new(Clock::start(), "stor", "aa"), store, dir }
}

impl Desk {
    /// Everything that was stored.
    fn close(self) -> Vec<RestartRecord> {
        drop(self.store);
        store::histories(self.dir.path()).unwrap()
    }
}

fn record(phases: &[RestartPhase]) -> RestartRecord {
    let row = |name: &str| RecordRow {
        initiator: name.to_owned(),
        attachment: "db1".to_owned(),
        resource: "db1".to_owned(),
        ..RecordRow::default()
    };
    let span = |phase: &RestartPhase| PhaseSpan { phase: *phase, start: 1, end: None };
    RestartRecord {
        id: 7,
        rows: vec![row("web-1"), row("web-2")],
        phases: phases.iter().map(span).collect(),
        ..RestartRecord::default()
    }
}

fn machine() -> Target {
    let config = Config {
        node: Name::new("stor").unwrap(),
        instance: InstanceId([1; 16]),
        software: Name::default(),
        keep_alive: Duration::from_secs(2),
        barrier: Duration::ZERO,
        from: RestartId(0),
    };
    let resource = Resource {
        name: Name::new("db1").unwrap(),
        identity: ResourceId([1; 16]),
        incarnation: lull_wire::Incarnation([1; 16]),
        tenure: lull_wire::Tenure(1),
        geometry: lull_proto::Geometry {
            size: 1 << 20,
            block: 4096,
            preferred: 65_536,
            max_length: 1 << 20,
            features: lull_wire::Features::none(),
        },
        path: Default::default(),
        chained: false,
        agentless: Default::default(),
    };
    let entry = Entry {
        callback: Default::default(),
        node: Name::new("web-1").unwrap(),
        attachment: AttachmentId([1; 16]),
        resource: ResourceIndex(0),
        access: Access::ReadWrite,
        instance: InstanceId([2; 16]),
        epoch: Epoch(1),
        hold: Duration::MAX,
        dirty: true,
    };
    Target::new(NOW, config, vec![resource], vec![entry])
}

/// [PAUSE-6] A target that is lost after it took its clean record back did not go down by that restart.
#[test]
fn a_revoked_clean_record_is_no_way_down() {
    use RestartPhase::{Down, Pausing, Resuming, Settling};
    for (phases, went_down) in [
        (&[Pausing, Settling, Down][..], true),
        (&[Pausing, Settling, Down, Resuming], true),
        (&[Pausing, Settling, Down, Settling], false),
        (&[Pausing], false),
        (&[], false),
    ] {
        let mut desk = desk();
        desk.chronicle.resume(NOW, record(phases), None, &desk.store);
        assert_eq!(desk.chronicle.is_returning(), went_down, "{phases:?}");
        let stored = desk.close();
        let failed = stored[0].outcome.as_ref().is_some_and(|end| end.kind == OutcomeKind::Failed);
        assert_eq!(failed, !went_down, "{phases:?}");
    }
}

/// A clean record that cannot be taken back for hours, since the state's disk is full, is one phase.
#[test]
fn a_record_that_is_revoked_again_and_again_does_not_grow() {
    let mut desk = desk();
    desk.chronicle.begin(NOW, 7, RestartKind::Stop, "an end", &machine(), &["db1".to_owned()]);
    desk.chronicle.clean(NOW);
    let first = desk.chronicle.revoked(NOW);
    let told = desk.chronicle.feed(None).recent.len();
    let again = (0..100).map(|_| desk.chronicle.revoked(NOW)).last().unwrap();
    assert_eq!(again.phases.len(), first.phases.len());
    assert_eq!(desk.chronicle.feed(None).recent.len(), told);
}

/// [TIMER-5] A restart names each backend whose flush it has not seen the end of, and the node whose state is not written.
#[test]
fn a_backend_that_is_not_flushed_is_named() {
    let mut desk = desk();
    desk.chronicle.begin(NOW, 7, RestartKind::Stop, "an end", &machine(), &["db1".to_owned()]);
    desk.chronicle.flushing(RestartId(6), 0, "db0", "mem:1M");
    desk.chronicle.flushing(RestartId(7), 0, "db1", "mem:1M");
    let late = desk.chronicle.unflushed();
    assert_eq!(late.iter().map(|one| &*one.attachment).collect::<Vec<_>>(), ["db1"], "not of 6");
    desk.chronicle.flushed(RestartId(7), 0);
    assert!(desk.chronicle.unflushed().is_empty());
    assert_eq!(desk.chronicle.unwritten()[0].initiator, "stor", "its state directory");
}

/// What failed stays failed, however many lives it takes until all are back.
#[test]
fn a_life_that_is_lost_on_its_return_leaves_the_next_why_the_restart_has_failed() {
    let mut desk = desk();
    let why = "the command failed".to_owned();
    desk.chronicle.resume(NOW, record(&[RestartPhase::Down]), Some(why.clone()), &desk.store);
    let lost = desk.close().remove(0);
    assert!(lost.outcome.is_none());
    let mut desk = self::desk();
    desk.chronicle.resume(NOW, lost, None, &desk.store);
    desk.chronicle.overtaken(NOW, "the target was told to end", &desk.store);
    let outcome = desk.close()[0].outcome.clone().unwrap();
    assert_eq!((outcome.kind, outcome.why), (OutcomeKind::Failed, Some(why)));
}

#[test]
fn a_restart_that_is_overtaken_keeps_its_record() {
    let mut desk = desk();
    let down = record(&[RestartPhase::Down]);
    desk.chronicle.resume(NOW, down, None, &desk.store);
    assert_eq!(desk.chronicle.awaited(), ["web-1", "web-2"]);
    desk.chronicle.overtaken(NOW, "the target was told to end", &desk.store);
    desk.chronicle.begin(NOW, 8, RestartKind::Stop, "an end", &machine(), &["db1".to_owned()]);
    desk.chronicle.save(&desk.store);
    let stored = desk.close();
    assert_eq!(stored.iter().map(|one| one.id).collect::<Vec<_>>(), [7, 8]);
    let why = stored[0].outcome.as_ref().and_then(|end| end.why.clone()).unwrap();
    assert!(
        why.contains("web-1, web-2 had not come back when the target was told to end"),
        "{why}"
    );
}

#[test]
fn what_an_aborted_restart_cost_is_taken_once() {
    let mut desk = desk();
    let (machine, names) = (machine(), ["db1".to_owned()]);
    desk.chronicle.begin(NOW, 7, RestartKind::Daemon, "a test", &machine, &names);
    let aborted = Report::Aborted { restart: RestartId(7), why: Why::Operator, rows: Vec::new() };
    desk.chronicle.report(NOW, &machine, &aborted, &desk.store);
    for longest_us in [61_000, 99_000_000] {
        let stall = Stall { restart: RestartId(7), longest_us, held: 1, away_us: 0, resume_us: 0 };
        let told = Report::Stall { attachment: AttachmentId([1; 16]), stall };
        desk.chronicle.report(NOW, &machine, &told, &desk.store);
        desk.chronicle.turned(NOW, &desk.store);
    }
    let ended = desk.chronicle.remembered(7).and_then(|record| record.outcome.as_ref());
    assert_eq!(ended.map(|end| end.kind), Some(OutcomeKind::Aborted), "whatever storage does");
    assert_eq!(desk.close()[0].rows[0].stall_ms, Some(61));
}

/// [CONN-6] An initiator that dials while nobody reads gives up, and the next process finds each of its dials.
#[test]
fn a_dial_that_was_given_up_is_not_drawn() {
    let mut desk = desk();
    let (machine, names) = (machine(), ["db1".to_owned()]);
    desk.chronicle.begin(NOW, 7, RestartKind::Exec, "a test", &machine, &names);
    let hello: Message = Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([2; 16]),
        node: Name::new("web-1").unwrap(),
        software: Name::default(),
        callback: Default::default(),
    }
    .into();
    let connect: Message = Connect { restart: RestartId(7), barrier_ms: 0 }.into();
    let resume: Message = Resume { restart: RestartId(7) }.into();
    for conn in [1, 2, 3].map(ConnId) {
        let at = NOW + Duration::from_millis(conn.0);
        desk.chronicle.received(at, &machine, conn, &hello);
        desk.chronicle.sent(at, &machine, conn, &connect);
    }
    desk.chronicle.sent(NOW, &machine, ConnId(3), &resume);
    [1, 2, 3].map(ConnId).into_iter().for_each(|conn| desk.chronicle.forget(conn));
    let drawn: Vec<_> =
        desk.chronicle.record().messages.into_iter().map(|message| message.name).collect();
    assert_eq!(drawn, ["HELLO", "CONNECT", "RESUME"]);
}

#[test]
fn words_from_elsewhere_neither_end_a_line_nor_command_a_terminal() {
    let mut desk = desk();
    desk.chronicle.tell(NOW, "web\u{1b}[2J", "refused", "no \"x\nweb-2: attached\u{202e}\u{9b}\"");
    let event = desk.chronicle.feed(None).recent.pop().unwrap();
    assert_eq!(event.subject, "web\\u{1b}[2J");
    assert_eq!(event.text, "no \"x\\nweb-2: attached\\u{202e}\\u{9b}\"");
    desk.chronicle.tell(NOW, "web-1", "lost", "42 µs – naïve");
    assert_eq!(desk.chronicle.feed(None).recent.pop().unwrap().text, "42 µs – naïve");
}
