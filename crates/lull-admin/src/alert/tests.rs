use super::{Alert, AlertKind, AlertLog};
use crate::{
    AgentlessStatus, AttachmentStatus, Fault, HookOutcome, HookStatus, InitiatorStatus, Missed,
    Outage, Question, ResourceStatus, RestartPhase, RestartStatus, SessionPhase, SessionStatus,
    ShutdownStatus, Status, TargetStatus, Wait,
};

/// When the made-up documents were made.
const NOW: u64 = 1_700_000_100_000;

fn of_attachment(of: AttachmentStatus) -> Vec<Alert> {
    let of = AttachmentStatus { name: "db".into(), resource: "db1".into(), ..of };
    let initiator = Some(InitiatorStatus { attachments: vec![of], ..Default::default() });
    Status { at: NOW, initiator, ..Default::default() }.with_alerts().alerts
}

fn of_target(of: TargetStatus) -> Vec<Alert> {
    Status { at: NOW, target: Some(of), ..Default::default() }.with_alerts().alerts
}

fn kinds(alerts: &[Alert]) -> Vec<AlertKind> {
    alerts.iter().map(|alert| alert.kind).collect()
}

fn outage(expired: bool, expected: Option<u64>) -> Option<Outage> {
    Some(Outage {
        since: NOW - 60_000,
        why: "lost".into(),
        expired,
        expected,
        ..Default::default()
    })
}

fn session(phase: SessionPhase, since: u64) -> SessionStatus {
    let (initiator, resource) = ("web-1".into(), "db1".into());
    SessionStatus { initiator, resource, phase, since, ..Default::default() }
}

#[test]
fn what_goes_well_is_no_alert() {
    assert_eq!(of_attachment(AttachmentStatus::default()), []);
    let initiators =
        vec![session(SessionPhase::Sharing, 0), session(SessionPhase::Lost, NOW - 900)];
    assert_eq!(of_target(TargetStatus { initiators, ..Default::default() }), []);
    let restart = Some(RestartStatus {
        phase: RestartPhase::Pausing,
        waits: vec![Wait { since: NOW - 900, ..Default::default() }],
        ..Default::default()
    });
    assert_eq!(of_target(TargetStatus { restart, ..Default::default() }), []);
    let announced = outage(false, Some(NOW + 1));
    assert_eq!(of_attachment(AttachmentStatus { outage: announced, ..Default::default() }), []);
    // It has been an hour since there was no room.
    let full_at = Some(NOW - 3_600_000);
    assert_eq!(of_attachment(AttachmentStatus { full_at, ..Default::default() }), []);
    // A restart above is over soon; what was missed is long ago.
    let held_above = Some(Fault { since: NOW - 900, why: "top/d, which restarts".into() });
    assert_eq!(of_attachment(AttachmentStatus { held_above, ..Default::default() }), []);
    let missed = Some(Fault { since: NOW - 3_600_000, why: "missed".into() });
    assert_eq!(of_attachment(AttachmentStatus { missed, ..Default::default() }), []);
    // What was wrong in an outage is over with it.
    let hook = Some(HookStatus { outcome: HookOutcome::Failed, ..Default::default() });
    assert_eq!(of_attachment(AttachmentStatus { hook, ..Default::default() }), []);
}

#[test]
fn each_trouble_of_an_attachment_is_one_alert_with_its_begin_and_a_next_step() {
    let fault = || Some(Fault { since: 7, why: "full".into() });
    let hook = |outcome| Some(HookStatus { outcome, since: 5, ..Default::default() });
    let with = AttachmentStatus::default;
    let cases = [
        (AlertKind::TargetGone, AttachmentStatus { outage: outage(true, None), ..with() }),
        (AlertKind::HeldAbove, AttachmentStatus { held_above: fault(), ..with() }),
        (AlertKind::HeldLonger, AttachmentStatus { outage: outage(false, Some(9)), ..with() }),
        (
            AlertKind::Refused,
            AttachmentStatus { outage: outage(false, None), refused: Some("no".into()), ..with() },
        ),
        (AlertKind::HookRunning, AttachmentStatus { hook: hook(HookOutcome::Running), ..with() }),
        (
            AlertKind::HookFailed,
            AttachmentStatus {
                outage: outage(false, None),
                hook: hook(HookOutcome::Failed),
                ..with()
            },
        ),
        (
            AlertKind::ShuttingDown,
            AttachmentStatus {
                shutdown: Some(ShutdownStatus { since: 3, ..Default::default() }),
                ..with()
            },
        ),
        (AlertKind::StateNotWritten, AttachmentStatus { state_fault: fault(), ..with() }),
        (AlertKind::DeviceWaits, AttachmentStatus { device_waits: fault(), ..with() }),
        (AlertKind::LogLost, AttachmentStatus { log_lost: fault(), ..with() }),
        (AlertKind::LogNotKept, AttachmentStatus { log_fault: fault(), ..with() }),
        (AlertKind::ReplayFailed, AttachmentStatus { replay_fault: fault(), ..with() }),
        (AlertKind::Full, AttachmentStatus { full_at: Some(NOW - 9_000), ..with() }),
        (
            AlertKind::Missed,
            AttachmentStatus {
                missed: Some(Fault { since: NOW - 9_000, why: "missed".into() }),
                ..with()
            },
        ),
    ];
    for (kind, of) in cases {
        complete(kind, &of_attachment(of));
    }
}

