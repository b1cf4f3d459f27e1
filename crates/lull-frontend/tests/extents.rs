//! Contexts, questions about extents and extended headers, byte by byte.

mod support;

use lull_frontend::nbd::request::Request;
use lull_frontend::nbd::{Errno, Extent, Op, ServeEnd};
use tokio::io::AsyncWriteExt;

use support::raw::{FIXED, NO_ZEROES, Raw, go, simple, structured};
use support::{Disks, MIB, Memory, local};

const CACHE: u16 = 5;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
const REQ_ONE: u16 = 1 << 3;
const FAST_ZERO: u16 = 1 << 4;
const PAYLOAD_LEN: u16 = 1 << 5;

/// The data of an option about contexts.
fn queries(export: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = (export.len() as u32).to_be_bytes().to_vec();
    data.extend_from_slice(export.as_bytes());
    data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
    for query in queries {
        data.extend_from_slice(&(query.len() as u32).to_be_bytes());
        data.extend_from_slice(query.as_bytes());
    }
    data
}

impl Raw {
    /// The contexts that an option about contexts is answered with.
    async fn contexts(&mut self, option: u32, data: &[u8]) -> Vec<Vec<u8>> {
        self.option(option, data).await;
        let mut contexts = Vec::new();
        loop {
            match self.reply(option).await {
                (4, context) => contexts.push(context),
                (1, rest) if rest.is_empty() => return contexts,
                other => panic!("option {option} was answered {other:?}"),
            }
        }
    }

    async fn agreed(&mut self, option: u32) {
        self.option(option, b"").await;
        assert_eq!(self.reply(option).await, (1, vec![]));
    }
}

/// A client with structured replies, or extended headers, that is told of extents.
async fn asking(memory: Memory, headers: u32) -> (Raw, std::rc::Rc<Memory>) {
    let (disks, disk) = Disks::one(memory);
    let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
    raw.agreed(headers).await;
    let told = raw.contexts(10, &queries("disk", &["base:allocation"])).await;
    assert_eq!(told, [b"\0\0\0\x01base:allocation"]);
    raw.gone().await;
    (raw, disk)
}

fn request(command: u16, flags: u16, offset: u64, length: u64) -> Request {
    Request { flags, command, cookie: 0x1122, offset, length }
}

/// The only chunk of an extended reply to a request at `offset`.
fn extended(kind: u16, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x6e, 0x8a, 0x27, 0x8c, 0, 1];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&0x1122u64.to_be_bytes());
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of an answer with 32 bits of length.
fn narrow(extents: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = 1u32.to_be_bytes().to_vec();
    for (length, flags) in extents {
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
    }
    bytes
}

/// The payload of an answer with 64 bits of length.
fn wide(extents: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = 1u32.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(extents.len() as u32).to_be_bytes());
    for (length, flags) in extents {
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
    }
    bytes
}

#[test]
fn contexts_are_listed_as_they_are_asked_for() {
    local(async {
        let (disks, _) = Disks::one(Memory::new(MIB));
        let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
        let known = vec![b"\0\0\0\0base:allocation".to_vec()];
        for (asked, matches) in [
            (&[][..], true),
            (&["base:"], true),
            (&["base:allocation"], true),
            (&["qemu:", "base:allocation", "base:", "nonsense"], true),
            (&["base:other"], false),
            (&["qemu:dirty-bitmap:x", ""], false),
        ] {
            let told = raw.contexts(9, &queries("disk", asked)).await;
            assert_eq!(told, if matches { known.clone() } else { vec![] }, "{asked:?}");
        }
        assert_eq!(raw.refused(9, &queries("other", &[])).await, 6);
    });
}

