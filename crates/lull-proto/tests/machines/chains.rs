//! A target whose resource lies on another one's, message by message.

use crate::arbitrary::fresh_target;
use lull_proto::target::{
    Action, Actions, Decision, Ended, Event, OnTimeout, Order, Phase, Purpose, Refusal,
    ResourceIndex, RowState, Target, Ticket,
};
use lull_proto::{ConnId, MonoTime, Never, Upstream};
use lull_wire::messages::{Attach, Hello, Name, Path, PauseComplete, Prose, Ready};
use lull_wire::{
    Access, AttachmentId, DisconnectCode, Epoch, Incarnation, InstanceId, Kind, Message,
    RequestNumber, ResourceId, RestartId, Retry, Tenure, Text, VERSION,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// The one that lies on another target's.
const DISK_B: ResourceIndex = ResourceIndex(1);

/// A target with everything that it wanted done, whose changes are stored at once.
struct Middle {
    now: MonoTime,
    machine: Target,
    actions: Actions,
    recorded: Vec<Ticket>,
}

fn path(nodes: &[&str]) -> Path {
    Path::new(nodes.iter().map(|node| Text::clipped(node)).collect()).unwrap()
}

impl Middle {
    fn new() -> Self {
        let (machine, now) = (fresh_target(), MonoTime(1_000_000_000));
        Self { now, machine, actions: Vec::new(), recorded: Vec::new() }
    }

    fn tell(&mut self, event: Event) {
        self.machine.handle(self.now, event, &mut self.actions);
        loop {
            let ticket = self.actions.iter().find_map(|action| match action {
                Action::Record { ticket, .. } if !self.recorded.contains(ticket) => Some(*ticket),
                _ => None,
            });
            let Some(ticket) = ticket else { return };
            self.recorded.push(ticket);
            let event = Event::Recorded { ticket, ok: true };
            self.machine.handle(self.now, event, &mut self.actions);
        }
    }

    fn receive(&mut self, conn: u64, message: Message) {
        self.tell(Event::Received { conn: ConnId(conn), message });
    }

    fn asks(&mut self, conn: u64) {
        self.tell(Event::Accepted { conn: ConnId(conn) });
        let hello = Hello {
            min_version: 1,
            max_version: VERSION,
            instance: InstanceId([3; 16]),
            node: Name::clipped("web"),
            software: Name::default(),
            callback: Default::default(),
        };
        self.receive(conn, hello.into());
        let attach = Attach {
            attachment: AttachmentId([5; 16]),
            resource: Name::clipped("disk-b"),
            identity: ResourceId::NONE,
            access: Access::ReadWrite,
            epoch: Epoch(conn),
            predecessor: InstanceId::NONE,
            take_over: false,
            dirty: false,
            hold_ms: u64::MAX,
            incarnation: Incarnation::NONE,
            tenure: Tenure(0),
            lowest: RequestNumber(1),
        };
        self.receive(conn, attach.into());
    }

    fn stands(&mut self) {
        let geometry = self.machine.resources()[0].geometry;
        let (path, identity) = (path(&["above/disk"]), ResourceId([8; 16]));
        let upstream = Upstream::Standing { path, identity, geometry };
        self.tell(Event::Upstream { resource: DISK_B, upstream });
    }

    fn is_away(&mut self, way: &[&str]) {
        let (reason, span) = (Prose::clipped("restarts"), 40 * SECOND);
        let upstream = Upstream::Away { reason, span, path: path(way), never: None };
        self.tell(Event::Upstream { resource: DISK_B, upstream });
    }

    /// Somebody shares the chained resource.
    fn sharing() -> Self {
        let mut middle = Self::new();
        middle.stands();
        middle.asks(1);
        middle.receive(1, Ready { replayed: 0, replayed_bytes: 0 }.into());
        middle.actions.clear();
        middle
    }

    fn order(&mut self) {
        self.tell(Event::Order(Order {
            id: RestartId(9),
            purpose: Purpose::Restart,
            reason: Prose::default(),
            downtime: SECOND,
            span: 30 * SECOND,
            on_timeout: OnTimeout::Wait,
            unstoppable: false,
        }));
    }

    fn sent(&self, kind: Kind) -> Vec<Message> {
        let sent = |action: &Action| match action {
            Action::Send { message, .. } if message.kind() == kind => Some(message.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(sent).collect()
    }

    fn gives_back(&self) -> Option<bool> {
        self.actions.iter().rev().find_map(|action| match action {
            Action::GiveBack { resource: DISK_B, on } => Some(*on),
            _ => None,
        })
    }
}

/// [CHAIN-4] [CHAIN-3] Whoever asks before the target above is reached is told to hold, and let in when it stands.
#[test]
fn nobody_is_let_in_before_the_target_above_stands() {
    let mut middle = Middle::new();
    middle.asks(1);
    assert_eq!(middle.sent(Kind::Hold).len(), 1);
    assert!(middle.sent(Kind::Attached).is_empty() && middle.sent(Kind::Refused).is_empty());
    middle.stands();
    let Some(Message::Attached(attached)) = middle.sent(Kind::Attached).pop() else {
        panic!("it is let in")
    };
    assert_eq!(attached.identity, ResourceId([8; 16]));
    assert_eq!(attached.path, path(&["target/disk-b", "above/disk"]));
}

/// [CHAIN-1] HOLD is said once, renewed, and ended by RESUME; whoever is not concerned hears nothing.
#[test]
fn who_shares_is_told_to_hold_again_and_again_and_to_go_on() {
    let mut middle = Middle::sharing();
    middle.is_away(&["above/disk", "top/disk"]);
    middle.is_away(&["above/disk", "top/disk"]);
    let holds = middle.sent(Kind::Hold);
    let [Message::Hold(hold)] = &holds[..] else { panic!("once: {holds:?}") };
    assert_eq!(hold.path, path(&["target/disk-b", "above/disk", "top/disk"]));
    assert_eq!((hold.reason.as_str(), hold.span_ms), ("restarts", 40_000));
    for second in 0..20 {
        middle.now = middle.now + SECOND;
        middle.machine.heard(ConnId(1));
        middle.tell(Event::Tick);
        assert!(middle.sent(Kind::Hold).len() > second / 10, "it is said again in time");
    }
    assert!(middle.sent(Kind::Resume).is_empty());
    middle.stands();
    let resumes = middle.sent(Kind::Resume);
    let [Message::Resume(resume)] = &resumes[..] else { panic!("once: {resumes:?}") };
    assert_eq!(resume.restart, RestartId(0));
}

/// [CHAIN-1] Before READY nothing can be resumed; READY is answered with RESUME, and HOLD where that is still true.
#[test]
fn a_hold_is_not_ended_before_ready() {
    let mut middle = Middle::new();
    middle.stands();
    middle.asks(1);
    middle.is_away(&["above/disk"]);
    middle.stands();
    assert!(middle.sent(Kind::Resume).is_empty());
    middle.is_away(&["above/disk"]);
    middle.actions.clear();
    middle.receive(1, Ready { replayed: 0, replayed_bytes: 0 }.into());
    assert_eq!((middle.sent(Kind::Resume).len(), middle.sent(Kind::Hold).len()), (1, 1));
}

/// [CHAIN-3] A way that leads back here is refused, whoever notices, and so is one that is too long.
#[test]
fn a_circle_is_refused_and_named() {
    let long: Vec<String> = (0..16).map(|node| format!("node-{node}/disk")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    for way in [&["above/disk", "target/disk-b"][..], &long] {
        let mut middle = Middle::new();
        middle.asks(1);
        middle.is_away(way);
        let refused = middle.actions.iter().find_map(|action| match action {
            Action::Refuse { refusal: Refusal::Cycle { path, .. }, .. } => Some(path.clone()),
            _ => None,
        });
        let named = refused.expect("who waits is refused");
        assert_eq!(named.as_slice()[0].as_str(), "target/disk-b");
        middle.actions.clear();
        middle.asks(2);
        let refuses = |action: &Action| matches!(action, Action::Refuse { .. });
        assert!(middle.actions.iter().any(refuses), "who comes later, too");
        middle.stands();
        middle.asks(3);
        assert_eq!(middle.sent(Kind::Attached).len(), 1, "once it is mended, nobody");
    }
}

/// [CHAIN-4] A new incarnation above is one here: everybody is sent away, at no fault of the medium.
#[test]
fn a_new_incarnation_above_is_a_new_one_here() {
    let mut middle = Middle::sharing();
    let before = middle.machine.resources()[1].incarnation;
    for _ in 0..3 {
        middle.tell(Event::LifeEnded { resource: DISK_B, why: Ended::Upstream });
        middle.tell(Event::Drained { conn: ConnId(1) });
    }
    let told = middle.sent(Kind::Disconnect);
    assert!(matches!(&told[..], [Message::Disconnect(told)]
        if told.code == DisconnectCode::WriteBackFailed));
    assert_ne!(middle.machine.resources()[1].incarnation, before);
    middle.asks(2);
    assert_eq!(middle.sent(Kind::Attached).len(), 1, "and let in again at once");
}

/// [CHAIN-1] A target that pauses itself keeps nothing that it cannot pass on, until the restart is given up.
#[test]
fn a_pause_gives_back_what_cannot_be_passed_on() {
    let mut middle = Middle::sharing();
    middle.is_away(&["above/disk"]);
    middle.order();
    assert_eq!((middle.sent(Kind::Pause).len(), middle.gives_back()), (1, Some(true)));
    middle.actions.clear();
    middle.tell(Event::Decide(Decision::Abort));
    assert_eq!(middle.gives_back(), Some(false));
    // RESUME would end the hold as well.
    assert_eq!((middle.sent(Kind::Resume).len(), middle.sent(Kind::Hold).len()), (1, 1));
}

/// [CHAIN-1] [CHAIN-2] Who could not be let in, because the target above is away, does not keep a pause waiting.
#[test]
fn a_pause_does_not_wait_for_who_waits_above() {
    let mut middle = Middle::sharing();
    middle.is_away(&["above/disk"]);
    middle.tell(Event::Lost { conn: ConnId(1) });
    middle.tell(Event::Drained { conn: ConnId(1) });
    middle.order();
    assert!(matches!(middle.machine.phase(), Phase::Pausing { .. }), "it may come back");
    middle.asks(2);
    assert!(!matches!(middle.machine.phase(), Phase::Pausing { .. }), "and is held off");
}

/// [CONN-2] However long the target above is away: whoever waits for it and dies is lost, and what it claimed is free.
#[test]
fn who_dies_while_it_waits_above_is_lost() {
    for lives in [true, false] {
        let mut middle = Middle::new();
        middle.asks(1);
        for _ in 0..60 {
            middle.now = middle.now + SECOND;
            if lives {
                middle.machine.heard(ConnId(1));
            }
            middle.tell(Event::Tick);
        }
        assert_eq!(middle.actions.contains(&Action::HangUp { conn: ConnId(1) }), !lives);
        middle.stands();
        assert_eq!(middle.sent(Kind::Attached).len(), usize::from(lives));
    }
}

/// [SAFE-2] [CHAIN-1] Who completes a pause without having sent everything again is still waited for by readers after it;
/// and what was given back is no less to be sent again than what is retained.
#[test]
fn a_pause_that_cut_a_replay_short_lets_no_reader_in() {
    for (retained, not_executed) in [(1, 0), (0, 1)] {
        let mut middle = Middle::sharing();
        middle.tell(Event::LifeEnded { resource: DISK_B, why: Ended::Upstream });
        middle.tell(Event::Drained { conn: ConnId(1) });
        middle.asks(2);
        middle.order();
        let complete = PauseComplete {
            restart: RestartId(9),
            in_flight_at_pause: 1,
            not_executed,
            retained,
            retained_bytes: retained * 4096,
            drain_us: 1,
            flush_us: 1,
        };
        middle.receive(2, complete.into());
        let rows = middle.machine.rows(middle.now);
        let clean = rows
            .iter()
            .any(|row| matches!(row.state, RowState::Complete(proof) if proof.is_clean()));
        assert!(!clean, "the clean record says nothing of it");
        middle.tell(Event::Decide(Decision::Abort));
        let admits = |middle: &Middle| middle.machine.admits_agentless(middle.now, DISK_B, true);
        assert!(admits(&middle).is_err(), "it has still to replay");
        middle.receive(2, Ready { replayed: 1, replayed_bytes: 4096 }.into());
        assert!(admits(&middle).is_ok());
    }
}

/// [SAFE-5] [CHAIN-1] Where the target above has fenced this one nobody is told to hold, which would have no end: who
/// waits, who comes and who comes back is refused for good, and a pause waits for none of them.
#[test]
fn a_middle_that_is_fenced_refuses_for_good() {
    let mut middle = Middle::new();
    middle.asks(1);
    let fenced = |middle: &mut Middle| {
        let (reason, path) = (Prose::clipped("has evicted this node"), path(&["above/disk"]));
        let never = Some(Never::Fenced);
        let upstream = Upstream::Away { reason, span: Duration::ZERO, path, never };
        middle.actions.clear();
        middle.tell(Event::Upstream { resource: DISK_B, upstream });
    };
    let refusals = |middle: &Middle| {
        let refused = |action: &Action| match action {
            Action::Refuse { refusal, .. } => Some(refusal.clone()),
            _ => None,
        };
        middle.actions.iter().filter_map(refused).collect::<Vec<_>>()
    };
    fenced(&mut middle);
    let waited = refusals(&middle);
    let [refusal @ Refusal::FencedAbove { reason, path: named, .. }] = &waited[..] else {
        panic!("who waits is refused: {waited:?}")
    };
    assert_eq!(refusal.disposition().0, Retry::Final);
    assert_eq!((reason.as_str(), named.as_slice().len()), ("has evicted this node", 2));

    let mut middle = Middle::sharing();
    fenced(&mut middle);
    middle.tell(Event::LifeEnded { resource: DISK_B, why: Ended::Upstream });
    middle.tell(Event::Drained { conn: ConnId(1) });
    middle.asks(2);
    assert_eq!(refusals(&middle).len(), 1, "who comes back is refused");
    middle.now = middle.now + 60 * SECOND;
    middle.tell(Event::Tick);
    assert!(middle.sent(Kind::Hold).is_empty(), "nobody holds for what never comes");
    middle.order();
    assert!(!matches!(middle.machine.phase(), Phase::Pausing { .. }), "nor does a pause wait");
}
