//! The dialogue that the specification shows: attach, write, pause, restart, go on.

use lull_wire::messages::*;
use lull_wire::*;

/// One frame: message and payload.
pub type Said = (Message, Vec<u8>);

const RESTART: RestartId = RestartId(7);
const OLD: Incarnation = Incarnation([0xc1; 16]);
const NEW: Incarnation = Incarnation([0xc2; 16]);

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("a text within its bound")
}

/// All that is said, in order.
pub fn dialogue() -> Vec<Said> {
    let mut said = bring_up(RestartId(0), InstanceId([0xe1; 16]), attach(1), OLD);
    said.extend(work_and_pause());
    said.extend(bring_up(RESTART, InstanceId([0xe2; 16]), attach(2), NEW));
    said.extend(going_on());
    said
}

fn plain(messages: impl IntoIterator<Item = Message>) -> Vec<Said> {
    messages.into_iter().map(|message| (message, Vec::new())).collect()
}

fn attach(epoch: u64) -> Attach {
    let again = epoch > 1;
    Attach {
        attachment: AttachmentId([0xa7; 16]),
        resource: text("db1"),
        identity: if again { ResourceId([0xd1; 16]) } else { ResourceId::NONE },
        access: Access::ReadWrite,
        epoch: Epoch(epoch),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: u64::MAX,
        incarnation: if again { OLD } else { Incarnation::NONE },
        tenure: Tenure(u64::from(again)),
        lowest: RequestNumber(if again { 5 } else { 1 }),
    }
}

fn bring_up(
    restart: RestartId,
    target: InstanceId,
    attach: Attach,
    incarnation: Incarnation,
) -> Vec<Said> {
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([0x17; 16]),
        node: text("web-2"),
        software: text("example 1.0"),
        callback: text(""),
    };
    let welcome = Welcome {
        version: 1,
        instance: target,
        node: text("store"),
        software: text("lull 0.1.0"),
        keep_alive_ms: 1_250,
    };
    let attached = Attached {
        epoch: attach.epoch,
        identity: ResourceId([0xd1; 16]),
        incarnation,
        tenure: Tenure(1),
        size: 1 << 30,
        block: 512,
        preferred: 4096,
        max_length: 32 << 20,
        features: Features::DISCARD.with(Features::WRITE_ZEROES),
        path: List::new(vec![text("store/db1")]).expect("a path of one"),
    };
    plain([
        hello.into(),
        welcome.into(),
        Connect { restart, barrier_ms: 0 }.into(),
        attach.into(),
        attached.into(),
        Ready { replayed: 0, replayed_bytes: 0 }.into(),
        Resume { restart }.into(),
    ])
}

fn request(number: u64, op: OpCode, offset: u64, length: u32) -> Message {
    let number = RequestNumber(number);
    // Each request of the dialogue is sent when all before it are answered.
    Request { number, lowest: number, offset, length, op, flags: RequestFlags::none() }.into()
}

fn done(number: u64, incarnation: Incarnation) -> Message {
    Reply { number: RequestNumber(number), status: StatusCode::Done, incarnation }.into()
}

fn work_and_pause() -> Vec<Said> {
    let mut said = vec![(request(1, OpCode::Write, 4096, 512), vec![0x5a; 512])];
    said.extend(plain([
        done(1, OLD),
        Ping { token: 1 }.into(),
        Pong { token: 1 }.into(),
        request(2, OpCode::Flush, 0, 0),
        done(2, OLD),
    ]));
    said.push((request(3, OpCode::Write, 4608, 512), vec![0xa5; 512]));
    said.extend(plain([
        Pause { restart: RESTART, span_ms: 30_000, downtime_ms: 1_500, reason: text("upgrade") }
            .into(),
        PauseProgress { restart: RESTART, in_flight: 1, oldest_ms: 3, unflushed: 0 }.into(),
        done(3, OLD),
    ]));
    said.extend(plain([
        request(4, OpCode::Flush, 0, 0),
        done(4, OLD),
        PauseComplete {
            restart: RESTART,
            in_flight_at_pause: 1,
            not_executed: 0,
            retained: 0,
            retained_bytes: 0,
            drain_us: 4_100,
            flush_us: 900,
        }
        .into(),
        Disconnect {
            restart: RESTART,
            code: DisconnectCode::Restart,
            downtime_ms: 1_500,
            resource: text(""),
            where_to: List::default(),
            detail: text("upgrade"),
        }
        .into(),
    ]));
    said
}

fn going_on() -> Vec<Said> {
    let mut said = plain([request(5, OpCode::Read, 4096, 512)]);
    said.push((done(5, NEW), vec![0x5a; 512]));
    said.extend(plain([Stall {
        restart: RESTART,
        longest_us: 61_000,
        held: 1,
        away_us: 52_000,
        resume_us: 2_000,
    }
    .into()]));
    said
}