#[test]
fn each_trouble_of_a_target_is_one_alert_with_its_begin_and_a_next_step() {
    let fault = || Some(Fault { since: 7, why: "full".into() });
    let with = TargetStatus::default;
    let wait = Wait { for_whom: "web-1".into(), since: NOW - 9_000, ..Default::default() };
    let pausing =
        RestartStatus { phase: RestartPhase::Pausing, waits: vec![wait], ..Default::default() };
    let question = Some(Question { since: 7, ..Default::default() });
    let asking = RestartStatus { question, phase: RestartPhase::Asking, ..Default::default() };
    let broken = ResourceStatus { faulted: Some("fsync".into()), ..Default::default() };
    let last_missed = Some(Missed { initiator: "web-2".into(), at: NOW - 9_000 });
    let missed = ResourceStatus { name: "db1".into(), last_missed, ..Default::default() };
    let client = AgentlessStatus { resource: "db1".into(), since: 9, ..Default::default() };
    let lost = session(SessionPhase::Lost, NOW - 9_000);
    let cases = [
        (AlertKind::NotServing, TargetStatus { trouble: fault(), ..with() }),
        (AlertKind::StateNotWritten, TargetStatus { state_fault: fault(), ..with() }),
        (AlertKind::Faulted, TargetStatus { resources: vec![broken], ..with() }),
        (AlertKind::Question, TargetStatus { restart: Some(asking), ..with() }),
        (AlertKind::NotReady, TargetStatus { restart: Some(pausing), ..with() }),
        (AlertKind::Reserved, TargetStatus { initiators: vec![lost], ..with() }),
        (AlertKind::Missed, TargetStatus { resources: vec![missed], ..with() }),
        (AlertKind::Agentless, TargetStatus { agentless: vec![client.clone(), client], ..with() }),
    ];
    for (kind, of) in cases {
        complete(kind, &of_target(of));
    }
}

#[test]
fn the_table_of_alerts_names_every_kind_and_no_other() {
    let page = include_str!("../../../../docs/operating.md");
    let (_, section) = page.split_once("\n## Alerts\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let firsts = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let named = firsts.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    let mut named: Vec<_> = named.collect();
    let mut kinds: Vec<_> = AlertKind::ALL.iter().map(|kind| kind.as_str()).collect();
    named.sort_unstable();
    kinds.sort_unstable();
    assert_eq!(named, kinds);
}

fn complete(kind: AlertKind, alerts: &[Alert]) {
    assert_eq!(kinds(alerts), [kind]);
    let alert = &alerts[0];
    assert!(alert.since > 0 && alert.since <= NOW, "{alert:?}");
    assert!(!alert.text.is_empty() && !alert.next.is_empty(), "{alert:?}");
}

#[test]
fn an_alert_is_told_when_it_begins_and_when_it_is_over_and_not_between() {
    let mut log = AlertLog::default();
    let initiators = vec![session(SessionPhase::Lost, NOW - 9_000)];
    let alerts = of_target(TargetStatus { initiators, ..Default::default() });
    let told = log.compare("stor", NOW, &alerts);
    assert_eq!(told.len(), 1);
    assert_eq!((&*told[0].subject, &*told[0].what), ("web-1 on db1", "alert"));
    assert!(told[0].text.contains("lull evict web-1 --resource db1"), "{}", told[0].text);
    assert_eq!(log.compare("stor", NOW + 1, &alerts), []);
    let over = log.compare("stor", NOW + 2, &[]);
    assert_eq!(over.len(), 1);
    assert_eq!((&*over[0].subject, &*over[0].what), ("web-1 on db1", "alert_over"));
    assert!(log.is_empty());
}
