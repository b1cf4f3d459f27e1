//! Peers that want more than their share.

use std::time::Duration;

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;
use lull_frontend::nbd::request::Request;
use lull_transport::{Addr, Listener, Stream};
use lull_wire::messages::{Name, Ping, Welcome};
use lull_wire::{Digest, InstanceId, Message, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bench::{Daemon, config, on_one_thread};
use crate::target::{LONGEST, SIZE, Target};

/// [SEC-4] A target that asks and never reads is not heard for long: what it is answered stays bounded.
#[test]
fn a_target_that_asks_without_reading_is_not_heard_for_long() {
    on_one_thread(async {
        const FLOOD: usize = 16 << 20;
        let dir = tempfile::tempdir().unwrap();
        let addr = Addr::Unix(dir.path().join("target.sock"));
        let listener = Listener::bind(&addr).await.unwrap();
        let _daemon = Daemon::start(config(dir.path())).await;
        let (_unread, mut w) = listener.accept().await.unwrap().into_split();
        let mut bytes = Vec::new();
        let welcome = Welcome {
            version: VERSION,
            instance: InstanceId([9; 16]),
            node: Name::clipped("flood"),
            software: Name::clipped("script"),
            keep_alive_ms: 2000,
        };
        Message::from(welcome).encode(Digest::NONE, &mut bytes);
        w.write_all(&bytes).await.unwrap();
        bytes.clear();
        while bytes.len() < 64 << 10 {
            Message::from(Ping { token: 7 }).encode(Digest::NONE, &mut bytes);
        }
        let mut taken = 0;
        while taken < FLOOD {
            // It stops taking, or takes the connection for lost.
            let wrote = tokio::time::timeout(Duration::from_secs(1), w.write_all(&bytes)).await;
            let Ok(Ok(())) = wrote else { break };
            taken += bytes.len();
        }
        assert!(taken < FLOOD, "{taken} bytes of PING were heard");
    });
}

/// [SEC-4] [CONN-2] One that asks and reads is heard, however much waits for it all the time, and for however long.
#[test]
fn a_target_that_asks_and_reads_slowly_is_heard() {
    on_one_thread(async {
        const LENGTH: usize = LONGEST as usize;
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.silence = Duration::from_millis(200);
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut daemon = Daemon::start(config).await;
        daemon.event("sharing").await;
        target.script.borrow_mut().dawdles = Some((Duration::from_millis(100), 160));
        let consumer = daemon.consumer().await;
        let lanes: Vec<_> = (0..SIZE / LENGTH)
            .map(|lane| {
                let consumer = consumer.clone();
                tokio::task::spawn_local(async move {
                    for _ in 0..2 {
                        let offset = (lane * LENGTH) as u64;
                        consumer.write(offset, vec![5; LENGTH], false).await.unwrap();
                    }
                })
            })
            .collect();
        for lane in lanes {
            lane.await.unwrap();
        }
        assert_eq!(target.script.borrow().connections, 1);
    });
}

#[test]
fn a_place_that_is_free_again_goes_to_whoever_waits_wherever_they_wait() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let other = Addr::Unix(dir.path().join("other.sock"));
        config.attachments[0].nbd.push(other.clone());
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut daemon = Daemon::start(config).await;
        daemon.event("serving").await;
        let mut consumers = Vec::new();
        for _ in 0..256 {
            consumers.push(daemon.consumer().await);
        }
        // The other listener was waiting for somebody already, and takes one before it looks.
        let uri = Uri { addr: other, export: "db1".into() };
        consumers.push(Connection::connect(&uri).await.unwrap());
        let waits = daemon.consumer();
        let leave = async {
            // One after the other: the first to go makes no room yet.
            consumers.truncate(256);
            while daemon.status().await.clients > 256 {}
            consumers.truncate(255);
        };
        let (_late, ()) = tokio::join!(waits, leave);
    });
}

/// [SEC-4] The memory that half a write has is the attachment's: who stops in the middle of one is sent away once another
/// consumer waits for memory, and not before.
#[test]
fn a_consumer_that_stops_in_the_middle_of_a_write_is_sent_away_when_another_one_waits() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().mute = true;
        target.listen().await;
        let mut daemon = Daemon::start(config(dir.path())).await;
        daemon.event("serving").await;
        let addr = Addr::Unix(dir.path().join("nbd.sock"));
        let mut stops = Stream::dial(&addr).await.unwrap();
        let write = Request { flags: 0, command: 1, cookie: 1, offset: 0, length: 4096 };
        let hello = [&3u32.to_be_bytes()[..], b"IHAVEOPT\0\0\0\x01\0\0\0\0"].concat();
        stops.write_all(&[&hello[..], &write.encode()[..], &[1; 1000]].concat()).await.unwrap();
        // What both sides say before a request.
        stops.read_exact(&mut [0; 18 + 10]).await.unwrap();
        let pass = async |span| {
            tokio::time::pause();
            tokio::time::advance(span).await;
            tokio::time::resume();
        };
        for _ in 0..2 {
            pass(Duration::from_secs(31)).await;
            let said = tokio::time::timeout(Duration::from_millis(50), stops.read_u8()).await;
            assert!(said.is_err(), "nobody waits: {said:?}");
        }

        // All buffers from 64 KiB to 1 MiB, which is what one consumer may have; who asks for more waits.
        let others = [daemon.consumer().await, daemon.consumer().await];
        for number in 0..500 {
            let connection = others[number % 2].clone();
            tokio::task::spawn_local(async move { connection.read(0, vec![0; 64 << 10]).await });
        }
        let taken = async |daemon: &mut Daemon| {
            let status = daemon.status().await;
            status.in_flight + status.held
        };
        while taken(&mut daemon).await < 256 + 96 + 24 {}
        pass(Duration::from_secs(31)).await;
        let ended = tokio::time::timeout(Duration::from_secs(5), stops.read_u8()).await;
        let ended = ended.expect("it is still served").unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::UnexpectedEof);
    });
}