#[test]
fn a_choice_needs_chunks_and_holds_for_its_export_until_the_next() {
    local(async {
        let base = ["base:allocation"];
        for (choices, status) in [
            (&[("disk", &base[..])][..], true),
            (&[("disk", &["base:"])], false),
            (&[("disk", &[])], false),
            (&[("", &base)], false),
            (&[("disk", &base), ("disk", &[])], false),
            (&[("disk", &[]), ("disk", &["x-nonsense", "base:allocation"])], true),
        ] {
            let (disks, _) = Disks::one(Memory::new(MIB));
            let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
            assert_eq!(raw.refused(10, &queries("disk", &base)).await, 3, "chunks come first");
            raw.agreed(8).await;
            for (export, asked) in choices {
                raw.contexts(10, &queries(export, asked)).await;
            }
            raw.gone().await;
            let answer = if status {
                structured(5, 0x1122, &narrow(&[(512, 3)]))
            } else {
                structured(0x8001, 0x1122, &[0, 0, 0, 22, 0, 0])
            };
            raw.exchange(&request(BLOCK_STATUS, 0, 0, 512).encode(), &answer).await;
        }
    });
}

#[test]
fn a_choice_that_fails_undoes_the_one_before() {
    local(async {
        let (disks, _) = Disks::one(Memory::new(MIB));
        let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
        raw.agreed(8).await;
        let good = queries("disk", &["base:allocation"]);
        for cut in 0..good.len() {
            raw.contexts(10, &good).await;
            assert_eq!(raw.refused(10, &good[..cut]).await, 3);
        }
        raw.contexts(10, &good).await;
        assert_eq!(raw.refused(10, &queries("other", &["base:allocation"])).await, 6);
        raw.gone().await;
        let answer = structured(0x8001, 0x1122, &[0, 0, 0, 22, 0, 0]);
        raw.exchange(&request(BLOCK_STATUS, 0, 0, 512).encode(), &answer).await;
    });
}

#[test]
fn a_device_that_does_not_tell_its_extents_offers_no_context() {
    local(async {
        let mut memory = Memory::new(MIB);
        memory.geometry.extents = false;
        let mut raw = Raw::greeted(&Disks::one(memory).0, FIXED | NO_ZEROES).await;
        raw.agreed(8).await;
        for option in [9, 10] {
            let told = raw.contexts(option, &queries("disk", &["base:allocation"])).await;
            assert!(told.is_empty());
        }
        assert!(raw.contexts(9, &queries("disk", &[])).await.is_empty());
    });
}

#[test]
fn extents_are_told_as_the_device_tells_them() {
    local(async {
        for headers in [8, 11] {
            let (mut raw, disk) = asking(Memory::new(MIB), headers).await;
            disk.bytes.borrow_mut()[4096..8192].fill(7);
            let rest = MIB - 8192;
            for (flags, offset, length, extents) in [
                (0, 0, MIB, &[(4096, 3), (4096, 0), (rest, 3)][..]),
                (REQ_ONE, 0, MIB, &[(4096, 3)]),
                (REQ_ONE, 4096, 512, &[(512, 0)]),
                (0, 6144, 4096, &[(2048, 0), (2048, 3)]),
            ] {
                let request = request(BLOCK_STATUS, flags, offset, length);
                if headers == 8 {
                    let narrowed: Vec<_> =
                        extents.iter().map(|(length, flags)| (*length as u32, *flags)).collect();
                    let answer = structured(5, 0x1122, &narrow(&narrowed));
                    raw.exchange(&request.encode(), &answer).await;
                } else {
                    let extents: Vec<_> = extents
                        .iter()
                        .map(|(length, flags)| (*length, u64::from(*flags)))
                        .collect();
                    let answer = extended(6, offset, &wide(&extents));
                    raw.exchange(&request.encode_extended(), &answer).await;
                }
            }
            assert_eq!(disk.buffers_out(), 0);
        }
    });
}

