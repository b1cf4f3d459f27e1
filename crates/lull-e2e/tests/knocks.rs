//! A target that has started knocks where initiators asked for it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use lull_e2e::{Load, PROMPT, Shape, Use, World, now, wait_until};
use lull_wire::messages::{Address, Attach, Hello, Knock, Name, Refused};
use lull_wire::{
    Access, AttachmentId, Digest, Epoch, FrameHeader, HEADER_LENGTH, Incarnation, InstanceId, Kind,
    Message, RefusalCode, RequestNumber, ResourceId, Retry, Sender, Tenure, VERSION,
};

fn frame(message: impl Into<Message>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.into().encode(Digest::NONE, &mut frame);
    frame
}

/// In the place of a target: tells so many who dial to come again in an hour, and goes.
fn put_off(listen: &str, many: usize) {
    let path = listen.strip_prefix("unix:").expect("a target on a unix socket");
    std::fs::remove_file(path).expect("the socket of a target that was killed");
    let listener = UnixListener::bind(path).expect("a socket");
    let refused = Refused {
        code: RefusalCode::Unavailable,
        retry: Retry::Later,
        retry_after_ms: 3_600_000,
        epoch: Epoch(0),
        tenure: Tenure(0),
        detail: Default::default(),
    };
    let refused = frame(refused);
    for stream in listener.incoming().take(many) {
        let mut stream = stream.expect("an initiator that dials");
        stream.write_all(&refused).expect("an initiator that reads");
        // It hangs up when it has read that.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    std::fs::remove_file(path).expect("its socket");
}

fn knock(node: &str) -> Vec<u8> {
    frame(Knock { node: Name::clipped(node), instance: InstanceId([3; 16]) })
}

/// Says something at a callback address, and waits until it is closed there.
fn say(door: &Path, words: &[u8]) {
    let mut stream = UnixStream::connect(door).expect("a callback that is listened at");
    stream.set_read_timeout(Some(PROMPT)).expect("a span");
    stream.write_all(words).expect("somebody who reads");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).map_err(|error| error.kind()) {
        // What is not read when it is closed makes it a reset.
        Ok(_) | Err(ErrorKind::ConnectionReset) => {}
        Err(kind) => panic!("it is not closed: {kind}"),
    }
    assert!(answer.is_empty(), "a knock is not answered");
}

/// [CONN-1] [SEC-3] An initiator that was to wait for an hour is back at once: the target remembered, over its own
/// death, where to knock. What strangers say there meanwhile does no harm.
#[test]
fn a_knock_brings_an_initiator_back_at_once() {
    let world = World::new();
    let door = world.path("web1-callback.sock");
    let mut target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").set("callback", &format!("unix:{}", door.display()));
    let web = web.uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    target.kill();
    put_off(target.listen(), 1);
    say(&door, b"GET / HTTP/1.1\r\n\r\n");
    say(&door, &knock("somebody-else"));
    say(&door, &knock("stor"));
    target.start();
    web.wait_sharing();
    load.wait_progress(100);
    say(&door, &knock("stor"));
    load.finish().clean();
    web.lull(&["detach", "db1"]).ok();
    wait_until("nothing is left of the callback", PROMPT, || !door.exists());
}

/// [SEC-4] [CONN-1] Of many who knock one is heard each 100 ms, and one who says nothing is not waited for.
#[test]
fn a_storm_of_knocks_is_heard_slowly() {
    let world = World::new();
    let door = world.path("web1-callback.sock");
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").set("callback", &format!("unix:{}", door.display()));
    let web = web.uses(Use::of(&target, "db1")).start();
    let since = now();
    say(&door, b"");
    for _ in 0..10 {
        say(&door, &knock("stor"));
    }
    // A second for the silent one, and the rest after each.
    assert!(now().duration_since(since) >= Duration::from_secs(2), "faster than allowed");
    web.wait_sharing();
}

