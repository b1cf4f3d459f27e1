//! Codecs and machines on bytes that nobody vouches for.

mod support;

use lull_frontend::nbd::client::Connection;
use lull_frontend::nbd::handshake::{client, server};
use lull_frontend::nbd::info::Info;
use lull_frontend::nbd::reply::{Chunk, Head, To};
use lull_frontend::nbd::request::{Request, Terms, Verdict};
use lull_frontend::nbd::{Dialect, Errno, Op};
use lull_transport::Stream;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{Disks, MIB, Memory, local, served};

/// Bytes that look like an option more often than chance would have it.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = (0u32..14, proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()).prop_map(
        |(option, data, honest)| {
            let mut bytes = b"IHAVEOPT".to_vec();
            bytes.extend_from_slice(&option.to_be_bytes());
            let length = if honest { data.len() as u32 } else { data.len() as u32 * 1000 };
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&data);
            bytes
        },
    );
    let piece = prop_oneof![4 => option, 1 => proptest::collection::vec(any::<u8>(), 0..60)];
    (0u32..4, proptest::collection::vec(piece, 0..8)).prop_map(|(flags, pieces)| {
        let mut bytes = flags.to_be_bytes().to_vec();
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    })
}

/// The options that lead to transmission in a dialect, with extents chosen where there can be any.
fn opening(dialect: Dialect) -> Vec<u8> {
    let name: &[u8] = b"\0\0\0\x04disk";
    let context: &[u8] = b"\0\0\0\x01\0\0\0\x0fbase:allocation";
    let options = match dialect {
        Dialect::Simple => return b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0".to_vec(),
        Dialect::Structured => 8u32,
        Dialect::Extended => 11,
    };
    let mut bytes = b"\0\0\0\x03".to_vec();
    for (option, data) in
        [(options, vec![]), (10, [name, context].concat()), (7, [name, b"\0\0"].concat())]
    {
        bytes.extend_from_slice(b"IHAVEOPT");
        bytes.extend_from_slice(&option.to_be_bytes());
        bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&data);
    }
    bytes
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Simple), Just(Dialect::Structured), Just(Dialect::Extended)]
}

fn requests(dialect: Dialect) -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![Just(512u64), 0..5000u64, Just(MIB), 0..4 * MIB];
    let request = (0..64u16, 0u16..10, any::<u64>(), 0..2 * MIB, length).prop_map(
        move |(flags, command, cookie, offset, length)| {
            let offset = offset & !511;
            let request = Request { flags, command, cookie, offset, length };
            let mut bytes = match dialect {
                Dialect::Simple | Dialect::Structured => request.encode().to_vec(),
                Dialect::Extended => request.encode_extended().to_vec(),
            };
            let payload = request.payload(dialect).min(8192);
            bytes.resize(bytes.len() + payload as usize, 7);
            bytes
        },
    );
    let piece = prop_oneof![9 => request, 1 => proptest::collection::vec(any::<u8>(), 0..60)];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_request_is_read_as_it_was_written(flags: u16, command: u16, cookie: u64, offset: u64, length: u64) {
        let request = Request { flags, command, cookie, offset, length };
        let bytes = request.encode_extended();
        prop_assert_eq!(Request::decode(&bytes, Dialect::Extended), Ok(Some(request)));
        prop_assert_eq!(Request::decode(&bytes[..31], Dialect::Extended), Ok(None));
        prop_assert!(Request::decode(&bytes, Dialect::Simple).is_err());
        let request = Request { length: length & 0xffff_ffff, ..request };
        let bytes = request.encode();
        for dialect in [Dialect::Simple, Dialect::Structured] {
            prop_assert_eq!(Request::decode(&bytes, dialect), Ok(Some(request)));
            prop_assert_eq!(Request::decode(&bytes[..27], dialect), Ok(None));
        }
    }

    #[test]
    fn replies_are_read_as_they_were_written(cookie: u64, code in 1u32.., flags: u16, kind: u16, length: u32) {
        let error = Errno::from_code(code);
        let failed = Dialect::Simple.plain(To { cookie, offset: 0 }, Err(error.unwrap()));
        prop_assert_eq!(Head::decode(&failed), Ok(Some((Head::Simple { cookie, error }, 16))));
        let chunk = Chunk { flags, kind, cookie, length };
        prop_assert_eq!(Head::decode(&chunk.encode()), Ok(Some((Head::Chunk(chunk), 20))));
        prop_assert_eq!(Head::decode(&chunk.encode()[..19]), Ok(None));
    }

    #[test]
    fn information_is_read_as_it_was_written(size: u64, flags: u16, text: String, sizes: [u32; 3]) {
        let [minimum, preferred, maximum] = sizes;
        for info in [
            Info::Export { size, flags },
            Info::Name(text.clone()),
            Info::Description(text),
            Info::BlockSize { minimum, preferred, maximum },
        ] {
            prop_assert_eq!(Info::decode(&info.encode()), Some(info));
        }
    }

    #[test]
    fn arbitrary_information_is_read_or_refused(bytes: Vec<u8>) {
        let _ = Info::decode(&bytes);
        let _ = Head::decode(&bytes);
    }

    #[test]
    fn an_accepted_request_lies_within_the_device(
        flags in 0u16..64, command in 0u16..12, offset: u64, length: u64, small in 0..3 * MIB,
        near: bool, short: bool, extents: bool,
        dialect in dialects(),
    ) {
        let geometry = Memory::new(MIB).geometry;
        let offset = if near { small } else { offset };
        let length = if short { (length % (2 * MIB)) & !511 } else { length };
        let offset = if short { offset & !511 } else { offset };
        let request = Request { flags, command, cookie: 0, offset, length };
        if let Verdict::Do(op) = request.judge(&geometry, Terms { dialect, extents }) {
            let end = offset.checked_add(length).unwrap();
            prop_assert!(end <= geometry.size && offset % 512 == 0 && length % 512 == 0);
            prop_assert!(length > 0 || op == Op::Flush);
            prop_assert!(op != Op::Extents || extents);
            let payload = if matches!(op, Op::Write { .. }) { length } else { 0 };
            prop_assert_eq!(request.payload(dialect), payload);
        }
    }

    #[test]
    fn the_servers_handshake_survives_anything_in_any_portions(bytes in options(), portion in 1usize..50) {
        let geometry = Memory::new(MIB).geometry;
        let (mut machine, mut out) = (server::Server::new(), Vec::new());
        let (mut from, mut to) = (0, 0);
        while to < bytes.len() && !machine.is_done() {
            to = (to + portion).min(bytes.len());
            loop {
                let Ok((used, step)) = machine.receive(&bytes[from..to], &mut out) else { return Ok(()) };
                prop_assert!(used <= to - from);
                from += used;
                match step {
                    server::Step::More => { prop_assert_eq!(used, 0); break }
                    server::Step::Went => {}
                    server::Step::Contexts(question) => {
                        machine.answer_contexts(question, Ok(&geometry), &mut out);
                    }
                    server::Step::List => machine.listed(&["disk".into()], &mut out),
                    server::Step::Open(question) => {
                        if machine.answer(&question, Ok(&geometry), &mut out).is_err() { return Ok(()) }
                        if machine.is_done() { break }
                    }
                    server::Step::Leave => return Ok(()),
                }
            }
        }
        prop_assert!(out.len() <= 64 * bytes.len() + 200, "{} bytes for {}", out.len(), bytes.len());
    }

    #[test]
    fn the_clients_handshake_survives_anything(
        pieces in proptest::collection::vec((0u32..12, 0u32..5, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..30)), 0..10),
        flags in 0u8..4,
    ) {
        let mut bytes = b"NBDMAGICIHAVEOPT\0".to_vec();
        bytes.push(flags);
        for (option, kind, error, data) in pieces {
            bytes.extend_from_slice(&0x0003_e889_0455_65a9u64.to_be_bytes());
            bytes.extend_from_slice(&option.to_be_bytes());
            bytes.extend_from_slice(&(kind | u32::from(error) << 31).to_be_bytes());
            bytes.extend_from_slice(&(data.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&data);
        }
        for mut machine in [client::Client::new("disk"), client::Client::list()] {
            let (mut from, mut out) = (0, Vec::new());
            while let Ok((used, client::Step::Went)) = machine.receive(&bytes[from..], &mut out) {
                from += used;
            }
        }
    }
}

