//! A virtual machine whose memory holds any bytes: its rings, its requests, the record of those in flight; and any messages
//! of its monitor.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::bytes::Bytes;
use crate::face::{Disk, run};
use lull_frontend::nbd::Closer;
use lull_frontend::vhost_user::wire::{Ask, HEADER, Header, MOST_PAYLOAD, MOST_REGIONS};
use lull_frontend::vhost_user::{Identity, record, serve};
use lull_transport::Stream;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::task::{spawn_local, yield_now};

/// Descriptors of a ring.
const SIZE: u16 = 16;
/// Bytes of the guest's memory, which begins with its ring: descriptors, what is available, what is used.
const LENGTH: u64 = 16 << 10;
const PARTS: [u64; 3] = [0, 0x100, 0x200];
/// Every feature but that events have an index, which the first byte decides.
const FEATURES: u64 = 1 << 9 | 1 << 28 | 1 << 30 | 1 << 32;
const EVENT_INDEX: u64 = 1 << 29;

/// The first byte decides whether events have an index and how the ring is begun; then comes the record in flight, with its
/// length in front; the rest is the guest's memory.
pub fn rings(bytes: &[u8]) {
    let mut from = Bytes::new(bytes);
    let choice = from.byte();
    let length = usize::from(from.byte());
    let (kept, image) = (from.take(length), from.rest());
    run(async {
        let disk = Rc::new(Disk::new());
        let (ours, theirs) = Stream::pair().expect("sockets");
        let identity = Identity::default();
        let told = |_| {};
        let serving = spawn_local(serve(theirs, Rc::clone(&disk), identity, Closer::new(), told));
        let memory = file(image, LENGTH);
        let (entries, queues) = (SIZE.to_ne_bytes(), 1u16.to_ne_bytes());
        let bytes = record::length(1, SIZE);
        let flight = file(kept, bytes);
        let about = [&bytes.to_ne_bytes()[..], &[0; 8], &queues, &entries, &[0; 4]].concat();
        let event = || eventfd(0, EventfdFlags::NONBLOCK).expect("an event");
        let (kick, call) = (event(), event());
        let events = if choice & 1 == 0 { EVENT_INDEX } else { 0 };
        let say = |request, payload: &[u8], fd| say(&ours, request, payload, fd);
        say(2, &(FEATURES | events).to_ne_bytes(), None);
        if choice & 2 == 0 {
            say(32, &about, Some(flight.as_fd()));
        }
        say(5, &[words(&[1, 0]), longs(&[0, LENGTH, 0, 0])].concat(), Some(memory.as_fd()));
        say(8, &words(&[0, SIZE.into()]), None);
        say(10, &words(&[0, 0]), None);
        let [descriptors, available, used] = PARTS;
        say(9, &[words(&[0, 0]), longs(&[descriptors, used, available, 0])].concat(), None);
        say(12, &longs(&[0]), Some(kick.as_fd()));
        say(13, &longs(&[0]), Some(call.as_fd()));
        say(18, &words(&[0, 1]), None);
        let _ = rustix::io::write(&kick, &1u64.to_ne_bytes());
        // Nothing that a ring of this size holds takes longer.
        for _ in 0..40 {
            yield_now().await;
        }
        drop(ours);
        assert!(serving.await.expect("a disk that does not panic").is_err(), "nobody closed it");
        assert_eq!(disk.lent(), 0, "buffers that nobody gave back");
    });
}

/// A header and a payload, as any monitor may send them.
pub fn messages(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER>() else { return };
    let Ok(header) = Header::decode(head) else { return };
    assert!(header.size <= MOST_PAYLOAD, "[SEC-4]");
    match Ask::decode(header.request, payload) {
        Ok(Ask::Memory(regions)) => assert!(regions.len() <= MOST_REGIONS, "[SEC-4]"),
        Ok(Ask::SetConfig { bytes, .. }) => assert!(bytes.len() <= payload.len(), "[SEC-4]"),
        Ok(_) | Err(_) => {}
    }
}

fn file(bytes: &[u8], length: u64) -> OwnedFd {
    let file = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).expect("memory");
    rustix::fs::ftruncate(&file, length).expect("memory");
    let bytes = &bytes[..bytes.len().min(length as usize)];
    rustix::io::pwrite(&file, bytes, 0).expect("memory");
    file
}

