//! One value per message, chosen so that fields that were swapped or cut would show.

use lull_wire::messages::*;
use lull_wire::*;

const RESTART: RestartId = RestartId(0x0102_0304_0506_0708);

fn id(first: u8) -> [u8; 16] {
    std::array::from_fn(|at| first + at as u8)
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).expect("a text within its bound")
}

fn path(nodes: &[&str]) -> Path {
    List::new(nodes.iter().map(|node| text(node)).collect()).expect("a path within its bound")
}

/// The value that the golden frame of `kind` holds, and its payload.
pub fn telling(kind: Kind) -> (Message, Vec<u8>) {
    match kind {
        Kind::Request => (request().into(), (0..512).map(|at| (at % 251) as u8).collect()),
        Kind::Reply => (reply().into(), (0..512).map(|at| (at % 241) as u8).collect()),
        kind => (without_payload(kind), Vec::new()),
    }
}

/// What a version has that none before it had, beside whole messages: a file's name, the message, its payload.
pub fn news(version: u16) -> Vec<(&'static str, Message, Vec<u8>)> {
    match version {
        2 => {
            let flags = RequestFlags::none();
            let ask = Request { op: OpCode::Extents, length: 0x0102_0400, flags, ..request() };
            let ahead = Request { op: OpCode::ReadAhead, ..ask.clone() };
            let flags = RequestFlags::FAST.with(RequestFlags::KEEP_ALLOCATED);
            let fast = Request { op: OpCode::WriteZeroes, flags, ..ask.clone() };
            let mut list = Vec::new();
            for (length, state) in [
                (0x0101_0000, ExtentState::none()),
                (0x0002_0304_0506_0800, ExtentState::HOLE.with(ExtentState::ZERO)),
            ] {
                Extent { length, state }.encode(&mut list);
            }
            let Message::Attached(granted) = attaching(Kind::Attached) else {
                unreachable!("that is what was asked for")
            };
            let features = granted.features.with(Features::EXTENTS);
            let granted = Attached { features, ..*granted };
            vec![
                ("attached-features", granted.into(), Vec::new()),
                ("request-extents", ask.into(), Vec::new()),
                ("request-read-ahead", ahead.into(), Vec::new()),
                ("request-fast-zeroes", fast.into(), Vec::new()),
                ("reply-extents", reply().into(), list),
            ]
        }
        _ => Vec::new(),
    }
}

fn request() -> Request {
    Request {
        number: RequestNumber(0x1112_1314_1516_1718),
        lowest: RequestNumber(0x1112_1314_1516_1710),
        offset: 0x0000_2122_2324_2600,
        length: 512,
        op: OpCode::Write,
        flags: RequestFlags::FUA,
    }
}

fn reply() -> Reply {
    Reply {
        number: RequestNumber(0x1112_1314_1516_1718),
        status: StatusCode::Done,
        incarnation: Incarnation(id(0xc0)),
    }
}

fn without_payload(kind: Kind) -> Message {
    match kind {
        Kind::Hello | Kind::Welcome | Kind::Connect | Kind::Refused => greeting(kind),
        Kind::Attach | Kind::Attached | Kind::Ready | Kind::Resume => attaching(kind),
        Kind::Pause | Kind::PauseProgress | Kind::PauseComplete | Kind::Disconnect => pausing(kind),
        _ => alone(kind),
    }
}

fn greeting(kind: Kind) -> Message {
    match kind {
        Kind::Hello => Hello {
            min_version: 1,
            max_version: 0x0203,
            instance: InstanceId(id(0x10)),
            node: text("web-2"),
            software: text("lull 0.1.0"),
            callback: text("tcp:192.0.2.7:10821"),
        }
        .into(),
        Kind::Welcome => Welcome {
            version: 1,
            instance: InstanceId(id(0xe0)),
            node: text("store"),
            software: text("lull 0.1.0"),
            keep_alive_ms: 2000,
        }
        .into(),
        Kind::Connect => Connect { restart: RESTART, barrier_ms: 60_000 }.into(),
        _ => Refused {
            code: RefusalCode::Conflict,
            retry: Retry::Later,
            retry_after_ms: 0x0001_e240,
            epoch: Epoch(0x3132_3334_3536_3738),
            tenure: Tenure(0x4142_4344_4546_4748),
            detail: text("\"db1\" is attached rw by web-3 since 14:02 – ask for ro"),
        }
        .into(),
    }
}

