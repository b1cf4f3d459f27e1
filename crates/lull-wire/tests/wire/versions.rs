//! Which version has what.

use lull_wire::extents::{EXTENT_BYTES, EXTENTS_LIMIT, check, may_be_list};
use lull_wire::messages::{Attached, Request};
use lull_wire::{
    DecodeError, Extent, ExtentState, Features, Kind, Message, OLDEST_VERSION, OpCode,
    RequestFlags, TABLE, VERSION, common_version,
};

use crate::golden_values::telling;

/// [CONN-8] The highest that both speak; none where the ranges do not meet.
#[test]
fn of_two_ranges_the_highest_common_version_is_taken() {
    assert_eq!((OLDEST_VERSION, VERSION), (1, 2));
    for (min, max, common) in [
        (1, 1, Some(1)),
        (1, 2, Some(2)),
        (2, 2, Some(2)),
        (1, 9, Some(2)),
        (2, 9, Some(2)),
        (0, u16::MAX, Some(2)),
        (0, 0, None),
        (3, 3, None),
        (3, 9, None),
        (2, 1, None),
    ] {
        assert_eq!(common_version(min, max), common, "{min} to {max}");
    }
}

/// [CONN-8] The first version is closed: what it has is what the specification of its day said.
#[test]
fn nothing_is_added_to_the_first_version() {
    let first: Vec<_> =
        TABLE.iter().filter(|info| info.since == 1).map(|info| info.kind.number()).collect();
    let numbers: Vec<u16> = (0x01..=0x14).chain(0x20..=0x21).collect();
    assert_eq!(first, numbers);
    let ops = OpCode::ALL.iter().filter(|(op, ..)| op.since() == 1).map(|(_, number, _)| *number);
    assert_eq!(ops.collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let of_first = |bits: &[(&'static str, u32, u16)]| bits.iter().filter(|bit| bit.2 == 1).count();
    assert_eq!((of_first(RequestFlags::ALL), of_first(Features::ALL)), (2, 3));
}

/// [CONN-8] A message is as new as the newest bit in it; a code makes it no newer.
#[test]
fn a_message_says_from_which_version_on_it_may_be_sent() {
    for info in TABLE {
        assert_eq!(telling(info.kind).0.since(), info.since, "{}", info.name);
    }
    let (Message::Attached(attached), _) = telling(Kind::Attached) else { panic!("ATTACHED") };
    let features = attached.features.with(Features::EXTENTS);
    assert_eq!(Attached { features, ..*attached.clone() }.since(), 2);
    assert_eq!(Attached { features: features.within(1), ..*attached.clone() }, *attached);
    let (Message::Request(request), _) = telling(Kind::Request) else { panic!("REQUEST") };
    let (op, quick) = (OpCode::Extents, *request.clone());
    assert_eq!((op.since(), Request { op, ..*request }.since()), (2, 1));
    assert_eq!(OpCode::Unknown(0x77).since(), 1);
    assert_eq!(Request { flags: RequestFlags::FAST, ..quick }.since(), 2);
}

fn list(extents: &[(u64, ExtentState)]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(length, state) in extents {
        Extent { length, state }.encode(&mut out);
    }
    out
}

/// [SEC-4] A list that its receiver could not use is no list.
#[test]
fn a_list_of_extents_has_entries_that_fit_the_range() {
    let data = ExtentState::none();
    let good =
        list(&[(512, data), (1024, ExtentState::HOLE.with(ExtentState::ZERO)), (1 << 40, data)]);
    assert_eq!(check(&good, 2048, 512), Ok(()));
    let entry = good.first_chunk().expect("an entry");
    assert_eq!(Extent::decode(entry), Ok(Extent { length: 512, state: data }));
    let mut unknown = good.clone();
    unknown[8] = 4;
    let mut reserved = good.clone();
    reserved[12] = 1;
    for (what, bad, length) in [
        ("nothing", &[][..], 2048),
        ("half an entry", &good[..EXTENT_BYTES + 8], 2048),
        ("an extent behind the range", &good, 1536),
        ("an unknown bit", &unknown, 2048),
        ("a reserved byte", &reserved, 2048),
        ("an empty extent", &list(&[(0, data)]), 2048),
        ("half a block", &list(&[(700, data)]), 2048),
        ("too many", &list(&vec![(512, data); EXTENTS_LIMIT + 1]), u32::MAX),
        ("an overflow", &list(&[(512, data), (u64::MAX - 511, data)]), 2048),
    ] {
        assert_eq!(check(bad, length, 512), Err(DecodeError::Extents), "{what}");
    }
    let longest = list(&vec![(512, data); EXTENTS_LIMIT]);
    assert_eq!(check(&longest, u32::MAX, 512), Ok(()));
    let bytes = longest.len() as u32;
    assert!(may_be_list(bytes) && may_be_list(16));
    assert!(!may_be_list(bytes + 16) && !may_be_list(0) && !may_be_list(24));
}
