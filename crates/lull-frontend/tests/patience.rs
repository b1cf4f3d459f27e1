//! What a client may leave waiting, and for how long.

mod support;

use std::os::fd::AsFd;
use std::time::Duration;

use lull_frontend::nbd::request::Request;
use lull_frontend::nbd::{Closer, Limits, ServeEnd, serve};
use lull_transport::{Addr, Listener, Stream};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{Answers, Disks, MIB, Memory, local, served, served_with};

/// Flags without the padding of old, and the default export.
fn hello() -> Vec<u8> {
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend_from_slice(b"IHAVEOPT\0\0\0\x01\0\0\0\0");
    said
}

#[test]
fn a_silent_client_is_sent_away() {
    // [SEC-4]
    local(async {
        tokio::time::pause();
        let (disks, _) = Disks::one(Memory::new(MIB));
        let (_stream, served) = served(&disks);
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Slow(after)) if after == Duration::from_secs(30)));
    });
}

#[test]
fn a_client_that_does_not_listen_delays_the_closing_only_so_long() {
    // [SEC-4]
    local(async {
        tokio::time::pause();
        let (disks, disk) = Disks::one(Memory::new(4 * MIB));
        disk.answers.set(Answers::Held);
        let (mut stream, served) = served(&disks);
        let mut said = hello();
        let read = Request { flags: 0, command: 0, cookie: 1, offset: 0, length: 4 << 20 };
        said.extend_from_slice(&read.encode());
        stream.write_all(&said).await.unwrap();
        while disk.held() == 0 {
            tokio::task::yield_now().await;
        }
        served.closer.close();
        disk.release();
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Stuck(after)) if after == Duration::from_secs(10)));
        assert_eq!(disk.buffers_out(), 0);
    });
}

/// [SEC-4] What is answered and not taken is memory that others wait for: who takes nothing of it is sent away, with no
/// regard for what he still asks. Who has nothing to take, or takes a little, stays.
#[test]
fn a_client_that_takes_no_answers_is_sent_away() {
    local(async {
        tokio::time::pause();
        let (disks, disk) = Disks::one(Memory::new(4 * MIB));
        let stuck = Duration::from_secs(30);
        let (mut stream, served) = served_with(&disks, Limits { stuck, ..Limits::default() });
        stream.write_all(&hello()).await.unwrap();
        tokio::time::sleep(10 * stuck).await;
        assert!(!served.task.is_finished(), "there is nothing to take");
        let read = Request { flags: 0, command: 0, cookie: 1, offset: 0, length: 4 << 20 };
        stream.write_all(&read.encode()).await.unwrap();
        let mut little = vec![0; 256 << 10];
        for _ in 0..10 {
            tokio::time::sleep(stuck * 2 / 3).await;
            stream.read_exact(&mut little).await.unwrap();
        }
        assert!(!served.task.is_finished() && disk.buffers_out() > 0, "it is slow");
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Deaf(after)) if after == stuck), "{ended:?}");
        assert_eq!(disk.buffers_out(), 0);
    });
}

/// Whoever is stopped is, as long as nobody misses what he keeps, there again when he goes on; what he waits for himself he
/// keeps from nobody.
#[test]
fn a_client_that_takes_no_answers_and_keeps_nobody_waiting_is_left_alone() {
    local(async {
        tokio::time::pause();
        let mut disk = Memory::new(4 * MIB);
        disk.most_buffers = 1;
        let (disks, disk) = Disks::one(disk);
        let stuck = Duration::from_secs(30);
        let (mut stream, served) = served_with(&disks, Limits { stuck, ..Limits::default() });
        let read = Request { flags: 0, command: 0, cookie: 1, offset: 0, length: 4 << 20 };
        disk.missed_by.set(1);
        stream.write_all(&[hello(), read.encode().repeat(2)].concat()).await.unwrap();
        tokio::time::sleep(10 * stuck).await;
        assert!(
            !served.task.is_finished() && disk.buffers_out() == 1,
            "the second read waits for it"
        );
        disk.missed_by.set(2);
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Deaf(after)) if after == stuck), "{ended:?}");
    });
}

/// [SEC-4] A payload that has begun has a buffer for which others wait: who sends no more of it is sent away, whatever else
/// of his is still under way. Who sends a little of it stays, and so does whoever has begun nothing.
#[test]
fn a_client_that_stops_in_the_middle_of_a_write_is_sent_away() {
    local(async {
        tokio::time::pause();
        let (disks, disk) = Disks::one(Memory::new(4 * MIB));
        disk.answers.set(Answers::Held);
        let stuck = Duration::from_secs(30);
        let (mut stream, served) = served_with(&disks, Limits { stuck, ..Limits::default() });
        let write = Request { flags: 0, command: 1, cookie: 1, offset: 0, length: 1 << 20 };
        let read = Request { command: 0, ..write };
        stream.write_all(&hello()).await.unwrap();
        stream.write_all(&read.encode()).await.unwrap();
        stream.write_all(&write.encode()[..20]).await.unwrap();
        tokio::time::sleep(10 * stuck).await;
        assert!(!served.task.is_finished(), "no payload has begun");
        assert_eq!((disk.held(), disk.buffers_out()), (1, 1));
        stream.write_all(&write.encode()[20..]).await.unwrap();
        for _ in 0..10 {
            stream.write_all(&[2; 1000]).await.unwrap();
            tokio::time::sleep(stuck * 2 / 3).await;
        }
        assert_eq!(disk.buffers_out(), 2, "it is slow");
        tokio::time::sleep(2 * stuck).await;
        assert_eq!(disk.buffers_out(), 1, "only what is under way has memory");
        disk.release();
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Halted(after)) if after == stuck), "{ended:?}");
        assert_eq!((disk.ops.borrow().len(), disk.buffers_out()), (1, 0), "half a write is none");
    });
}

