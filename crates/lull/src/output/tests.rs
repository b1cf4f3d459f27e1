//! What people see, as they see it.

use lull_admin::{
    Access, AgentlessStatus, AttachmentPhase, AttachmentStatus, Event, Fault, InitiatorStatus,
    Message, Missed, NotReady, Outage, Outcome, OutcomeKind, PhaseSpan, Question, RecordRow,
    ResourceStatus, RestartKind, RestartPhase, RestartRecord, RestartRow, RestartStatus, RowPhase,
    SessionPhase, SessionStatus, Status, TargetPhase, TargetStatus, TimeoutPolicy, Wait,
};

use super::*;

/// 2026-11-22 14:02:00 UTC, the time of every document here.
const NOW: u64 = 1_795_356_120_000;

fn not_ready() -> NotReady {
    NotReady {
        initiator: "web-2".into(),
        attachment: "web-2".into(),
        because: "3 writes in flight, the oldest for 12 s".into(),
    }
}

fn question() -> Question {
    let lost = NotReady {
        initiator: "backup".into(),
        attachment: "nightly".into(),
        because: "connection lost 4 s ago".into(),
    };
    Question { since: NOW - 1000, deadline: NOW + 59_000, not_ready: vec![not_ready(), lost] }
}

fn restart() -> RestartStatus {
    let row = |initiator: &str, phase| RestartRow {
        initiator: initiator.into(),
        attachment: "db1".into(),
        resource: "db1".into(),
        phase,
        ..Default::default()
    };
    RestartStatus {
        id: 7,
        kind: RestartKind::Daemon,
        reason: "new kernel".into(),
        phase: RestartPhase::Pausing,
        started: NOW - 4000,
        phase_since: NOW - 3200,
        deadline: Some(NOW + 26_800),
        question: None,
        waits: vec![Wait {
            for_whom: "web-2".into(),
            what: "complete the pause".into(),
            since: NOW - 3200,
            deadline: Some(NOW + 26_800),
            then: "ask the operator".into(),
            ..Wait::default()
        }],
        rows: vec![
            RestartRow { pause_complete_ms: Some(3), ..row("web-1", RowPhase::Paused) },
            RestartRow {
                in_flight: 3,
                oldest_ms: 12_400,
                unflushed: 65_536,
                ..row("web-2", RowPhase::Draining)
            },
            RestartRow {
                not_completed_because: Some("connection lost 4 s ago".into()),
                ..row("backup", RowPhase::Lost)
            },
            RestartRow { stall_ms: Some(42), ..row("report", RowPhase::Resumed) },
        ],
    }
}

fn view() -> RestartView {
    RestartView { target: "store-1".into(), restart: restart(), at: NOW, away: None }
}

fn session(initiator: &str) -> SessionStatus {
    SessionStatus {
        initiator: initiator.into(),
        attachment: "db1".into(),
        resource: "db1".into(),
        access: Access::Rw,
        phase: SessionPhase::Sharing,
        peer: "unix, process 812".into(),
        since: NOW - 90_000,
        in_flight: 3,
        oldest_ms: 2,
        unflushed: 1_572_864,
        epoch: 12,
        ..Default::default()
    }
}