#[test]
fn an_absurd_answer_to_an_option_is_not_waited_for() {
    // [SEC-4]
    let greeting = [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat();
    let answer = |length: u32| {
        let magic = 0x0003_e889_0455_65a9u64.to_be_bytes();
        [&magic[..], &[0, 0, 0, 8, 0, 0, 0, 1], &length.to_be_bytes()].concat()
    };
    for (length, is_read) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let (mut machine, mut out) = (client::Client::new("disk"), Vec::new());
        machine.receive(&greeting, &mut out).unwrap();
        assert_eq!(machine.receive(&answer(length), &mut out).is_ok(), is_read, "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_server_outlives_any_client_and_gives_every_buffer_back(
        handshake in options(), ready: bool,
        (dialect, rest) in dialects().prop_flat_map(|dialect| (Just(dialect), requests(dialect))),
    ) {
        // [SEC-4]
        local(async {
            let (disks, disk) = Disks::one(Memory::new(MIB));
            let (stream, served) = served(&disks);
            let (mut r, mut w) = stream.into_split();
            let listening = tokio::task::spawn_local(async move {
                tokio::io::copy(&mut r, &mut tokio::io::sink()).await
            });
            let opening = if ready { opening(dialect) } else { handshake };
            let _ = w.write_all(&[opening, rest].concat()).await;
            drop(w);
            let _ = served.task.await.unwrap();
            let _ = listening.await.unwrap();
            assert_eq!(disk.buffers_out(), 0);
        });
    }

    #[test]
    fn the_client_outlives_any_server(
        junk: Vec<u8>,
        chunks in proptest::collection::vec((any::<u16>(), 0u16..4, any::<bool>(), 0u32..600), 0..6),
    ) {
        local(async {
            let (ours, theirs) = Stream::pair().unwrap();
            let (mut r, mut w) = theirs.into_split();
            let server = tokio::task::spawn_local(async move {
                let mut hello = b"NBDMAGICIHAVEOPT\0\x02".to_vec();
                hello.extend_from_slice(&MIB.to_be_bytes());
                hello.extend_from_slice(&[0, 1]);
                w.write_all(&hello).await.unwrap();
                // Flags, the name of the export, and a first request.
                r.read_exact(&mut [0; 4 + 20 + 28]).await.unwrap();
                let mut said = Vec::new();
                for (flags, kind, error, length) in chunks {
                    let kind = kind | u16::from(error) << 15;
                    // The cookie of a first request.
                    let chunk = Chunk { flags: flags & 1, kind, cookie: 1 << 32, length };
                    said.extend_from_slice(&chunk.encode());
                    said.resize(said.len() + length as usize, 0);
                }
                said.extend_from_slice(&junk);
                let _ = w.write_all(&said).await;
                drop(w);
                let _ = tokio::io::copy(&mut r, &mut tokio::io::sink()).await;
            });
            let connection = Connection::over(ours, "disk").await.unwrap();
            let _ = connection.read(0, vec![0; 512]).await;
            server.await.unwrap();
        });
    }
}
