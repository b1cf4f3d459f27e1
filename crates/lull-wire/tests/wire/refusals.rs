//! What is not a message of this protocol, and what it is called.

use crate::annotated::frame;
use lull_wire::frame::crc;
use lull_wire::messages::*;
use lull_wire::*;

fn ping() -> Vec<u8> {
    frame(&Ping { token: 7 }.into(), &[])
}

/// A frame with a sound header that was changed by `change` before its checksum was made.
fn with_header(mut frame: Vec<u8>, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    change(&mut frame[..28]);
    let sum = crc(&frame[..28]);
    frame[28..32].copy_from_slice(&sum.to_le_bytes());
    frame
}

fn refused(bytes: &[u8], sender: Sender) -> DecodeError {
    FrameHeader::read(bytes, sender).expect_err("bytes that are no header of ours")
}

fn body(message: impl Into<Message>) -> (Kind, Vec<u8>) {
    let message = message.into();
    (message.kind(), frame(&message, &[])[HEADER_LENGTH..].to_vec())
}

fn hello() -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        instance: InstanceId([1; 16]),
        node: Text::clipped("web-2"),
        software: Text::clipped(""),
        callback: Text::clipped(""),
    }
}

fn refusal() -> Refused {
    Refused {
        code: RefusalCode::Version,
        retry: Retry::Final,
        retry_after_ms: 0,
        epoch: Epoch(0),
        tenure: Tenure(0),
        detail: Text::clipped(""),
    }
}

fn attach() -> Attach {
    Attach {
        attachment: AttachmentId([2; 16]),
        resource: Text::clipped(""),
        identity: ResourceId::NONE,
        access: Access::ReadWrite,
        epoch: Epoch(1),
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: 0,
        incarnation: Incarnation::NONE,
        tenure: Tenure(0),
        lowest: RequestNumber(1),
    }
}

/// A peer of another protocol is told by its first bytes, and they are named.
#[test]
fn an_http_request_is_bad_magic_from_its_first_byte() {
    let http = b"GET / HTTP/1.1\r\nHost: store\r\n\r\n";
    assert_eq!(refused(http, Sender::Initiator), DecodeError::Magic(*b"GET "));
    assert_eq!(refused(b"G", Sender::Initiator), DecodeError::Magic(*b"G\0\0\0"));
    assert!(refused(http, Sender::Initiator).to_string().contains("\"GET \""));
}

/// A header that has begun well is waited for.
#[test]
fn a_header_that_is_not_all_there_is_waited_for() {
    let ping = ping();
    (0..HEADER_LENGTH).for_each(|there| {
        assert_eq!(FrameHeader::read(&ping[..there], Sender::Target), Ok(None), "{there} bytes");
    });
}

#[test]
fn a_damaged_header_is_told_from_a_damaged_body() {
    let mut header = ping();
    header[8] ^= 1;
    assert_eq!(refused(&header, Sender::Target), DecodeError::HeaderChecksum);

    let mut damaged = ping();
    damaged[HEADER_LENGTH] ^= 1;
    let header = FrameHeader::read(&damaged, Sender::Target).expect("sound").expect("whole");
    assert_eq!(header.check_body(&damaged[HEADER_LENGTH..]), Err(DecodeError::BodyChecksum));
}

#[test]
fn a_damaged_or_cut_payload_is_found_by_its_digest() {
    let digest = Digest::of(b"data of a block");
    assert_eq!(digest.check(b"data of a block"), Ok(()));
    assert_eq!(digest.check(b"data of A block"), Err(DecodeError::PayloadDigest));
    assert_eq!(digest.check(b"data of a bloc"), Err(DecodeError::PayloadDigest));
}

#[test]
fn bits_that_are_reserved_in_the_header_are_refused() {
    let flags = with_header(ping(), |header| header[6] = 1);
    assert_eq!(refused(&flags, Sender::Target), DecodeError::Reserved);
    let reserved = with_header(ping(), |header| header[27] = 0x80);
    assert_eq!(refused(&reserved, Sender::Target), DecodeError::Reserved);
}

#[test]
fn unknown_bits_in_flags_and_booleans_are_refused() {
    let request = Request {
        number: RequestNumber(1),
        lowest: RequestNumber(1),
        offset: 0,
        length: 0,
        op: OpCode::Flush,
        flags: RequestFlags::FUA.with(RequestFlags::KEEP_ALLOCATED),
    };
    let (kind, mut bytes) = body(request);
    assert!(Message::decode(kind, &bytes).is_ok());
    *bytes.last_mut().expect("flags come last") |= 8;
    assert_eq!(Message::decode(kind, &bytes), Err(DecodeError::Reserved));

    let (kind, bytes) = body(attach());
    for boolean in [59, 60] {
        let mut bytes = bytes.clone();
        assert_eq!(bytes[boolean], 0);
        bytes[boolean] = 1;
        assert!(Message::decode(kind, &bytes).is_ok());
        bytes[boolean] = 2;
        assert_eq!(Message::decode(kind, &bytes), Err(DecodeError::Reserved));
    }
}

#[test]
fn unknown_features_are_refused() {
    let attached = Attached {
        epoch: Epoch(1),
        identity: ResourceId([1; 16]),
        incarnation: Incarnation([2; 16]),
        tenure: Tenure(1),
        size: 512,
        block: 512,
        preferred: 4096,
        max_length: 4096,
        features: Features::DISCARD,
        path: Path::default(),
    };
    let (kind, mut bytes) = body(attached);
    let features = bytes.len() - 2 - 4;
    bytes[features + 3] = 0x80;
    assert_eq!(Message::decode(kind, &bytes), Err(DecodeError::Reserved));
}

