//! Lists of extents, which nobody knows the length of beforehand.

use std::time::Duration;

use lull_frontend::nbd::Extent;
use lull_frontend::nbd::request::Request;
use lull_transport::{Addr, Stream};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Daemon, config, on_one_thread};
use crate::target::{News, Target};

/// Up to where a client may ask for one extent: structured replies, `base:allocation`, the export.
fn hello() -> Vec<u8> {
    let option = |number: u32, data: &[u8]| {
        let length = (data.len() as u32).to_be_bytes();
        [b"IHAVEOPT", &number.to_be_bytes()[..], &length, data].concat()
    };
    let contexts = b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation";
    [3u32.to_be_bytes().to_vec(), option(8, b""), option(10, contexts), option(1, b"")].concat()
}

/// Whoever reads from a target must not wait for memory that only the next replies would free: each list that is
/// longer than the memory of its request found there none.
#[test]
fn a_list_is_taken_where_reads_have_all_memory() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().mute = true;
        target.listen().await;
        let mut daemon = Daemon::start(config(dir.path())).await;
        daemon.event("serving").await;
        let mut asks = Stream::dial(&Addr::Unix(dir.path().join("nbd.sock"))).await.unwrap();
        let one = Request { flags: 1 << 3, command: 7, cookie: 7, offset: 0, length: 1 << 20 };
        asks.write_all(&[hello(), one.encode().to_vec()].concat()).await.unwrap();
        while !matches!(target.next().await, News::Unanswered) {}

        // All buffers from 16 KiB to 256 KiB; who asks for more waits.
        for _ in 0..2 {
            let connection = daemon.consumer().await;
            for _ in 0..500 {
                let connection = connection.clone();
                tokio::task::spawn_local(
                    async move { connection.read(0, vec![0; 16 << 10]).await },
                );
            }
        }
        while daemon.status().await.in_flight < 1 + 512 + 256 + 96 {}

        let extents = (0..1000).map(|at| Extent { length: 512, hole: at % 2 == 0, zero: false });
        target.answer(1, extents.flat_map(|extent| extent.encode()).collect());
        let told = async {
            let mut last = Vec::new();
            // The reply's header, the context, and the extent: its length and that it is a hole.
            let reply = b"\0\0\0\0\0\0\0\x07\0\0\0\x0c\0\0\0\x01\0\0\x02\0\0\0\0\x01";
            while !last.ends_with(reply) {
                last.push(asks.read_u8().await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(5), told).await.expect("its reply waits");
    });
}
