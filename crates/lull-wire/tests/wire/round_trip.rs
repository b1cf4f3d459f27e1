//! Any fields and any bytes: what the table allows comes back as it was, the rest is refused without a panic.

use crate::annotated;
use lull_wire::messages::{PATH_LIMIT, PROSE_LIMIT};
use lull_wire::{
    Features, FieldInfo, FrameHeader, HEADER_LENGTH, Kind, MAX_PAYLOAD, Message, RequestFlags,
    Sender, TABLE,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes of a text of at most `limit` bytes: length, then UTF-8.
fn text(limit: usize) -> BoxedStrategy<Vec<u8>> {
    vec(any::<char>(), 0..=limit)
        .prop_map(move |chars| {
            let text: String = chars.into_iter().collect();
            let text = &text[..text.floor_char_boundary(limit)];
            [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
        })
        .boxed()
}

/// Bytes of a list of at most `count` texts of at most `limit` bytes.
fn list(count: usize, limit: usize) -> BoxedStrategy<Vec<u8>> {
    vec(text(limit), 0..=count)
        .prop_map(|items| [(items.len() as u16).to_le_bytes().to_vec(), items.concat()].concat())
        .boxed()
}

fn bits(known: &'static [(&'static str, u32, u16)], size: usize) -> BoxedStrategy<Vec<u8>> {
    let mask = known.iter().fold(0u32, |mask, (_, bit, _)| mask | 1 << bit);
    any::<u32>().prop_map(move |bits| (bits & mask).to_le_bytes()[..size].to_vec()).boxed()
}

/// All that a field may hold, as bytes.
fn field(field: &FieldInfo) -> BoxedStrategy<Vec<u8>> {
    match field.type_name {
        "bool" => any::<bool>().prop_map(|bit| vec![u8::from(bit)]).boxed(),
        "RequestFlags" => bits(RequestFlags::ALL, field.size.0),
        "Features" => bits(Features::ALL, field.size.0),
        "Path" => list(PATH_LIMIT, 129),
        "List<Address, 8>" => list(8, 256),
        _ if field.size.0 == field.size.1 => vec(any::<u8>(), field.size.0).boxed(),
        _ => text((field.size.1 - 2).min(PROSE_LIMIT)),
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    (0..TABLE.len()).prop_map(|at| TABLE[at].kind)
}

fn any_body() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    any_kind().prop_flat_map(|kind| {
        let fields: Vec<_> = kind.info().fields.iter().map(field).collect();
        fields.prop_map(move |fields| (kind, fields.concat()))
    })
}

/// A header over `body` that is right in everything but what `body` says.
fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![any_kind().prop_map(Kind::number), any::<u16>()];
    let flags = prop_oneof![4 => Just(0u16), 1 => any::<u16>()];
    let reserved = prop_oneof![4 => Just(0u32), 1 => any::<u32>()];
    (kind, flags, any::<[u32; 4]>(), reserved).prop_map(|(kind, flags, middle, reserved)| {
        let mut header = b"LULL".to_vec();
        header.extend(kind.to_le_bytes());
        header.extend(flags.to_le_bytes());
        middle.iter().for_each(|word| header.extend(word.to_le_bytes()));
        header.extend(reserved.to_le_bytes());
        header.extend(lull_wire::frame::crc(&header).to_le_bytes());
        header
    })
}

proptest! {
    /// Every body that the table allows is one value, and that value is this body.
    #[test]
    fn every_allowed_body_is_read_and_written_back((kind, body) in any_body()) {
        let message = Message::decode(kind, &body).expect("a body as in the table");
        prop_assert_eq!(message.kind(), kind);
        let frame = annotated::frame(&message, &[]);
        prop_assert_eq!(&frame[HEADER_LENGTH..], &body[..]);
        prop_assert_eq!(annotated::read(&frame), (message, &[][..]));
    }

    /// A frame cut anywhere is not there yet or too short, never something else.
    #[test]
    fn a_cut_body_is_refused((kind, body) in any_body(), cut: prop::sample::Index) {
        if !body.is_empty() {
            prop_assert!(Message::decode(kind, &body[..cut.index(body.len())]).is_err());
        }
    }

    /// What is read as a header keeps its bounds, so that its receiver can allocate by it.
    #[test]
    fn arbitrary_bytes_are_no_header_or_one_within_bounds(
        bytes in prop_oneof![vec(any::<u8>(), 0..80), any_header()],
        sender in prop_oneof![Just(Sender::Initiator), Just(Sender::Target)],
    ) {
        if let Ok(Some(header)) = FrameHeader::read(&bytes, sender) {
            prop_assert!(header.kind.info().from.allows(sender));
            prop_assert!(header.body_length as usize <= header.kind.info().max_body);
            prop_assert!(header.payload.length <= MAX_PAYLOAD);
        }
    }

    /// An arbitrary body is refused or read; if read, it is written in one way only.
    #[test]
    fn arbitrary_bodies_never_panic(kind in any_kind(), body in vec(any::<u8>(), 0..400)) {
        if let Ok(message) = Message::decode(kind, &body) {
            let again = annotated::frame(&message, &[]);
            prop_assert!(body.starts_with(&again[HEADER_LENGTH..]));
        }
    }

    /// One changed bit anywhere in a frame is found before the message is used.
    #[test]
    fn a_changed_bit_is_found((kind, body) in any_body(), at: prop::sample::Index, bit in 0u8..8) {
        let message = Message::decode(kind, &body).expect("a body as in the table");
        let mut frame = annotated::frame(&message, &[]);
        let at = at.index(frame.len());
        frame[at] ^= 1u8 << bit;
        let sender = kind.info().from;
        let found = match FrameHeader::read(&frame, sender) {
            Ok(Some(header)) => header.check_body(&frame[HEADER_LENGTH..]).is_err(),
            Ok(None) => false,
            Err(_) => true,
        };
        prop_assert!(found);
    }
}