fn target_status() -> Status {
    let lost = SessionStatus {
        phase: SessionPhase::Lost,
        access: Access::Ro,
        peer: String::new(),
        in_flight: 0,
        waits_for: Some(Wait {
            for_whom: "web-2".into(),
            what: "come back".into(),
            since: NOW - 90_000,
            ..Wait::default()
        }),
        ..session("web-2")
    };
    let flushing =
        SessionStatus { phase: SessionPhase::Flushing, in_flight: 0, ..session("web-4") };
    let target = TargetStatus {
        name: "store-1".into(),
        phase: TargetPhase::Pausing,
        listen: vec!["unix:/run/lull/s.sock".into(), "tcp:127.0.0.1:10820".into()],
        nbd: vec!["unix:/run/lull/nbd.sock".into()],
        resources: vec![
            ResourceStatus {
                name: "db1".into(),
                backend: "file:/srv/db1.img".into(),
                engine: "threads".into(),
                size: 1 << 30,
                incarnation: "0123456789abcdef0123456789abcdef".into(),
                held_by: vec!["web-1/db1 rw".into()],
                path: vec!["store-1/db1".into()],
                ..Default::default()
            },
            ResourceStatus {
                name: "far".into(),
                backend: "lull://store-9/far".into(),
                engine: "lull".into(),
                size: 1 << 30,
                path: vec!["store-1/far".into(), "store-9/far".into()],
                last_missed: Some(Missed { initiator: "web-3".into(), at: NOW - 120_000 }),
                missed: 1,
                ..Default::default()
            },
            ResourceStatus {
                name: "scratch".into(),
                backend: "mem:64M".into(),
                engine: "memory".into(),
                size: 64 << 20,
                faulted: Some("fsync failed twice".into()),
                ..Default::default()
            },
        ],
        initiators: vec![session("web-1"), lost, flushing],
        agentless: vec![AgentlessStatus {
            peer: "tcp:127.0.0.1:4711".into(),
            resource: "scratch".into(),
            access: Access::Ro,
            since: NOW - 1000,
            in_flight: 1,
            ..Default::default()
        }],
        restart: Some(restart()),
        waits: vec![Wait {
            for_whom: "the state".into(),
            what: "keep what others' changes of far came to: 3 changes wait".into(),
            since: NOW - 800,
            ..Default::default()
        }],
        ..Default::default()
    };
    Status {
        name: "store-1".into(),
        version: "0.1.0".into(),
        pid: 4242,
        since: NOW - 7_380_000,
        at: NOW,
        target: Some(target),
        ..Default::default()
    }
    .with_alerts()
}

fn initiator_status() -> Status {
    let attachment = |name: &str| AttachmentStatus {
        name: name.into(),
        uri: format!("lull://store-1/{name}"),
        resource: name.into(),
        target: Some("store-1".into()),
        front_end: format!("nbd unix:/run/{name}.sock"),
        clients: 1,
        phase: AttachmentPhase::Sharing,
        since: NOW - 60_000,
        size: 1 << 30,
        in_flight: 4,
        unflushed: 4096,
        longest_stall_ms: 42,
        ..Default::default()
    };
    let outage = Outage {
        why: "store-1 restarts: new kernel".into(),
        since: NOW - 2000,
        deadline: Some(NOW + 598_000),
        expected: Some(NOW + 200_000),
        policy: TimeoutPolicy::Hook,
        expired: false,
    };
    let away = AttachmentStatus {
        target: None,
        phase: AttachmentPhase::Away,
        held: 17,
        outage: Some(outage),
        ..attachment("db2")
    };
    let held = AttachmentStatus {
        phase: AttachmentPhase::Held,
        held: 3,
        path: vec!["store-1/far".into(), "store-9/far".into()],
        held_above: Some(Fault {
            since: NOW - 9000,
            why: "store-9/far, which restarts: new kernel".into(),
        }),
        waits_for: Some(Wait {
            for_whom: "store-9/far".into(),
            what: "take requests again: it restarts: new kernel".into(),
            since: NOW - 9000,
            ..Default::default()
        }),
        ..attachment("far")
    };
    Status {
        name: "web-1".into(),
        version: "0.1.0".into(),
        pid: 0,
        at: NOW,
        initiator: Some(InitiatorStatus {
            name: "web-1".into(),
            attachments: vec![attachment("db1"), away, held],
            ..Default::default()
        }),
        ..Default::default()
    }
    .with_alerts()
}

fn message(offset_us: u64, from: &str, to: &str, name: &str, detail: &str) -> Message {
    let (from, to, name, detail) = (from.into(), to.into(), name.into(), detail.into());
    Message { offset_us, from, to, name, detail }
}

fn messages() -> Vec<Message> {
    vec![
        message(150, "store-1", "web-1", "PAUSE", ""),
        message(190, "store-1", "web-2", "PAUSE", ""),
        message(2310, "web-2", "store-1", "PAUSE PROGRESS", "3 in flight"),
        message(3420, "web-1", "store-1", "PAUSE COMPLETE", ""),
        message(9050, "web-2", "store-1", "PAUSE COMPLETE", ""),
        message(12_480, "store-1", "web-1", "DISCONNECT", ""),
        message(12_490, "store-1", "web-2", "DISCONNECT", ""),
        message(54_000, "web-1", "store-1", "HELLO", ""),
        message(54_900, "store-1", "web-1", "RESUME", ""),
        message(1_055_300, "store-1", "web-2", "RESUME", ""),
    ]
}

