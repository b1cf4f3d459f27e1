use super::*;
use lull_wire::InstanceId;
use std::collections::BTreeMap;

const ID: AttachmentId = AttachmentId([0xa7; 16]);

fn write(place: u64, payload: &[u8]) -> Ask {
    let (op, flags) = (OpCode::Write, RequestFlags::none());
    Ask { op, flags, offset: place * 4096, length: payload.len() as u32 }
}

fn payload_of(place: u64) -> Vec<u8> {
    vec![place as u8 | 1; 37 * (1 + place as usize % 5)]
}

fn push(journal: &mut Journal, place: u64) {
    let payload = payload_of(place);
    journal.push(place, &write(place, &payload), &payload, Digest::of(&payload));
}

/// What the next life finds, while this one is still mapped: as after a kill at this instant.
fn found(journal: &Journal) -> Found {
    let file = journal.as_fd().try_clone_to_owned().unwrap();
    Journal::recover(file).unwrap()
}

fn changes(found: &Found) -> (Incarnation, Vec<Ask>) {
    match &found.legacy {
        Legacy::Kept { settled, changes } => (*settled, changes.clone()),
        Legacy::None | Legacy::Lost { .. } => panic!("a log was found"),
    }
}

/// [SAFE-1] [SAFE-10] What is kept is what was written, around the ring's end as well, for as long as it is kept, and
/// the next life finds exactly that.
#[test]
fn what_is_kept_comes_back_as_it_was_in_this_life_and_in_the_next() {
    let mut journal = Journal::create(ID, 4096).unwrap();
    let (mut kept, mut cost) = (0..0u64, 0);
    for place in 0..3000 {
        let its = |place| 256.max(payload_of(place).len() + 128);
        while cost + its(place) > 4096 {
            let before = (kept.start + 3).min(kept.end);
            cost -= (kept.start..before).map(its).sum::<usize>();
            kept.start = before;
            journal.release(before);
        }
        push(&mut journal, place);
        cost += its(place);
        kept.end = place + 1;
        for place in kept.clone() {
            let (payload, digest) = journal.copy(place).unwrap();
            assert_eq!((&payload, digest), (&payload_of(place), Digest::of(&payload)));
        }
        assert!(kept.start == 0 || journal.copy(kept.start - 1).is_none());
        assert!(journal.copy(kept.end).is_none());
        let next = found(&journal);
        let asks: Vec<Ask> = kept.clone().map(|place| write(place, &payload_of(place))).collect();
        assert_eq!(changes(&next), (Incarnation::NONE, asks));
        assert_eq!(next.damaged, None);
        for (nth, place) in kept.clone().enumerate() {
            assert_eq!(next.journal.copy(nth as u64).unwrap().0, payload_of(place));
        }
    }
}

/// [SAFE-10] The next life goes on where the killed one ended, and so does the one after it.
#[test]
fn a_log_goes_on_over_several_lives() {
    let mut journal = Journal::create(ID, 1 << 20).unwrap();
    let mut all = Vec::new();
    for life in 0..5 {
        let first = all.len() as u64;
        for nth in 0..7 {
            let payload = payload_of(life * 7 + nth);
            let ask = write(life * 7 + nth, &payload);
            journal.push(first + nth, &ask, &payload, Digest::of(&payload));
            all.push(ask);
        }
        journal.settle(Incarnation([life as u8 + 1; 16]));
        let next = found(&journal);
        assert_eq!(changes(&next), (Incarnation([life as u8 + 1; 16]), all.clone()));
        journal = next.journal;
    }
    journal.release(35);
    assert_eq!(changes(&found(&journal)).1, []);
}