#[test]
fn a_list_has_no_more_extents_than_its_limit() {
    // [SEC-4]
    local(async {
        let (mut raw, disk) = asking(Memory::new(4 * MIB), 11).await;
        for sector in disk.bytes.borrow_mut().chunks_mut(1024) {
            sector[0] = 1;
        }
        let extents: Vec<_> = (0..1024).map(|n| (512, if n % 2 == 0 { 0 } else { 3 })).collect();
        let request = request(BLOCK_STATUS, 0, 0, 4 * MIB);
        raw.exchange(&request.encode_extended(), &extended(6, 0, &wide(&extents))).await;
    });
}

#[test]
fn only_extended_headers_tell_lengths_beyond_32_bits() {
    local(async {
        let huge = 1 << 40;
        for headers in [8, 11] {
            // No more memory than what is touched: the device answers for what it does not have.
            let mut memory = Memory::new(0);
            memory.geometry.size = huge;
            let hole = Extent { length: huge - 512, hole: true, zero: true };
            memory.extents.replace(Some(vec![hole]));
            let (mut raw, _) = asking(memory, headers).await;
            if headers == 8 {
                let answer = structured(5, 0x1122, &narrow(&[(0xffff_fe00, 3)]));
                raw.exchange(&request(BLOCK_STATUS, 0, 512, 512).encode(), &answer).await;
            } else {
                let answer = extended(6, 512, &wide(&[(huge - 512, 3)]));
                let asked = request(BLOCK_STATUS, 0, 512, huge - 512);
                raw.exchange(&asked.encode_extended(), &answer).await;
            }
        }
    });
}

#[test]
fn with_extended_headers_every_reply_is_one_extended_chunk() {
    local(async {
        let (mut raw, disk) = asking(Memory::new(MIB), 11).await;
        let write = request(1, PAYLOAD_LEN, 512, 512).encode_extended();
        raw.exchange(&[&write[..], &[9; 512]].concat(), &extended(0, 512, &[])).await;
        let data = [&512u64.to_be_bytes()[..], &[9; 512]].concat();
        raw.exchange(&request(0, 0, 512, 512).encode_extended(), &extended(1, 512, &data)).await;
        for (command, flags) in [(3, 0), (4, 0), (4, 1), (CACHE, 0), (WRITE_ZEROES, FAST_ZERO)] {
            let length = if command == 3 { 0 } else { MIB };
            let asked = request(command, flags, 0, length).encode_extended();
            raw.exchange(&asked, &extended(0, 0, &[])).await;
        }
        let zeroes = Op::WriteZeroes { fua: false, keep_allocated: false, fast: true };
        let write = Op::Write { fua: false };
        let expected = [write, Op::Read, Op::Flush, Op::Discard, Op::Cache, zeroes];
        assert_eq!(*disk.ops.borrow(), expected);
    });
}

#[test]
fn with_extended_headers_a_payload_is_what_the_flag_says() {
    local(async {
        let (mut raw, disk) = asking(Memory::new(MIB), 11).await;
        let inval = extended(0x8001, 0, &[0, 0, 0, 22, 0, 0]);
        // QEMU's writes do not have the flag.
        for flags in [0, PAYLOAD_LEN] {
            let write = request(1, flags, 0, 512).encode_extended();
            raw.exchange(&[&write[..], &[9; 512]].concat(), &extended(0, 0, &[])).await;
        }
        let written = disk.ops.take();
        assert_eq!(written, [Op::Write { fua: false }; 2]);
        // Whatever has no use for one; then more than the device has, and more than 32 bits.
        for command in [0, BLOCK_STATUS, 3, 99] {
            let read = request(command, PAYLOAD_LEN, 0, 512).encode_extended();
            raw.exchange(&[&read[..], &[9; 512]].concat(), &inval).await;
        }
        for command in [0, 4, CACHE, BLOCK_STATUS] {
            raw.exchange(&request(command, 0, 0, 2 * MIB).encode_extended(), &inval).await;
            raw.exchange(&request(command, 0, 0, 1 << 63).encode_extended(), &inval).await;
        }
        let no_space = extended(0x8001, 0, &[0, 0, 0, 28, 0, 0]);
        raw.exchange(&request(WRITE_ZEROES, 0, 0, 1 << 40).encode_extended(), &no_space).await;
        assert!(disk.ops.borrow().is_empty());
    });
}