fn record() -> RestartRecord {
    let phase = |phase, start, end| PhaseSpan { phase, start: NOW + start, end: Some(NOW + end) };
    let event = |ms, subject: &str, what: &str, text: &str| {
        Event::new(NOW + ms, subject, what, text).in_restart(7)
    };
    RestartRecord {
        id: 7,
        node: "store-1".into(),
        kind: RestartKind::Daemon,
        reason: "new kernel".into(),
        started: NOW,
        ended: Some(NOW + 1056),
        outcome: Some(Outcome {
            kind: OutcomeKind::Proceeded,
            why: Some("without backup".into()),
            not_ready: vec!["backup".into()],
            ..Outcome::default()
        }),
        phases: vec![
            phase(RestartPhase::StartingSuccessor, 0, 210),
            phase(RestartPhase::Pausing, 210, 219),
            phase(RestartPhase::Down, 219, 254),
            phase(RestartPhase::Resuming, 254, 1056),
        ],
        rows: vec![
            RecordRow {
                initiator: "web-1".into(),
                attachment: "db1".into(),
                resource: "db1".into(),
                pause_complete_ms: Some(3),
                in_flight_at_pause: 32,
                resumed_ms: Some(265),
                stall_ms: Some(55),
                ..Default::default()
            },
            RecordRow {
                initiator: "backup".into(),
                attachment: "nightly".into(),
                resource: "db2".into(),
                not_completed_because: Some("connection lost 4 s ago".into()),
                ..Default::default()
            },
        ],
        transitions: vec![
            event(0, "store-1", "starting_successor", "starts its successor"),
            event(213, "web-1", "paused", "paused after 3 ms"),
        ],
        messages: messages(),
        ..RestartRecord::default()
    }
}

#[test]
fn a_targets_status_names_everybody_and_every_wait() {
    // [TIMER-5], [PAUSE-4]
    insta::assert_snapshot!(status_text(&target_status(), &Zone::utc(), None));
}

#[test]
fn an_initiators_status_says_why_it_holds_and_until_when() {
    // [TIMER-5]
    insta::assert_snapshot!(status_text(&initiator_status(), &Zone::utc(), None));
}

#[test]
fn in_a_narrow_terminal_no_row_of_a_table_is_longer_than_a_line() {
    for width in [40, 60, 79] {
        for status in [target_status(), initiator_status()] {
            let whole = status_text(&status, &Zone::utc(), None);
            let text = status_text(&status, &Zone::utc(), Some(width));
            let row = |line: &&str| line.starts_with("  ") && line.trim_start().contains("  ");
            let longest = text.lines().filter(row).map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{width}: {longest:?}\n{text}");
            assert_eq!(text.lines().filter(row).count(), whole.lines().filter(row).count());
            let text = wrapped(&text, Some(width));
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{width}: {longest:?}\n{text}");
        }
    }
    insta::assert_snapshot!(status_text(&target_status(), &Zone::utc(), Some(60)));
}

#[test]
fn a_live_table_has_one_row_for_each_and_the_timer_that_runs() {
    insta::assert_snapshot!(view().lines(100, 24).join("\n"));
}

#[test]
fn a_live_table_fits_into_its_terminal() {
    let mut view = view();
    view.away = Some((1400, None));
    let lines = view.lines(40, 5);
    assert!(lines.iter().all(|line| line.chars().count() <= 40));
    assert!(lines.len() < 5);
    insta::assert_snapshot!(lines.join("\n"));
    // What it says of its trouble is read to its end, as far as there is room.
    let why = "cannot serve: db1: file:/srv/db1.img: /srv/db1.img does not exist";
    view.away = Some((1400, Some(why.into())));
    let words =
        |lines: Vec<String>| lines.concat().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(view.lines(40, 24)).contains(&format!("down for 1.4 s: {why}")));
    assert!(view.lines(40, 4).len() < 4);
}

#[test]
fn the_question_names_who_is_not_ready_and_why() {
    insta::assert_snapshot!(question_lines(&question(), &Zone::utc()).join("\n"));
}