/// [SAFE-10] Killed before the last store of a record, or of an incarnation: nothing of it was acknowledged, and nothing
/// of it is found, whatever bytes of earlier laps or of consumers lie where it would be.
#[test]
fn what_was_not_written_to_its_end_is_not_found() {
    let mut journal = Journal::create(ID, 4096).unwrap();
    let mut last = BTreeMap::new();
    for place in 0..2000u64 {
        journal.release(place.saturating_sub(2));
        let before = changes(&found(&journal));
        // Consumers' bytes that look, a lap later, like the mark of whatever record begins there.
        let mark_at = |at: u64| at + journal.size as u64 + 1;
        let words = (0..128u64).map(|word| mark_at(journal.tail + HEADER as u64 + word * 8));
        let evil: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let (at, need) = (journal.tail, needed(evil.len()));
        let ask = write(place, &evil);
        journal.push(place, &ask, &evil, Digest::of(&evil));
        let at = if journal.tail == at + need as u64 { at } else { journal.tail - need as u64 };
        let mark = journal.place(at);
        // As if the kill had come one store earlier.
        journal.memory.store(mark, 0);
        assert_eq!(changes(&found(&journal)), before, "{place}");
        journal.memory.store(mark, at + 1);
        let next = found(&journal);
        assert_eq!(changes(&next).1.len(), before.1.len() + 1);
        assert_eq!(next.damaged, None, "nothing is taken for a record that is none");
        last.insert(place, ask);
    }
    journal.settle(Incarnation([1; 16]));
    journal.settle(Incarnation([2; 16]));
    journal.memory.store(AT_SETTLED[0], 0);
    assert_eq!(changes(&found(&journal)).0, Incarnation([1; 16]), "the second was not finished");
}

/// [SAFE-10] What is not as it was written is told, by count and range where that is known, and never replayed.
#[test]
fn damage_is_counted_and_not_replayed() {
    let mut journal = Journal::create(ID, 1 << 20).unwrap();
    (0..10).for_each(|place| push(&mut journal, place));
    let third = journal.records[3].at;
    let place = journal.place(third);
    journal.memory.bytes_mut(place + HEADER, 1)[0] ^= 4;
    let next = found(&journal);
    let (length, range) =
        (payload_of(3).len() as u64, 3 * 4096..3 * 4096 + payload_of(3).len() as u64);
    let known = Extent { changes: 1, bytes: length, range: (range.start, range.end) };
    let damage = Damage { known, more: false };
    assert_eq!((changes(&next).1.len(), next.damaged), (9, Some(damage)));
    journal.memory.bytes_mut(place + 9, 1)[0] ^= 4;
    let next = found(&journal);
    assert_eq!(changes(&next).1.len(), 3);
    assert!(next.damaged.is_some_and(|damage| damage.more && damage.known == Extent::NONE));
}

/// [SAFE-3] [SAFE-10] A log goes on behind what is damaged, and around it, as full as a machine may make it; the life after that
/// finds all of it.
#[test]
fn a_log_with_damage_in_it_is_filled_and_found_again() {
    let bound = 1 << 16;
    for (good, damaged) in [([1, 2], 0), ([0, 2], 1), ([0, 1], 2)] {
        let mut journal = Journal::create(ID, bound).unwrap();
        let room = journal.retains();
        let write = |place, length| (write(place, &vec![7; length]), vec![7; length]);
        for place in 0..3 {
            let (ask, payload) = write(place, if place == damaged { 48 << 10 } else { 512 });
            journal.push(place, &ask, &payload, Digest::of(&payload));
        }
        let place = journal.place(journal.records[damaged as usize].at);
        journal.memory.bytes_mut(place + HEADER, 1)[0] ^= 4;
        let next = found(&journal);
        let mut all: Vec<Ask> = good.map(|place| write(place, 512).0).into();
        assert_eq!(changes(&next).1, all);
        let lost = next.damaged.map(|damage| (damage.known.changes, damage.more));
        assert_eq!(lost, Some((1, false)));
        let mut journal = next.journal;
        // As the machine counts.
        let most = bound.min(journal.retains()) / (512 + 128);
        while (all.len() as u64) < most {
            let place = all.len() as u64;
            let (ask, payload) = write(10 + place, 512);
            journal.push(place, &ask, &payload, Digest::of(&payload));
            all.push(ask);
        }
        assert!(most > 10);
        let mut next = found(&journal);
        assert_eq!(changes(&next).1, all, "damaged: {damaged}");
        next.journal.release(2);
        assert_eq!(next.journal.retains(), room, "its room is free again");
    }
}