fn say(to: &Stream, request: u32, payload: &[u8], fd: Option<BorrowedFd<'_>>) {
    let bytes = [words(&[request, 1, payload.len() as u32]), payload.to_vec()].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    // Who has hung up hears nothing.
    let _ = sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn longs(longs: &[u64]) -> Vec<u8> {
    longs.iter().flat_map(|long| long.to_ne_bytes()).collect()
}

/// Memories with requests in them, of which some are in flight.
pub fn memories() -> Vec<Vec<u8>> {
    let descriptor = |at: u64, length: u32, flags: u16, next: u16| {
        let (length, flags, next) = (length.to_le_bytes(), flags.to_le_bytes(), next.to_le_bytes());
        [&at.to_le_bytes()[..], &length, &flags, &next].concat()
    };
    let header = |kind: u32, sector: u64| [&longs(&[kind.into(), sector])[..]].concat();
    let (next, write, indirect) = (1, 2, 4);
    let image = |table: &[Vec<u8>], heads: &[u16], at: &[(usize, Vec<u8>)]| {
        let mut image = vec![0; 0x1000];
        image[..16 * table.len()].copy_from_slice(&table.concat());
        image[0x102..0x104].copy_from_slice(&(heads.len() as u16).to_le_bytes());
        for (slot, head) in heads.iter().enumerate() {
            image[0x104 + 2 * slot..][..2].copy_from_slice(&head.to_le_bytes());
        }
        for (place, bytes) in at {
            image[*place..][..bytes.len()].copy_from_slice(bytes);
        }
        image
    };
    let plain = image(
        &[
            descriptor(0x400, 16, next, 1),
            descriptor(0x1000, 1024, next, 2),
            descriptor(0x410, 1, write, 0),
            descriptor(0x420, 16, next, 4),
            descriptor(0x2000, 512, next | write, 5),
            descriptor(0x430, 1, write, 0),
            descriptor(0x440, 16, next, 7),
            descriptor(0x450, 21, write, 0),
        ],
        &[0, 3, 6],
        &[(0x400, header(1, 2)), (0x420, header(0, 2)), (0x440, header(8, 0))],
    );
    let erasing = [header(13, 0), longs(&[3, 1 << 32 | 4])].concat();
    let apart = [descriptor(0x500, 32, next, 1), descriptor(0x530, 1, write, 0)].concat();
    let table = image(
        &[
            descriptor(0x600, 32, indirect, 0),
            descriptor(0x400, 16, next, 2),
            descriptor(0x410, 1, write, 0),
        ],
        &[0, 1],
        &[(0x500, erasing), (0x600, apart), (0x400, header(4, 0))],
    );
    // A record of version 1 in which the first request is in flight, and the one behind it of which its guest knows.
    let mut flight = vec![0; 16 + 16 * 4];
    flight[8] = 1;
    flight[10] = SIZE as u8;
    flight[16] = 1;
    flight[16 + 48] = 1;
    let with =
        |choice: u8, kept: &[u8], image: &[u8]| [&[choice, kept.len() as u8], kept, image].concat();
    vec![
        with(0, &[], &plain),
        with(1, &flight, &plain),
        with(3, &[], &table),
        with(0, &flight, &table),
    ]
}

/// A message of each kind.
pub fn said() -> Vec<Vec<u8>> {
    let message = |request: u32, payload: Vec<u8>| {
        [words(&[request, 9, payload.len() as u32]), payload].concat()
    };
    let region = longs(&[0, LENGTH, 1 << 40, 0]);
    let mut all: Vec<_> = [1, 3, 15, 17, 21, 36].map(|request| message(request, vec![])).into();
    all.extend([2, 12, 13, 14, 16].map(|request| message(request, longs(&[1 << 8]))));
    all.extend([8, 10, 11, 18].map(|request| message(request, words(&[1, 16]))));
    all.push(message(5, [words(&[2, 0]), region.clone(), region.clone()].concat()));
    all.extend([37, 38].map(|request| message(request, [longs(&[0]), region.clone()].concat())));
    all.push(message(9, [words(&[0, 0]), longs(&[0, 0x200, 0x100, 0])].concat()));
    all.extend([24, 25].map(|request| message(request, [words(&[32, 1, 0]), vec![0]].concat())));
    all.extend([31, 32].map(|request| message(request, longs(&[4096, 0, 16 << 16 | 1]))));
    all
}
