use super::render;
use crate::{
    AgentlessStatus, AttachmentPhase, AttachmentStatus, Fault, InitiatorStatus, Outage,
    ResourceStatus, RestartKind, RestartPhase, RestartStatus, SessionPhase, SessionStatus, Status,
    TargetPhase, TargetStatus, Wait,
};

/// When the made-up documents were made.
const NOW: u64 = 1_700_000_100_000;

fn resource(name: &str) -> ResourceStatus {
    ResourceStatus {
        name: name.into(),
        backend: format!("file:/srv/{name}.img"),
        engine: "threads".into(),
        size: 10 << 30,
        tenure: 3,
        ..Default::default()
    }
}

fn session(initiator: &str, phase: SessionPhase) -> SessionStatus {
    SessionStatus {
        initiator: initiator.into(),
        attachment: "db".into(),
        resource: "db1".into(),
        phase,
        in_flight: 2,
        oldest_ms: 1_250,
        unflushed: 65_536,
        ..Default::default()
    }
}

fn target() -> TargetStatus {
    TargetStatus {
        name: "store-1".into(),
        phase: TargetPhase::Pausing,
        resources: vec![
            resource("db1"),
            ResourceStatus { faulted: Some("I/O error".into()), ..resource("scratch") },
        ],
        initiators: vec![
            session("web-2", SessionPhase::Paused),
            session("web-1", SessionPhase::Draining),
        ],
        agentless: vec![
            AgentlessStatus { resource: "db1".into(), ..Default::default() },
            AgentlessStatus { resource: "db1".into(), ..Default::default() },
        ],
        restart: Some(RestartStatus {
            id: 7,
            kind: RestartKind::Daemon,
            phase: RestartPhase::Pausing,
            started: NOW - 4_500,
            phase_since: NOW - 4_000,
            waits: vec![Wait::default()],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn initiator() -> InitiatorStatus {
    let calm = AttachmentStatus {
        name: "db".into(),
        resource: "db1".into(),
        target: Some("store-1".into()),
        clients: 1,
        phase: AttachmentPhase::Sharing,
        in_flight: 5,
        oldest_ms: 8,
        unflushed: u64::MAX,
        errors: 1,
        longest_stall_ms: 812,
        ..Default::default()
    };
    let outage = Outage { since: NOW - 61_000, expired: true, ..Default::default() };
    let away = AttachmentStatus {
        name: "logs".into(),
        phase: AttachmentPhase::Expired,
        target: None,
        held: 9,
        outage: Some(outage),
        held_above: Some(Fault { since: NOW - 7_500, why: "top/db1, which restarts".into() }),
        missed_changes: 4,
        ..calm.clone()
    };
    InitiatorStatus { attachments: vec![calm, away], ..Default::default() }
}

fn daemon() -> Status {
    Status {
        name: "store-1".into(),
        version: "0.1.0".into(),
        since: NOW - 100_000,
        at: NOW,
        ..Default::default()
    }
}

#[test]
fn the_text_of_a_daemon_with_both_roles() {
    let both = Status { target: Some(target()), initiator: Some(initiator()), ..daemon() };
    let both = both.with_alerts();
    insta::assert_snapshot!(render(&both).unwrap());
}

#[test]
fn a_role_that_is_not_there_has_no_series() {
    let alone = |target, initiator| render(&Status { target, initiator, ..daemon() }).unwrap();
    let of_initiator = alone(None, Some(initiator()));
    for name in ["lull_target", "lull_resource", "lull_session", "lull_restart", "lull_agentless"] {
        assert!(!of_initiator.contains(name), "{name}: {of_initiator}");
    }
    let of_target = alone(Some(TargetStatus::default()), None);
    assert!(!of_target.contains("lull_attachment"), "{of_target}");
    assert!(of_target.contains("\nlull_restart_under_way 0\n"), "{of_target}");
    assert!(!of_target.contains("lull_restart_age"), "{of_target}");
}

#[test]
fn labels_hold_quotes_and_line_ends_without_ending_early() {
    let name = "a\"b\\c\nlull_forged 1\r\t{}#\u{1b}é";
    let of = TargetStatus { resources: vec![resource(name)], ..Default::default() };
    let text = render(&Status { target: Some(of), ..daemon() }).unwrap();
    let line = text.split('\n').find(|line| line.starts_with("lull_resource_size_bytes{"));
    let written = "a\\\"b\\\\c\\nlull_forged 1\r\t{}#\u{1b}é";
    let expected = format!("lull_resource_size_bytes{{resource=\"{written}\"}} 10737418240");
    assert_eq!(line, Some(&*expected));
    assert!(!text.split('\n').any(|line| line.starts_with("lull_forged")), "{text}");
}

#[test]
fn each_series_stands_once_and_under_its_help() {
    // A roster that names one attachment twice would otherwise cost the whole scrape.
    let mut target = target();
    target.initiators.push(session("web-1", SessionPhase::Lost));
    let both = Status { target: Some(target), initiator: Some(initiator()), ..daemon() };
    let text = render(&both).unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut helped = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            name.clone_into(&mut helped);
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "twice: {series}");
            assert!(series.starts_with(&helped), "{series} stands under {helped}");
        }
    }
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

#[test]
fn every_name_has_its_row_in_the_operators_page() {
    let page = include_str!("../../../../docs/operating.md");
    let both = Status { target: Some(target()), initiator: Some(initiator()), ..daemon() };
    let text = render(&both.with_alerts()).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "`{name}` is not in docs/operating.md");
    }
}