#[test]
fn who_is_to_pause_is_waited_for_once() {
    let mut status = target_status();
    let target = status.target.as_mut().unwrap();
    let restart = target.restart.as_mut().unwrap();
    restart.kind = RestartKind::Pause;
    target.initiators[2].waits_for = restart.waits.first().cloned();
    let text = status_text(&status, &Zone::utc(), None);
    assert_eq!(text.matches("complete the pause").count(), 1, "{text}");
    assert!(text.contains("\npause 7 since"), "{text}");
}

#[test]
fn an_asking_target_shows_its_question_in_status_too() {
    let mut status = target_status();
    if let Some(target) = &mut status.target {
        target.resources.clear();
        target.initiators.clear();
        target.agentless.clear();
        if let Some(restart) = &mut target.restart {
            restart.phase = RestartPhase::Asking;
            restart.question = Some(question());
        }
    }
    insta::assert_snapshot!(status_text(&status, &Zone::utc(), None));
}

#[test]
fn plain_lines_say_when_who_and_what() {
    let record = record();
    let zone = Zone::utc();
    let plain = record.transitions.iter().map(|event| event_line(event, &zone));
    let dated = record.transitions.iter().map(|event| dated_event_line(event, &zone));
    insta::assert_snapshot!(plain.chain(dated).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_record_explains_its_restart() {
    insta::assert_snapshot!(record_text(&record(), &Zone::utc(), None));
}

#[test]
fn a_list_of_records_has_one_line_each() {
    let died = RestartRecord { id: 8, started: NOW, ..Default::default() };
    insta::assert_snapshot!(record_list(&[record(), died], &Zone::utc(), None));
    assert_eq!(record_list(&[], &Zone::utc(), None), "no restart yet\n");
}

#[test]
fn a_narrow_list_of_records_keeps_what_each_cost_and_gives_up_its_reason() {
    let reason = "a new kernel, and with it the firmware of the second controller";
    let records = [RestartRecord { reason: reason.into(), ..record() }];
    let list = |width| record_list(&records, &Zone::utc(), Some(width));
    for (width, heads) in [
        (59, "ID WHEN KIND OUTCOME TOOK STALL"),
        (79, "ID WHEN KIND OUTCOME TOOK STALL INITIATORS"),
        (119, "ID WHEN KIND OUTCOME TOOK STALL INITIATORS REASON"),
    ] {
        let shown = list(width);
        let found: Vec<_> = shown.lines().take(1).flat_map(str::split_whitespace).collect();
        assert_eq!(found.join(" "), heads, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{shown}");
    }
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&list(119)).ends_with(reason), "{}", list(119));
}

#[test]
fn a_target_that_was_stopped_did_not_die_in_its_restart() {
    let at = |phase| RestartRecord {
        kind: RestartKind::Stop,
        phases: vec![PhaseSpan { phase, ..Default::default() }],
        ..Default::default()
    };
    let told = |record: &RestartRecord| record_text(record, &Zone::utc(), None);
    assert!(told(&at(RestartPhase::Down)).contains("no outcome yet: the target has stopped"));
    assert!(told(&at(RestartPhase::Pausing)).contains("or the target died in it"));
    let heir = RestartRecord { kind: RestartKind::Daemon, ..at(RestartPhase::Down) };
    assert!(told(&heir).contains("or the target died in it"));
}

#[test]
fn a_sequence_is_drawn_side_by_side_where_it_fits_and_below_where_not() {
    let wide = sequence::sequence(&messages(), "store-1", 100);
    let narrow = sequence::sequence(&messages(), "store-1", 50);
    insta::assert_snapshot!(format!("{wide}\n--- narrow ---\n{narrow}"));
}

#[test]
fn a_screen_takes_away_exactly_what_it_drew_and_never_clears_as_a_whole() {
    let mut bytes = Vec::new();
    let mut screen = Screen::new(&mut bytes);
    screen.draw(vec!["one".into(), "two".into()]).unwrap();
    screen.draw(vec!["one".into(), "two".into()]).unwrap();
    screen.draw(vec!["three".into()]).unwrap();
    screen.keep();
    screen.draw(vec!["four".into()]).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let first = "one\u{1b}[K\ntwo\u{1b}[K\n";
    let over = "\u{1b}[2Fthree\u{1b}[K\n\u{1b}[K\n\u{1b}[1F";
    // What a terminal clears as a whole, as tmux does, it may keep among what has scrolled away.
    assert_eq!(text, format!("{first}{over}four\u{1b}[K\n"));
}
