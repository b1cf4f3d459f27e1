//! The server's half of the handshake, byte by byte.

mod support;

use std::rc::Rc;

use lull_frontend::nbd::request::Request;
use lull_frontend::nbd::{Errno, ServeEnd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::raw::{FIXED, NO_ZEROES, Raw, go, simple, structured};
use support::{Disks, MIB, Memory, local, served};

fn disks() -> Rc<Disks> {
    Disks::one(Memory::new(MIB)).0
}

#[test]
fn an_old_client_gets_its_export_with_and_without_padding() {
    local(async {
        for (flags, padding) in [(FIXED, 124), (FIXED | NO_ZEROES, 0), (0, 124)] {
            let mut raw = Raw::greeted(&disks(), flags).await;
            raw.option(1, b"disk").await;
            assert_eq!(raw.0.read_u64().await.unwrap(), MIB);
            let told = raw.0.read_u16().await.unwrap();
            assert_eq!(told & 0b1, 1);
            assert_eq!(told >> 7 & 1, 0, "unfragmented reads need structured replies");
            let mut zeroes = vec![1; padding];
            raw.0.read_exact(&mut zeroes).await.unwrap();
            assert_eq!(zeroes, vec![0; padding]);
            let read = Request { flags: 0, command: 0, cookie: 77, offset: 0, length: 512 };
            raw.0.write_all(&read.encode()).await.unwrap();
            let mut answer = [1; 16 + 512];
            raw.0.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..16], simple(77, Ok(())));
            assert_eq!(answer[16..], [0; 512]);
        }
    });
}

#[test]
fn an_old_client_without_its_export_is_closed_upon() {
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED).await;
        raw.option(1, b"other").await;
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Handshake(_))));
    });
}

#[test]
fn options_that_are_unknown_or_not_offered_are_refused_and_the_next_one_works() {
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED | NO_ZEROES).await;
        for option in [5, 12, 0, 4, 99, u32::MAX] {
            assert_eq!(raw.refused(option, b"data").await, 1, "option {option}");
        }
        raw.option(3, b"").await;
        assert_eq!(raw.reply(3).await, (2, b"\0\0\0\x04disk".to_vec()));
        assert_eq!(raw.reply(3).await, (1, vec![]));
    });
}

#[test]
fn malformed_options_are_refused_as_invalid() {
    // [SEC-4]
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED | NO_ZEROES).await;
        assert_eq!(raw.refused(3, b"x").await, 3);
        assert_eq!(raw.refused(8, b"x").await, 3);
        assert_eq!(raw.refused(11, b"x").await, 3);
        let good = go("disk", &[3]);
        for option in [6, 7] {
            for cut in 0..good.len() {
                assert_eq!(raw.refused(option, &good[..cut]).await, 3);
            }
            assert_eq!(raw.refused(option, &[&good[..], b"x"].concat()).await, 3);
            assert_eq!(raw.refused(option, &go(&"n".repeat(4097), &[])).await, 3);
            assert_eq!(raw.refused(option, b"\0\0\0\x01\xff\0\0").await, 3);
        }
        assert_eq!(raw.refused(10, &[0; 8]).await, 3, "contexts need structured replies");
        assert_eq!(raw.refused(9, &[0; 7]).await, 3);
        assert_eq!(raw.refused(6, &go(&"n".repeat(4096), &[])).await, 6);
    });
}

#[test]
fn info_tells_what_was_asked_and_go_starts_transmission() {
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED | NO_ZEROES).await;
        raw.option(8, b"").await;
        assert_eq!(raw.reply(8).await, (1, vec![]));
        for option in [6, 7] {
            raw.option(option, &go("", &[1, 2, 3, 500])).await;
            let (kind, export) = raw.reply(option).await;
            assert_eq!((kind, &export[..10]), (3, &[0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0][..]));
            let (_, sizes) = raw.reply(option).await;
            assert_eq!(sizes, [0, 3, 0, 0, 2, 0, 0, 0, 0x10, 0, 2, 0, 0, 0]);
            assert_eq!(raw.reply(option).await, (3, b"\0\x01".to_vec()));
            assert_eq!(raw.reply(option).await, (3, b"\0\x02a disk in memory".to_vec()));
            assert_eq!(raw.reply(option).await, (1, vec![]));
        }
        let bad = Request { flags: 0, command: 0, cookie: 5, offset: 1, length: 512 };
        let good = Request { flags: 4, command: 0, cookie: 6, offset: 512, length: 512 };
        raw.0.write_all(&[bad.encode(), good.encode()].concat()).await.unwrap();
        let mut answer = [1; 26 + 28 + 512];
        raw.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..26], structured(0x8001, 5, &[0, 0, 0, 22, 0, 0]));
        let data = [&[0, 0, 0, 0, 0, 0, 2, 0][..], &[0; 512]].concat();
        assert_eq!(answer[26..], structured(1, 6, &data));
    });
}