#[test]
fn what_takes_more_memory_than_a_request_may_is_refused() {
    // [SEC-4]
    local(async {
        let mut memory = Memory::new(MIB);
        memory.geometry.max_length = 65_536;
        let (mut raw, disk) = asking(memory, 11).await;
        let inval = extended(0x8001, 0, &[0, 0, 0, 22, 0, 0]);
        let write = request(1, PAYLOAD_LEN, 0, 131_072).encode_extended();
        raw.exchange(&[&write[..], &[9; 131_072]].concat(), &inval).await;
        for command in [0, CACHE] {
            raw.exchange(&request(command, 0, 0, 131_072).encode_extended(), &inval).await;
        }
        assert!(disk.ops.borrow().is_empty());
    });
}

#[test]
fn an_absurd_payload_ends_the_connection() {
    // [SEC-4]
    local(async {
        let (mut raw, _) = asking(Memory::new(MIB), 11).await;
        let flood = request(1, PAYLOAD_LEN, 0, (32 << 20) + 512).encode_extended();
        raw.0.write_all(&flood).await.unwrap();
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Flood(33_554_944))));
    });
}

#[test]
fn extended_headers_take_precedence_and_need_go() {
    local(async {
        let (disks, _) = Disks::one(Memory::new(MIB));
        let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
        raw.agreed(8).await;
        raw.agreed(11).await;
        assert_eq!(raw.refused(8, b"").await, 10);
        raw.option(6, &go("disk", &[])).await;
        let (_, told) = raw.reply(6).await;
        let flags = u16::from_be_bytes([told[10], told[11]]);
        for bit in [7, 10, 11] {
            assert_eq!(flags >> bit & 1, 1, "fragments, cache and fast zeroes are known: {bit}");
        }
        raw.reply(6).await;
        raw.reply(6).await;
        raw.option(1, b"disk").await;
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Handshake(_))));
    });
}

#[test]
fn a_compact_header_where_an_extended_one_belongs_ends_the_connection() {
    local(async {
        let (mut raw, _) = asking(Memory::new(MIB), 11).await;
        raw.0.write_all(&request(3, 0, 0, 0).encode()).await.unwrap();
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Garbage(0x2560_9513))));
    });
}

#[test]
fn zeroes_that_would_not_be_fast_are_refused_as_the_device_does() {
    local(async {
        let (mut raw, disk) = asking(Memory::new(MIB), 8).await;
        disk.fail.set(Some(Errno::NotSupported));
        let fast = request(WRITE_ZEROES, FAST_ZERO, 0, 512).encode();
        raw.exchange(&fast, &simple(0x1122, Err(Errno::NotSupported))).await;
        let status = request(BLOCK_STATUS, 0, 0, 512).encode();
        raw.exchange(&status, &structured(0x8001, 0x1122, &[0, 0, 0, 95, 0, 0])).await;
        assert_eq!(disk.ops.borrow().len(), 2);
    });
}

#[test]
fn what_a_device_has_grown_by_can_be_used_at_once() {
    local(async {
        let beyond = request(WRITE_ZEROES, 0, MIB, 512).encode();
        let (disks, disk) = Disks::one(Memory::new(2 * MIB));
        disk.size.set(Some(MIB));
        let mut raw = Raw::greeted(&disks, FIXED | NO_ZEROES).await;
        raw.gone().await;
        raw.exchange(&beyond, &simple(0x1122, Err(Errno::NoSpace))).await;
        disk.size.set(None);
        raw.exchange(&beyond, &simple(0x1122, Ok(()))).await;
    });
}