fn attaching(kind: Kind) -> Message {
    match kind {
        Kind::Attach => Attach {
            attachment: AttachmentId(id(0xa0)),
            resource: text("db1"),
            identity: ResourceId(id(0xd0)),
            access: Access::ReadOnly,
            epoch: Epoch(0x3132_3334_3536_3738),
            predecessor: InstanceId(id(0x20)),
            take_over: true,
            dirty: false,
            hold_ms: u64::MAX,
            incarnation: Incarnation(id(0xc0)),
            tenure: Tenure(0x4142_4344_4546_4748),
            lowest: RequestNumber(0x1112_1314_1516_1710),
        }
        .into(),
        Kind::Attached => Attached {
            epoch: Epoch(0x3132_3334_3536_3738),
            identity: ResourceId(id(0xd0)),
            incarnation: Incarnation(id(0xb0)),
            tenure: Tenure(0x4142_4344_4546_4748),
            size: 0x0000_5152_5354_5600,
            block: 512,
            preferred: 4096,
            max_length: 32 << 20,
            features: Features::WRITE_ZEROES.with(Features::READ_ONLY),
            path: path(&["store/db1", "vault/db1-disk"]),
        }
        .into(),
        Kind::Ready => Ready { replayed: 3, replayed_bytes: 0x0006_0504_0302 }.into(),
        _ => Resume { restart: RESTART }.into(),
    }
}

fn pausing(kind: Kind) -> Message {
    match kind {
        Kind::Pause => Pause {
            restart: RESTART,
            span_ms: 30_000,
            downtime_ms: 5_000,
            reason: text("release 0.2.0"),
        }
        .into(),
        Kind::PauseProgress => PauseProgress {
            restart: RESTART,
            in_flight: 0x0102_0304,
            oldest_ms: 12_345,
            unflushed: 0x0006_0504_0302,
        }
        .into(),
        Kind::PauseComplete => PauseComplete {
            restart: RESTART,
            in_flight_at_pause: 0x0102_0304,
            not_executed: 5,
            retained: 6,
            retained_bytes: 7 << 12,
            drain_us: 8_888,
            flush_us: 9_999,
        }
        .into(),
        _ => Disconnect {
            restart: RESTART,
            code: DisconnectCode::Restart,
            downtime_ms: 5_000,
            resource: text("db1"),
            where_to: List::new(vec![text("tcp:192.0.2.8:10820"), text("unix:/run/lull/store")])
                .expect("two addresses"),
            detail: text("release 0.2.0"),
        }
        .into(),
    }
}

fn alone(kind: Kind) -> Message {
    match kind {
        Kind::Detach => Detach { reason: text("unmounted") }.into(),
        Kind::Detached => Detached { epoch: Epoch(0x3132_3334_3536_3738) }.into(),
        Kind::Hold => Hold {
            span_ms: 45_000,
            path: path(&["store/db1", "vault/db1-disk"]),
            reason: text("vault restarts"),
        }
        .into(),
        Kind::Ping => Ping { token: 0x6162_6364_6566_6768 }.into(),
        Kind::Pong => Pong { token: 0x6162_6364_6566_6768 }.into(),
        Kind::Knock => Knock { node: text("store"), instance: InstanceId(id(0xe0)) }.into(),
        Kind::Resized => Resized { size: 0x0000_5152_5354_5600 }.into(),
        Kind::Stall => Stall {
            restart: RESTART,
            longest_us: 88_123,
            held: 0x0102_0304,
            away_us: 41_000,
            resume_us: 3_300,
        }
        .into(),
        other => panic!("{other} has no telling value yet: give it one and a golden file"),
    }
}