/// What is refused has no buffer, but is no other case.
#[test]
fn a_client_that_stops_in_the_middle_of_what_is_refused_is_sent_away() {
    local(async {
        tokio::time::pause();
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let stuck = Duration::from_secs(30);
        let (mut stream, served) = served_with(&disks, Limits { stuck, ..Limits::default() });
        let write = Request { flags: 0, command: 1, cookie: 1, offset: 8 * MIB, length: 1 << 20 };
        stream.write_all(&hello()).await.unwrap();
        stream.write_all(&write.encode()).await.unwrap();
        let ended = served.task.await.unwrap();
        assert!(matches!(ended, Err(ServeEnd::Halted(after)) if after == stuck), "{ended:?}");
        assert!(disk.ops.borrow().is_empty());
    });
}

/// [SEC-4] A client whose machine has lost its power says nothing: it would be counted as a writer for ever.
#[test]
fn over_tcp_the_kernel_asks_a_client_s_machine_whether_it_is_there() {
    local(async {
        let (disks, _) = Disks::one(Memory::new(MIB));
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse::<Addr>().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(Stream::dial(&addr), listener.accept());
        let (mut ours, theirs) = (ours.unwrap(), theirs.unwrap());
        let socket = theirs.as_fd().try_clone_to_owned().unwrap();
        let serving = serve(theirs, disks, Limits::default(), Closer::new());
        let serving = tokio::task::spawn_local(serving);
        ours.read_exact(&mut [0; 18]).await.unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        let asked = sockopt::tcp_keepidle(&socket).unwrap();
        let again = sockopt::tcp_keepintvl(&socket).unwrap();
        let times = sockopt::tcp_keepcnt(&socket).unwrap();
        assert!(asked + times * again <= Duration::from_secs(60));
        assert_eq!(sockopt::tcp_user_timeout(&socket).unwrap(), 0, "who is stopped is there");
        drop(ours);
        serving.await.unwrap().unwrap();
    });
}

/// [SEC-4] Memory of a device is held until the answer has left: who asks and does not take the answers gets no more of
/// it than who waits for them.
#[test]
fn answers_that_are_not_taken_count_as_requests_do() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let limits = Limits { in_flight: 16, ..Limits::default() };
        let (mut stream, _served) = served_with(&disks, limits);
        let read = Request { flags: 0, command: 0, cookie: 1, offset: 0, length: 65_536 };
        stream.write_all(&[hello(), read.encode().repeat(100)].concat()).await.unwrap();
        stream.read_exact(&mut [0; 18 + 10]).await.unwrap();
        for _ in 0..100 {
            stream.read_exact(&mut vec![0; 16 + 65_536]).await.unwrap();
        }
        assert_eq!(disk.ops.borrow().len(), 100);
        assert!(disk.most_buffers_out() <= 16, "{}", disk.most_buffers_out());
    });
}

/// [SEC-4] A buffer may be longer than what is asked for, and others do not have the rest of it meanwhile.
#[test]
fn a_client_has_no_more_memory_than_is_meant_for_it_whatever_lengths_it_asks_for() {
    local(async {
        let mut disk = Memory::new(MIB);
        disk.footprint = 16_384;
        let (disks, disk) = Disks::one(disk);
        let limits = Limits { bytes: 65_536, ..Limits::default() };
        let (mut stream, _served) = served_with(&disks, limits);
        let read = Request { flags: 0, command: 0, cookie: 1, offset: 0, length: 4096 };
        disk.answers.set(Answers::Held);
        stream.write_all(&[hello(), read.encode().repeat(16)].concat()).await.unwrap();
        while disk.held() < 4 {
            tokio::task::yield_now().await;
        }
        disk.answers.set(Answers::AtOnce);
        disk.release();
        stream.read_exact(&mut [0; 18 + 10]).await.unwrap();
        for _ in 0..16 {
            stream.read_exact(&mut vec![0; 16 + 4096]).await.unwrap();
        }
        assert!(disk.most_buffers_out() <= 65_536 / 16_384, "{}", disk.most_buffers_out());
    });
}

/// [SEC-4] The same of what is answered without data, which takes memory of ours.
#[test]
fn answers_without_data_that_are_not_taken_are_few() {
    const MOST: usize = 1 << 18;
    local(async {
        tokio::time::pause();
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let (mut stream, served) = served(&disks);
        let flush = Request { flags: 0, command: 3, cookie: 1, offset: 0, length: 0 };
        stream.write_all(&hello()).await.unwrap();
        let all = flush.encode().repeat(MOST);
        let asked = tokio::time::timeout(Duration::from_secs(1), stream.write_all(&all)).await;
        assert!(asked.is_err() && disk.flushes.get() < MOST / 4, "{}", disk.flushes.get());
        assert!(!served.task.is_finished());
    });
}