#[test]
fn abort_is_acknowledged_and_ends_the_connection() {
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED).await;
        raw.option(2, b"").await;
        assert_eq!(raw.reply(2).await, (1, vec![]));
        raw.at_end().await;
        raw.1.task.await.unwrap().unwrap();
    });
}

#[test]
fn a_long_option_is_skipped_and_an_absurd_one_ends_the_connection() {
    // [SEC-4]
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED).await;
        assert_eq!(raw.refused(7, &vec![0; 300_000]).await, 9);
        raw.0.write_all(b"IHAVEOPT\0\0\0\x07\xff\xff\xff\xff").await.unwrap();
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Handshake(_))));
    });
}

#[test]
fn a_client_that_never_comes_to_its_export_is_closed_upon() {
    // [SEC-4]
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED).await;
        for _ in 0..1024 {
            assert_eq!(raw.refused(99, b"").await, 1);
        }
        raw.option(99, b"").await;
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Handshake(_))));
    });
}

#[test]
fn whoever_speaks_http_or_sets_unknown_flags_is_closed_upon() {
    local(async {
        let (mut stream, served) = served(&disks());
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(matches!(served.task.await.unwrap(), Err(ServeEnd::Handshake(_))));
        let mut raw = Raw::greeted(&disks(), FIXED).await;
        raw.0.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        raw.at_end().await;
        let said = raw.1.task.await.unwrap().unwrap_err().to_string();
        assert!(said.contains("does not speak NBD"), "{said}");
    });
}

#[test]
fn garbage_among_requests_ends_the_connection_after_what_was_right() {
    local(async {
        let mut raw = Raw::greeted(&disks(), FIXED | NO_ZEROES).await;
        raw.option(1, b"").await;
        raw.0.read_exact(&mut [0; 10]).await.unwrap();
        let flush = Request { flags: 0, command: 3, cookie: 9, offset: 0, length: 0 };
        raw.0.write_all(&[&flush.encode()[..], &[0xee; 64]].concat()).await.unwrap();
        let mut answer = [0; 16];
        raw.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], simple(9, Ok(())));
        raw.at_end().await;
        assert!(matches!(raw.1.task.await.unwrap(), Err(ServeEnd::Garbage(0xeeee_eeee))));
    });
}

#[test]
fn requests_that_are_not_offered_are_invalid() {
    local(async {
        let mut memory = Memory::new(MIB);
        (memory.geometry.cache, memory.geometry.fast_zeroes) = (false, false);
        let mut raw = Raw::greeted(&Disks::one(memory).0, FIXED | NO_ZEROES).await;
        raw.option(1, b"").await;
        raw.0.read_exact(&mut [0; 10]).await.unwrap();
        // Cache, block status, resize, nonsense; then flags that do not belong; then an odd flush.
        let asked = [(5, 0), (7, 0), (8, 0), (999, 0), (0, 4), (1, 2), (6, 16), (4, 2), (3, 0)];
        for (command, flags) in asked {
            let request = Request { flags, command, cookie: 3, offset: 0, length: 512 };
            raw.0.write_all(&request.encode()).await.unwrap();
            if command == 1 {
                raw.0.write_all(&[0; 512]).await.unwrap();
            }
            let mut answer = [0; 16];
            raw.0.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..], simple(3, Err(Errno::Inval)), "command {command} {flags}");
        }
        let durable_trim = Request { flags: 1, command: 4, cookie: 4, offset: 0, length: 512 };
        raw.0.write_all(&durable_trim.encode()).await.unwrap();
        let mut answer = [0; 16];
        raw.0.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..], simple(4, Ok(())));
    });
}

#[test]
fn a_read_only_export_permits_no_change() {
    local(async {
        let mut memory = Memory::new(MIB);
        let geometry = &mut memory.geometry;
        (geometry.read_only, geometry.discard, geometry.write_zeroes) = (true, false, false);
        let mut raw = Raw::greeted(&Disks::one(memory).0, FIXED | NO_ZEROES).await;
        raw.gone().await;
        for command in [1, 4, 6] {
            let request = Request { flags: 0, command, cookie: 3, offset: 0, length: 512 };
            let payload = if command == 1 { vec![0; 512] } else { vec![] };
            let refused = simple(3, Err(Errno::Perm));
            raw.exchange(&[&request.encode()[..], &payload].concat(), &refused).await;
        }
    });
}
