//! What a session's version allows.

use crate::alone::{Alone, attached, connect, resume, welcome};
use crate::arbitrary::fresh_target;
use crate::pair::ask;
use lull_proto::initiator::{Ask, Slot};
use lull_proto::target::{self, Refusal, Ticket};
use lull_proto::{ConnId, MonoTime, Violation};
use lull_wire::messages::{Attach, Attached, Hello, Name, Welcome};
use lull_wire::{
    Access, AttachmentId, Epoch, Features, Incarnation, InstanceId, Kind, Message, OpCode,
    RequestFlags, RequestNumber, ResourceId, StatusCode, Tenure,
};

const CONN: ConnId = ConnId(1);

fn welcome_of(version: u16) -> Message {
    let Message::Welcome(message) = welcome() else { panic!("WELCOME") };
    Welcome { version, ..*message }.into()
}

/// [CONN-8] HELLO offers what this release speaks; nothing else is taken.
#[test]
fn an_initiator_takes_any_version_that_it_offered() {
    for (version, taken) in [(0, false), (1, true), (2, true), (3, false), (u16::MAX, false)] {
        let mut alone = Alone::greeted();
        let sent = alone.sent(Kind::Hello);
        let [Message::Hello(hello)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((hello.min_version, hello.max_version), (1, 2));
        alone.receive(welcome_of(version));
        let expected = (!taken).then_some(Violation::Version(version));
        assert_eq!(alone.violation(), expected, "{version}");
    }
}

/// An initiator that is sent this ATTACHED in a session of this version.
fn granted(version: u16, offer: Attached) -> Alone {
    let mut alone = Alone::greeted();
    alone.receive(welcome_of(version));
    alone.receive(connect());
    alone.receive(offer.into());
    alone
}

/// [CONN-8] A bit of the second version means nothing in the first.
#[test]
fn a_bit_that_the_sessions_version_does_not_have_ends_the_connection() {
    let offer = Attached { features: Features::EXTENTS, ..attached(1) };
    let expected = Some(Violation::Newer(Kind::Attached, 1));
    assert_eq!(granted(1, offer.clone()).violation(), expected);
    assert_eq!(granted(2, offer).violation(), None);
}

/// What a target of ours sends to a HELLO that offers these versions, and to the ATTACH that follows.
fn greeted(min_version: u16, max_version: u16) -> (Vec<target::Action>, Vec<target::Action>) {
    let mut machine = fresh_target();
    let mut hear = |event| {
        let mut actions = Vec::new();
        machine.handle(MonoTime(1), event, &mut actions);
        actions
    };
    hear(target::Event::Accepted { conn: CONN });
    let hello = Hello {
        min_version,
        max_version,
        instance: InstanceId([1; 16]),
        node: Name::clipped("web-1"),
        software: Name::default(),
        callback: Default::default(),
    };
    let greeting = hear(target::Event::Received { conn: CONN, message: hello.into() });
    let attach = Attach {
        attachment: AttachmentId([2; 16]),
        resource: Name::clipped("disk-a"),
        identity: ResourceId::NONE,
        access: Access::ReadOnly,
        epoch: Epoch(1),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: 0,
        incarnation: Incarnation::NONE,
        tenure: Tenure(0),
        lowest: RequestNumber(1),
    };
    hear(target::Event::Received { conn: CONN, message: attach.into() });
    (greeting, hear(target::Event::Recorded { ticket: Ticket(1), ok: true }))
}

/// [CONN-8] The highest version of both, or a refusal that names what the initiator speaks.
#[test]
fn a_target_picks_the_highest_common_version() {
    for (min, max, picked) in [
        (1, 1, Some(1)),
        (1, 2, Some(2)),
        (2, 2, Some(2)),
        (1, 7, Some(2)),
        (0, 1, Some(1)),
        (3, 3, None),
        (3, 7, None),
        (0, 0, None),
        (2, 1, None),
    ] {
        let (greeting, _) = greeted(min, max);
        let welcomed = greeting.iter().find_map(|action| match action {
            target::Action::Send { message: Message::Welcome(welcome), .. } => {
                Some(welcome.version)
            }
            _ => None,
        });
        assert_eq!(welcomed, picked, "{min} to {max}");
        let refused = greeting.iter().any(|action| {
            matches!(action, target::Action::Refuse { refusal, .. } if *refusal == Refusal::Version { min, max })
        });
        assert_eq!(refused, picked.is_none(), "{min} to {max}");
    }
}

/// [CONN-8] What the first version does not have is not said in it.
#[test]
fn a_target_offers_only_what_the_sessions_version_has() {
    for (version, offered) in
        [(1, Features::READ_ONLY), (2, Features::READ_ONLY.with(Features::EXTENTS))]
    {
        let (_, actions) = greeted(version, version);
        let granted = actions.iter().find_map(|action| match action {
            target::Action::Send { message: Message::Attached(attached), .. } => {
                Some(attached.features)
            }
            _ => None,
        });
        assert_eq!(granted, Some(offered), "{version}");
        let opened = actions.iter().find_map(|action| match action {
            target::Action::Open { version, .. } => Some(*version),
            _ => None,
        });
        assert_eq!(opened, Some(version));
    }
}

fn with_extents(epoch: u64) -> Attached {
    Attached { features: Features::EXTENTS, ..attached(epoch) }
}

/// An attachment that shares, with a target that tells extents.
fn told_of_extents() -> Alone {
    let mut alone = granted(2, with_extents(1));
    alone.handle(lull_proto::initiator::Event::Remembered);
    alone.receive(resume(0));
    alone
}

fn comes_back(alone: &mut Alone, version: u16, offer: Attached) {
    alone.lose();
    alone.connects();
    alone.receive(welcome_of(version));
    alone.receive(connect());
    alone.receive(offer.into());
    alone.actions.clear();
    alone.receive(resume(0));
}

/// [CONN-3] A question about extents waits and is sent again as a read is.
#[test]
fn a_question_about_extents_is_held_and_sent_again() {
    let again =
        [with_extents(2), Attached { incarnation: Incarnation([8; 16]), ..with_extents(2) }];
    for offer in again {
        let mut alone = told_of_extents();
        alone.submit(OpCode::Extents, 1);
        comes_back(&mut alone, 2, offer);
        let sent: Vec<_> = alone.transmitted().iter().map(|one| one.op).collect();
        assert_eq!(sent, [OpCode::Extents]);
        assert!(alone.answers().is_empty(), "it waits for its reply");
    }
}

/// [CONN-3] [CONN-7] What was asked in an incarnation that is over is answered as well, when it would be sent again.
#[test]
fn a_question_of_another_incarnation_is_answered_for_a_target_without_extents() {
    let mut alone = told_of_extents();
    let sent = alone.submit(OpCode::Extents, 1);
    let offer = Attached { incarnation: Incarnation([8; 16]), ..attached(2) };
    comes_back(&mut alone, 1, offer);
    assert_eq!(alone.answers(), [(sent, StatusCode::NotSupported)]);
    assert!(alone.transmitted().is_empty());
}

/// [CONN-3] [CONN-7] [CONN-8] An older target came back: nobody waits for an answer that it cannot give, sent, held or new.
#[test]
fn a_target_without_extents_answers_no_question_about_them() {
    let mut alone = told_of_extents();
    let sent = alone.submit(OpCode::Extents, 1);
    let write = alone.submit(OpCode::Write, 2);
    alone.lose();
    let held = alone.submit(OpCode::Extents, 3);
    comes_back(&mut alone, 1, attached(2));
    let unknown = StatusCode::NotSupported;
    assert_eq!(alone.answers(), [(sent, unknown), (held, unknown)]);
    let again = alone.transmitted();
    assert_eq!(again.iter().map(|one| one.op).collect::<Vec<_>>(), [OpCode::Write]);
    alone.reply(again[0].number, StatusCode::Done);
    alone.actions.clear();
    let new = alone.submit(OpCode::Extents, 4);
    assert_eq!(alone.answers(), [(new, unknown)]);
    assert!(alone.transmitted().is_empty());
    // The number that was given up is passed over.
    alone.submit(OpCode::Read, 5);
    let read = alone.transmitted().pop().expect("it is sent");
    assert_eq!(read.lowest, read.number, "{write:?} was answered");
}

/// [CONN-8] Reading ahead is advice too; zeroes in a hurry are zeroes all the same.
#[test]
fn what_the_first_version_cannot_be_asked_is_made_up_for() {
    let mut alone = granted(1, Attached { features: Features::WRITE_ZEROES, ..attached(1) });
    alone.handle(lull_proto::initiator::Event::Remembered);
    alone.receive(resume(0));
    let ahead = alone.submit(OpCode::ReadAhead, 1);
    assert_eq!(alone.answers(), [(ahead, StatusCode::Done)]);
    let ask =
        Ask { flags: RequestFlags::FAST.with(RequestFlags::FUA), ..ask(OpCode::WriteZeroes, 2) };
    alone.handle(lull_proto::initiator::Event::Submit { slot: Slot(9), ask, rest: 0 });
    let sent = alone.transmitted();
    assert_eq!(
        sent.iter().map(|one| (one.op, one.flags)).collect::<Vec<_>>(),
        [(OpCode::WriteZeroes, RequestFlags::FUA)]
    );
}