#[test]
fn a_number_that_no_message_has_is_refused() {
    let unknown = with_header(ping(), |header| header[4..6].copy_from_slice(&[0x34, 0x12]));
    assert_eq!(refused(&unknown, Sender::Target), DecodeError::UnknownKind(0x1234));
}

/// [SEC-3]: only a target pauses, holds and resumes.
#[test]
fn a_message_of_the_other_side_is_refused() {
    for info in TABLE {
        let wrong = match info.from {
            Sender::Initiator => Sender::Target,
            Sender::Target => Sender::Initiator,
            Sender::Both => continue,
        };
        let header = with_header(ping(), |header| {
            header[4..6].copy_from_slice(&info.kind.number().to_le_bytes());
        });
        assert_eq!(refused(&header, wrong), DecodeError::WrongDirection(info.kind));
    }
}

/// [SEC-4]: lengths are judged before a byte of body or payload is stored.
#[test]
fn bodies_and_payloads_longer_than_their_message_are_refused_with_the_header() {
    let long = with_header(ping(), |header| header[8] = 9);
    assert_eq!(refused(&long, Sender::Target), DecodeError::BodyLength(Kind::Ping, 9));
    let short = with_header(ping(), |header| header[8] = 7);
    assert_eq!(refused(&short, Sender::Target), DecodeError::BodyLength(Kind::Ping, 7));

    let payload = with_header(ping(), |header| header[12] = 1);
    assert_eq!(refused(&payload, Sender::Target), DecodeError::PayloadLength(Kind::Ping, 1));
    let digest = with_header(ping(), |header| header[20] = 1);
    assert_eq!(refused(&digest, Sender::Target), DecodeError::PayloadLength(Kind::Ping, 0));

    let reply = Reply {
        number: RequestNumber(1),
        status: StatusCode::Done,
        incarnation: Incarnation::NONE,
    };
    let reply = frame(&reply.into(), &[]);
    let beyond = with_header(reply, |header| {
        header[12..16].copy_from_slice(&(MAX_PAYLOAD + 1).to_le_bytes());
    });
    let expected = DecodeError::PayloadLength(Kind::Reply, MAX_PAYLOAD + 1);
    assert_eq!(refused(&beyond, Sender::Target), expected);
}

/// [CONN-8]: later versions may add to the two messages that are read before a version is agreed on, and to no other.
#[test]
fn bytes_behind_the_known_fields_are_passed_over_in_hello_and_refused_only() {
    for (message, passed_over) in [
        (Message::from(hello()), true),
        (refusal().into(), true),
        (attach().into(), false),
        (Ping { token: 1 }.into(), false),
    ] {
        let (kind, mut bytes) = body(message.clone());
        bytes.extend_from_slice(b"what a later version adds");
        let length = bytes.len() as u32;
        let expected =
            if passed_over { Ok(message) } else { Err(DecodeError::BodyLength(kind, length)) };
        assert_eq!(Message::decode(kind, &bytes), expected);
    }
}

/// The addition of a later version is bounded too.
#[test]
fn hello_with_more_than_a_kilobyte_behind_it_is_refused() {
    let known: usize = Kind::Hello.info().fields.iter().map(|field| field.size.1).sum();
    let most = Kind::Hello.info().max_body;
    assert_eq!(most, known + 1024);
    let with_length = |length: usize| {
        with_header(frame(&hello().into(), &[]), |header| {
            header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
        })
    };
    assert!(FrameHeader::read(&with_length(most), Sender::Initiator).is_ok());
    let beyond = refused(&with_length(most + 1), Sender::Initiator);
    assert_eq!(beyond, DecodeError::BodyLength(Kind::Hello, most as u32 + 1));
}

#[test]
fn a_body_that_ends_inside_a_field_is_refused() {
    let (kind, bytes) = body(Detach { reason: Text::clipped("unmounted") });
    let cut = &bytes[..bytes.len() - 1];
    assert_eq!(Message::decode(kind, cut), Err(DecodeError::BodyLength(kind, cut.len() as u32)));
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let (kind, mut bytes) = body(Detach { reason: Text::clipped("unmounted") });
    bytes[4] = 0xff;
    assert_eq!(Message::decode(kind, &bytes), Err(DecodeError::Text(kind)));
}

#[test]
fn a_text_and_a_list_beyond_their_bounds_are_refused() {
    let mut long = (PROSE_LIMIT as u16 + 1).to_le_bytes().to_vec();
    long.resize(2 + PROSE_LIMIT + 1, b'x');
    assert_eq!(Message::decode(Kind::Detach, &long), Err(DecodeError::Bound(Kind::Detach)));
    long[..2].copy_from_slice(&(PROSE_LIMIT as u16).to_le_bytes());
    long.pop();
    assert!(Message::decode(Kind::Detach, &long).is_ok());

    let hold = |nodes: u16| {
        let mut bytes = 0u64.to_le_bytes().to_vec();
        bytes.extend(nodes.to_le_bytes());
        bytes.resize(bytes.len() + 2 * usize::from(nodes) + 2, 0);
        Message::decode(Kind::Hold, &bytes)
    };
    assert!(hold(PATH_LIMIT as u16).is_ok());
    assert_eq!(hold(PATH_LIMIT as u16 + 1), Err(DecodeError::Bound(Kind::Hold)));
}

/// A code that this release does not know reaches whoever must decide about it.
#[test]
fn unknown_codes_survive_decoding() {
    let (kind, mut bytes) = body(refusal());
    bytes[..2].copy_from_slice(&0x7777u16.to_le_bytes());
    let Ok(Message::Refused(read)) = Message::decode(kind, &bytes) else {
        panic!("REFUSED is read whatever its code");
    };
    assert_eq!(read.code, RefusalCode::Unknown(0x7777));
}