/// [SAFE-10] A life that is killed before it could tell of a lost log leaves that to the next one.
#[test]
fn a_loss_that_nobody_was_told_of_is_known_to_the_next_life() {
    let mut journal = Journal::create(ID, 4096).unwrap();
    journal.misses();
    assert!(found(&journal).misses);
    journal.settle(Incarnation([1; 16]));
    assert!(!found(&journal).misses);
}

/// [SAFE-10] A log says whose it is, as long as nobody has gone on with it who does not say so.
#[test]
fn a_log_is_the_last_lifes_that_had_it() {
    let of = |name| Life { instance: InstanceId([name; 16]), before: InstanceId([name - 1; 16]) };
    let mut journal = Journal::create(ID, 4096).unwrap();
    assert_eq!(found(&journal).life, None);
    for name in [2, 3] {
        journal.belongs_to(of(name));
        assert_eq!(found(&journal).life, Some(of(name)));
        journal.settle(Incarnation([1; 16]));
        push(&mut journal, 0);
        journal.release(1);
        assert_eq!(found(&journal).life, Some(of(name)));
    }
    assert_eq!(found(&journal).attachment, ID);
    let mut older = found(&journal).journal;
    older.settle(Incarnation([2; 16]));
    assert_eq!(found(&older).life, None, "a release that knows nothing of it has gone on");
    journal.belongs_to_nobody();
    journal.settle(Incarnation([3; 16]));
    assert_eq!(found(&journal).life, None, "such a one may be handed it");
}

#[test]
fn memory_that_holds_something_else_is_no_log() {
    let empty = rustix::fs::memfd_create("none", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert!(Journal::recover(empty).is_err());
}

/// [SAFE-3] The ring has room for whatever a machine may retain within its bound.
#[test]
fn there_is_room_for_all_that_a_bounded_machine_retains() {
    for (bound, length) in
        [(4096u64, 1u32), (4096, 256), (4096, 257), (65_536, 512), (1 << 20, 1 << 19)]
    {
        let mut journal = Journal::create(ID, bound).unwrap();
        let payload = vec![7; length as usize];
        let most = bound / u64::from(length + 128).max(256);
        for place in 0..3 * most {
            journal.release(place.saturating_sub(most - 1));
            journal.push(place, &write(place, &payload), &payload, Digest::of(&payload));
        }
        assert!(journal.retains() >= bound, "{bound}");
    }
}

/// Who takes its memory at the start needs none when there is none left.
#[test]
fn a_log_that_was_brought_in_has_all_of_its_memory_and_nothing_else() {
    let mut journal = Journal::create(ID, 1 << 20).unwrap();
    push(&mut journal, 0);
    let taken = |journal: &Journal| rustix::fs::fstat(journal).unwrap().st_blocks * 512;
    assert!(taken(&journal) < 1 << 20);
    journal.populate().unwrap();
    assert!(taken(&journal) >= 1 << 20);
    assert_eq!(journal.copy(0).map(|(payload, _)| payload), Some(payload_of(0)));
}

/// [SAFE-10] A log that keeps nothing is one all the same: to take it for something else would be to tell of a loss.
#[test]
fn a_log_without_room_is_found() {
    let mut journal = Journal::create(ID, 0).unwrap();
    journal.settle(Incarnation([1; 16]));
    assert_eq!(changes(&found(&journal)), (Incarnation([1; 16]), Vec::new()));
}