/// [CONN-1] One address for all attachments of a daemon, over TCP at a port that the kernel chose.
#[test]
fn one_callback_serves_all_attachments() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let mut other = world.target("arch").file("db3", "16M").start();
    let web = world.initiator("web1").set("callback", "tcp:127.0.0.1:0");
    let web = web
        .uses(Use::of(&target, "db1"))
        .uses(Use::of(&target, "db2"))
        .uses(Use::of(&other, "db3"))
        .start();
    target.kill();
    other.kill();
    put_off(target.listen(), 2);
    put_off(other.listen(), 1);
    other.start();
    target.start();
    web.wait_sharing();
}

/// [CONN-1] An address at which nobody can knock is refused with what to write instead.
#[test]
fn a_callback_at_every_address_is_refused() {
    let world = World::new();
    let words = ["attach", "lull://127.0.0.1/db1", "--nbd", "tcp:127.0.0.1:0"];
    let words = [&words[..], &["--insecure", "--callback", "tcp:0.0.0.0:0"]].concat();
    world.lull(&words).code(1).says("write the one that targets reach");
    let words = [&words[..4], &["--callback", "tcp:192.0.2.7"]].concat();
    world.lull(&words).code(2).says("--insecure");
}

/// A reader by hand, that wants to be knocked at `door`; up to ATTACHED.
fn attach(listen: &str, number: u8, door: &str) -> UnixStream {
    let path = listen.strip_prefix("unix:").expect("a target on a unix socket");
    let mut stream = UnixStream::connect(path).expect("a target that listens");
    stream.set_read_timeout(Some(PROMPT)).expect("a span");
    let hello = Hello {
        min_version: VERSION,
        max_version: VERSION,
        instance: InstanceId([number; 16]),
        node: Name::clipped(&format!("reader-{number}")),
        software: Name::clipped("a test"),
        callback: Address::clipped(door),
    };
    let attach = Attach {
        attachment: AttachmentId([number; 16]),
        resource: Name::clipped("db1"),
        identity: ResourceId::NONE,
        access: Access::ReadOnly,
        epoch: Epoch(1),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: u64::MAX,
        incarnation: Incarnation::NONE,
        tenure: Tenure(0),
        lowest: RequestNumber(1),
    };
    stream.write_all(&[frame(hello), frame(attach)].concat()).expect("a target that reads");
    while next(&mut stream).expect("ATTACHED").kind() != Kind::Attached {}
    stream
}

/// The next message; `None` at the end of the connection.
fn next(stream: &mut UnixStream) -> Option<Message> {
    let mut header = [0; HEADER_LENGTH];
    stream.read_exact(&mut header).ok()?;
    let header = FrameHeader::read(&header, Sender::Target).expect("a frame").expect("all of it");
    let mut body = vec![0; header.body_length as usize];
    stream.read_exact(&mut body).expect("a whole frame");
    Some(Message::decode(header.kind, &body).expect("fields as in the table"))
}

/// [CONN-1] After each start everybody who is away is knocked once, also where they are more than are knocked at the
/// same time and some addresses lead nowhere: one connection, one frame, closed by the target.
#[test]
fn each_address_is_knocked_once_after_each_start() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let doors: Vec<_> = (0..50).map(|number| world.path(&format!("{number}.door"))).collect();
    let listeners: Vec<_> =
        doors.iter().map(|door| UnixListener::bind(door).expect("a door")).collect();
    let mut readers = Vec::new();
    for (number, door) in (1..).zip(doors.iter().chain(&doors[..10])) {
        readers.push(attach(target.listen(), number, &format!("unix:{}", door.display())));
    }
    let nowhere = format!("unix:{}", world.path("nowhere").display());
    readers.extend((100..140).map(|number| attach(target.listen(), number, &nowhere)));
    readers.push(attach(target.listen(), 200, "no address at all"));
    for _ in 0..2 {
        target.kill();
        target.start();
        for listener in &listeners {
            let (mut stream, _) = listener.accept().expect("a knock");
            let Some(Message::Knock(knock)) = next(&mut stream) else { panic!("no knock") };
            assert_eq!(knock.node.as_str(), "stor");
            assert!(next(&mut stream).is_none(), "closed after one frame");
        }
    }
    for listener in &listeners {
        listener.set_nonblocking(true).expect("a listener");
        let more = listener.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(more, Err(ErrorKind::WouldBlock), "once for each start");
    }
}
