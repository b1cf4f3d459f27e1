//! The protocol's bytes.

use lull_wire::frame::crc;
use lull_wire::{
    Digest, Extent, FrameHeader, HEADER_LENGTH, MAX_PAYLOAD, Message, Sender, TABLE,
    extents as list,
};

/// As they come, and with checksums that are right: else hardly one gets beyond them.
pub fn frames(bytes: &[u8]) {
    let mut right = bytes.to_vec();
    for sender in [Sender::Initiator, Sender::Target] {
        stream(bytes, sender);
        mend(&mut right);
        stream(&right, sender);
    }
}

/// One frame behind the other, up to the first that is none.
fn stream(mut bytes: &[u8], sender: Sender) {
    while let Ok(Some(header)) = FrameHeader::read(bytes, sender) {
        // [SEC-4] By these a receiver allocates.
        assert!(header.body_length as usize <= header.kind.info().max_body);
        assert!(header.payload.length <= MAX_PAYLOAD);
        let Some(body) = bytes.get(HEADER_LENGTH..header.length()) else { return };
        bytes = &bytes[header.length()..];
        let payload = bytes.get(..header.payload.length as usize).unwrap_or_default();
        let _ = header.payload.check(payload);
        bytes = &bytes[payload.len()..];
        if header.check_body(body).is_err() {
            return;
        }
        if let Ok(message) = Message::decode(header.kind, body) {
            again(&message, body, header.payload);
        }
    }
}

/// [CONN-8] What was read is written as it was, but for a tail that a later version may add.
fn again(message: &Message, body: &[u8], payload: Digest) {
    let mut frame = Vec::new();
    message.encode(payload, &mut frame);
    assert!(body.starts_with(&frame[HEADER_LENGTH..]), "{message:?} is written in another way");
    let read = message.kind().info();
    let sender = if read.from.allows(Sender::Target) { Sender::Target } else { Sender::Initiator };
    let header = FrameHeader::read(&frame, sender);
    let header = header.expect("a header of ours is right").expect("and whole");
    assert_eq!(header.payload, payload);
    assert_eq!(header.check_body(&frame[HEADER_LENGTH..]), Ok(()));
    assert_eq!(Message::decode(header.kind, &frame[HEADER_LENGTH..]).as_ref(), Ok(message));
}

/// Puts the right checksums into the first frame.
fn mend(frame: &mut [u8]) {
    if frame.len() < HEADER_LENGTH {
        return;
    }
    let length = u32::from_le_bytes([frame[8], frame[9], frame[10], frame[11]]) as usize;
    if let Some(body) = frame.get(HEADER_LENGTH..HEADER_LENGTH.saturating_add(length)) {
        let body = crc(body).to_le_bytes();
        frame[16..20].copy_from_slice(&body);
    }
    let header = crc(&frame[..HEADER_LENGTH - 4]).to_le_bytes();
    frame[HEADER_LENGTH - 4..HEADER_LENGTH].copy_from_slice(&header);
}

/// The first byte says of which message.
pub fn bodies(bytes: &[u8]) {
    let Some((row, body)) = bytes.split_first() else { return };
    let row = &TABLE[usize::from(*row) % TABLE.len()];
    if let Ok(message) = Message::decode(row.kind, body) {
        assert_eq!(message.kind(), row.kind);
        assert!(message.since() >= row.since);
        let payload = match row.payload {
            lull_wire::Payload::Data => Digest { length: 512, crc: 7 },
            lull_wire::Payload::None => Digest::NONE,
        };
        again(&message, body, payload);
    }
}

/// The first five bytes say what was asked for.
pub fn extents(bytes: &[u8]) {
    let Some(([shift, a, b, c, d], payload)) = bytes.split_first_chunk::<5>() else { return };
    let block = 512u32 << (shift % 8);
    let length = u32::from_le_bytes([*a, *b, *c, *d]);
    if list::check(payload, length, block).is_err() {
        return;
    }
    assert!(list::may_be_list(payload.len() as u32));
    let (mut again, mut covered) = (Vec::new(), 0);
    for entry in payload.as_chunks().0 {
        assert!(covered < u64::from(length), "an extent begins behind the range");
        let extent = Extent::decode(entry).expect("a list that was found right");
        covered += extent.length;
        extent.encode(&mut again);
    }
    assert_eq!(again, payload);
}
