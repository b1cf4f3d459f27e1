//! What this daemon reads that a life before left, taken with any bytes: for whoever tries them all. It panics where what
//! is read is not what was written.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lull_proto::initiator::{Ask, Legacy, Slot};
use lull_wire::{AttachmentId, Digest, OpCode, RequestFlags};

use crate::journal::{Found, Journal};
use crate::state_file;
use crate::succession::announcement::{Announcement, Known};
use crate::succession::estate::{Document, Payload};

/// The state of an attachment of the node `web-1`.
pub fn state(bytes: &[u8]) {
    let path = Path::new("db1.json");
    match state_file::kept(path, "web-1", bytes) {
        Ok(kept) => {
            let text = state_file::text("web-1", &kept).expect("a state can be written");
            let again = state_file::kept(path, "web-1", &text).expect("and read");
            assert_eq!(again, kept);
            let _ = kept.owners();
        }
        Err(error) => assert!(error.to_string().contains("db1.json"), "it does not name the file"),
    }
}

/// What a process before this one has handed over: what it announced, or the document, with a few bytes beside it.
pub fn estate(bytes: &[u8]) {
    let access = lull_admin::Access::Rw;
    let nbd_device = Some(std::path::Path::new("/dev/nbd0"));
    let known = Known { name: "db1", access, nbd_device, ublk: None };
    let _ = Announcement::check(&String::from_utf8_lossy(bytes), std::iter::once(known));
    let Ok(document) = serde_json::from_slice::<Document>(bytes) else { return };
    let written = serde_json::to_vec(&document).expect("a document can be written");
    let again: Document = serde_json::from_slice(&written).expect("and read");
    assert_eq!(serde_json::to_vec(&again).expect("again"), written);
    let file = rustix::fs::memfd_create("payload", rustix::fs::MemfdFlags::CLOEXEC);
    let file = File::from(file.expect("memory for a payload"));
    file.write_all_at(&[7; 64], 0).expect("a payload");
    let payload = Payload::given(file).expect("its length");
    for left in document.attachments {
        let _ = left.promised.known();
        let slots: HashMap<u32, (Slot, u64)> =
            left.requests.iter().map(|one| (one.slot, (Slot(one.slot), one.rest))).collect();
        for one in left.sent.iter().chain(&left.held) {
            let _ = one.known(&slots);
        }
        let clients = left.clients.iter().flat_map(|client| [client.unread, client.unsent]);
        let writes = left.requests.iter().filter_map(|one| {
            let _ = one.ask.known();
            one.payload
        });
        for bytes in clients.chain(writes).filter_map(|span| payload.get(span).ok()) {
            assert!(bytes.as_ref().iter().all(|byte| *byte == 7), "what was never given");
        }
    }
}

const ID: AttachmentId = AttachmentId([0xa7; 16]);
const HEADER: usize = 32;

fn write(place: u64, payload: &[u8]) -> Ask {
    let (op, flags) = (OpCode::Write, RequestFlags::none());
    Ask { op, flags, offset: place * 4096, length: payload.len() as u32 }
}

/// A retained log that a life left, and what was then changed in its memory: four bytes for each change, the place, the
/// byte, and whether the header there gets its checksum again.
pub fn log(bytes: &[u8]) {
    let Some(([count, lengths], changes)) = bytes.split_first_chunk::<2>() else { return };
    let mut journal = Journal::create(ID, 16 * 1024).expect("memory for a log");
    for place in 0..u64::from(count % 24) {
        let payload = vec![place as u8; usize::from(*lengths) + 1];
        journal.push(place, &write(place, &payload), &payload, Digest::of(&payload));
        if place % 5 == 4 {
            journal.release(place - u64::from(lengths % 4));
        }
    }
    let file = File::from(journal.as_fd().try_clone_to_owned().expect("its file"));
    drop(journal);
    let length = file.metadata().expect("its length").len();
    for [low, high, byte, mend] in changes.as_chunks::<4>().0 {
        let at = u64::from(u16::from_le_bytes([*low, *high])) % length;
        file.write_all_at(&[*byte], at).expect("a byte inside the log");
        let header = at - at % HEADER as u64;
        if mend % 2 == 1 && header + HEADER as u64 <= length {
            let mut all = [0; HEADER];
            file.read_exact_at(&mut all, header).expect("a header inside the log");
            let crc = Digest::of(&all[..28]).crc.to_le_bytes();
            file.write_all_at(&crc, header + 28).expect("a checksum inside the log");
        }
    }
    let recover = || Journal::recover(file.try_clone().expect("its file").into());
    let Ok(first) = recover() else { return };
    let found = inherited(&first);
    drop(first);
    // Who is killed again before it has done anything leaves the same, and nothing that is damaged.
    let Ok(Found { mut journal, legacy, damaged, .. }) = recover() else {
        panic!("a log that was found is not found again");
    };
    assert_eq!(legacy, Legacy::Kept { settled: found.0, changes: found.1.clone() });
    let _ = damaged;
    journal.release(u64::MAX);
    assert!(journal.is_empty());
    let payload = [7; 999];
    journal.push(90, &write(90, &payload), &payload, Digest::of(&payload));
    assert_eq!(journal.copy(90).map(|(copy, _)| copy), Some(payload.to_vec()));
    drop(journal);
    let Ok(last) = recover() else { panic!("a log that was written to is not found") };
    assert_eq!(inherited(&last).1, [write(90, &payload)]);
}

fn inherited(found: &Found) -> (lull_wire::Incarnation, Vec<Ask>) {
    let Legacy::Kept { settled, changes } = &found.legacy else { panic!("a log was found") };
    for (place, ask) in (0..).zip(changes) {
        assert!(ask.offset.checked_add(ask.length.into()).is_some(), "{ask:?} has no end");
        let (payload, digest) = found.journal.copy(place).expect("what is inherited is kept");
        assert_eq!(digest.check(&payload), Ok(()), "a payload that is not what was written");
    }
    (*settled, changes.clone())
}
