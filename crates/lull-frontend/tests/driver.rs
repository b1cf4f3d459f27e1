//! Both halves against each other on a device in memory.

mod support;

use std::rc::Rc;

use lull_frontend::nbd::client::{self, Connection, RequestError};
use lull_frontend::nbd::request::Request;
use lull_frontend::nbd::{Closer, Errno, Limits, Op, serve};
use lull_transport::{Addr, Listener};
use tokio::io::AsyncWriteExt;

use support::{Answers, Disks, MIB, Memory, local, served, served_with};

async fn connected(disks: &Rc<Disks>) -> (Connection, support::Served) {
    let (stream, served) = served(disks);
    (Connection::over(stream, "disk").await.unwrap(), served)
}

#[test]
fn what_is_written_is_read_back_at_every_size() {
    local(async {
        for answers in [Answers::AtOnce, Answers::LastFirst] {
            let (disks, disk) = Disks::one(Memory::new(80 * MIB));
            disk.answers.set(answers);
            let (connection, served) = connected(&disks).await;
            let mut offset = 0;
            for length in [512, 4096, 65_536, 131_072, 1 << 20, 32 << 20] {
                let payload: Vec<u8> = (0..length).map(|i| (i / 512 + length / 7) as u8).collect();
                connection.write(offset, payload.clone(), false).await.unwrap();
                let got = connection.read(offset, vec![0; length]).await.unwrap();
                assert!(got == payload, "{length} bytes at {offset}");
                offset += length as u64;
            }
            connection.flush().await.unwrap();
            assert_eq!(disk.flushes.get(), 1);
            connection.write_zeroes(0, 1024, true, true).await.unwrap();
            connection.trim(4096, 512).await.unwrap();
            assert_eq!(connection.read(0, vec![1; 1024]).await.unwrap(), vec![0; 1024]);
            connection.disconnect().await;
            served.task.await.unwrap().unwrap();
            assert_eq!(disk.buffers_out(), 0);
        }
    });
}

#[test]
fn a_client_learns_what_the_device_can_do() {
    local(async {
        let (disks, _) = Disks::one(Memory::new(MIB));
        let (connection, _served) = connected(&disks).await;
        let export = connection.export();
        assert_eq!((export.size, export.block, export.preferred), (MIB, 512, 4096));
        assert_eq!(export.max_length, 32 << 20);
        assert_eq!(export.name.as_deref(), Some("disk"));
        assert_eq!(export.description.as_deref(), Some("a disk in memory"));
        assert!(export.structured && !export.read_only());
        assert!(export.can_flush() && export.can_fua() && export.can_trim());
        assert!(export.can_write_zeroes() && export.can_multi_conn());
    });
}

#[test]
fn what_a_client_demands_of_a_change_reaches_the_device() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let (connection, _served) = connected(&disks).await;
        for fua in [false, true] {
            connection.write(0, vec![1; 512], fua).await.unwrap();
            connection.write_zeroes(0, 512, fua, !fua).await.unwrap();
        }
        let expected = [false, true].map(|fua| {
            let keep_allocated = !fua;
            [Op::Write { fua }, Op::WriteZeroes { fua, keep_allocated, fast: false }]
        });
        assert_eq!(*disk.ops.borrow(), expected.concat());
    });
}

#[test]
fn what_is_not_offered_is_not_sent() {
    local(async {
        let mut memory = Memory::new(MIB);
        (memory.geometry.discard, memory.geometry.write_zeroes) = (false, false);
        memory.geometry.max_length = 4096;
        let (disks, disk) = Disks::one(memory);
        let (connection, _served) = connected(&disks).await;
        let unwanted = [
            connection.trim(0, 512).await,
            connection.write_zeroes(0, 512, false, false).await,
            connection.write(0, vec![0; 8192], false).await,
            connection.read(0, vec![0; 8192]).await.map(drop),
        ];
        for refused in unwanted {
            let error = refused.unwrap_err();
            assert!(!matches!(error, RequestError::Answered(_) | RequestError::Lost(_)), "{error}");
        }
        assert!(disk.ops.borrow().is_empty());
    });
}

#[test]
fn a_list_names_every_export() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let addr = Addr::Unix(directory.path().join("s.sock"));
        let listener = Listener::bind(&addr).await.unwrap();
        let names = ["a", "b/c", "ü"].map(str::to_owned);
        let disk = Rc::new(Memory::new(MIB));
        let disks = Rc::new(Disks(names.clone().map(|name| (name, Rc::clone(&disk))).to_vec()));
        let serving = async {
            let stream = listener.accept().await.unwrap();
            serve(stream, disks, Limits::default(), Closer::new()).await.unwrap();
        };
        let (listed, ()) = tokio::join!(client::list(&addr), serving);
        assert_eq!(listed.unwrap(), names);
    });
}

#[test]
fn a_write_that_dribbles_in_is_one_write() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let (mut stream, _served) = served(&disks);
        let mut said = b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0".to_vec();
        let write = Request { flags: 0, command: 1, cookie: 1, offset: 512, length: 1024 };
        said.extend_from_slice(&write.encode());
        said.extend((0..1024u32).map(|i| i as u8));
        for portion in said.chunks(7) {
            stream.write_all(portion).await.unwrap();
            tokio::task::yield_now().await;
        }
        while disk.ops.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(disk.bytes.borrow()[512..1536], said[said.len() - 1024..]);
    });
}

#[test]
fn a_refused_export_is_explained_to_the_client() {
    local(async {
        for (name, hint) in [("other", "there is `disk`"), ("guarded", "ask its owner")] {
            let (disks, _) = Disks::one(Memory::new(MIB));
            let (stream, served) = served(&disks);
            let error = Connection::<Vec<u8>>::over(stream, name).await.unwrap_err();
            assert!(error.to_string().contains(hint), "{error}");
            served.task.await.unwrap().unwrap();
        }
    });
}

#[test]
fn answers_in_any_order_reach_those_who_asked() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::LastFirst);
        for (i, block) in disk.bytes.borrow_mut().chunks_mut(512).enumerate() {
            block.fill(i as u8);
        }
        let (connection, _served) = connected(&disks).await;
        let asked: Vec<_> = (0..512u64)
            .map(|i| {
                let connection = connection.clone();
                tokio::task::spawn_local(async move {
                    let got = connection.read(i * 512, vec![0; 512]).await.unwrap();
                    assert_eq!(got, vec![i as u8; 512]);
                })
            })
            .collect();
        for one in asked {
            one.await.unwrap();
        }
    });
}

#[test]
fn the_devices_error_is_the_clients_error() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let (connection, _served) = connected(&disks).await;
        for errno in [Errno::Io, Errno::NoSpace, Errno::Perm, Errno::Shutdown] {
            disk.fail.set(Some(errno));
            let failed = Err(RequestError::Answered(errno));
            assert_eq!(connection.read(0, vec![0; 512]).await, failed.clone().map(|()| vec![]));
            assert_eq!(connection.write(0, vec![0; 512], true).await, failed);
            assert_eq!(connection.flush().await, failed);
        }
        disk.fail.set(None);
        connection.flush().await.unwrap();
    });
}

#[test]
fn impossible_requests_are_refused_and_the_next_one_works() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        let (connection, _served) = connected(&disks).await;
        let inval = RequestError::Answered(Errno::Inval);
        let no_space = RequestError::Answered(Errno::NoSpace);
        let read =
            async |offset, length| connection.read(offset, vec![0; length]).await.unwrap_err();
        let write = async |offset, length| {
            connection.write(offset, vec![9; length], false).await.unwrap_err()
        };
        assert_eq!(read(1, 512).await, inval);
        assert_eq!(read(0, 511).await, inval);
        assert_eq!(read(0, 0).await, inval);
        assert_eq!(read(MIB, 512).await, inval);
        assert_eq!(read(u64::MAX - 511, 1024).await, inval);
        assert_eq!(write(1, 512).await, inval);
        assert_eq!(write(MIB - 512, 1024).await, no_space);
        assert_eq!(write(MIB, 16 << 20).await, no_space);
        assert_eq!(connection.write_zeroes(MIB, 512, false, false).await, Err(no_space));
        assert_eq!(connection.trim(MIB, 512).await, Err(inval));
        assert_eq!(connection.read(0, vec![7; 512]).await.unwrap(), vec![0; 512]);
        assert_eq!(disk.most_buffers_out(), 1);
    });
}

#[test]
fn a_read_only_device_is_not_changed() {
    local(async {
        let mut memory = Memory::new(MIB);
        memory.geometry.read_only = true;
        let (disks, _disk) = Disks::one(memory);
        let (connection, _served) = connected(&disks).await;
        assert!(connection.export().read_only());
        let refused = Err(RequestError::Answered(Errno::Perm));
        assert_eq!(connection.write(0, vec![1; 512], false).await, refused);
        assert!(!connection.export().can_trim() && !connection.export().can_write_zeroes());
    });
}

#[test]
fn exhausted_buffers_hold_the_client_back_and_fail_nothing() {
    local(async {
        let mut memory = Memory::new(MIB);
        memory.most_buffers = 3;
        let (disks, disk) = Disks::one(memory);
        disk.answers.set(Answers::LastFirst);
        let (connection, _served) = connected(&disks).await;
        let reads = (0..64u64).map(|i| {
            let connection = connection.clone();
            tokio::task::spawn_local(async move { connection.read(i * 512, vec![1; 512]).await })
        });
        for read in reads.collect::<Vec<_>>() {
            assert_eq!(read.await.unwrap().unwrap(), vec![0; 512]);
        }
        assert_eq!(disk.most_buffers_out(), 3);
    });
}

#[test]
fn a_connection_takes_no_more_requests_than_its_limit() {
    // [SEC-4]
    takes_four(Limits { in_flight: 4, ..Limits::default() });
}

#[test]
fn a_connection_takes_no_more_memory_than_its_limit() {
    // [SEC-4]
    takes_four(Limits { bytes: 4 * 512, ..Limits::default() });
}

/// Of 32 reads no more than four are under way at the same time.
fn takes_four(limits: Limits) {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let (stream, _served) = served_with(&disks, limits);
        let connection = Connection::over(stream, "").await.unwrap();
        let reads: Vec<_> = (0..32u64)
            .map(|i| {
                let connection = connection.clone();
                tokio::task::spawn_local(
                    async move { connection.read(i * 512, vec![0; 512]).await },
                )
            })
            .collect();
        let mut answered = 0;
        while answered < 32 {
            while disk.held() < 4 {
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(disk.held(), 4);
            answered += disk.held();
            disk.release();
        }
        for read in reads {
            read.await.unwrap().unwrap();
        }
    });
}

#[test]
fn closing_waits_for_requests_under_way_and_their_answers_arrive() {
    // [CONN-3]
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let (connection, served) = connected(&disks).await;
        let asking = connection.clone();
        let read = tokio::task::spawn_local(async move { asking.read(0, vec![1; 512]).await });
        while disk.held() == 0 {
            tokio::task::yield_now().await;
        }
        served.closer.close();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!served.task.is_finished());
        disk.release();
        served.task.await.unwrap().unwrap();
        assert_eq!(read.await.unwrap().unwrap(), vec![0; 512]);
        assert_eq!(&*connection.ended().await, "the server closed it");
        assert!(matches!(connection.flush().await, Err(RequestError::Lost(_))));
    });
}

#[test]
fn an_answer_for_a_client_that_has_gone_goes_nowhere() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let (connection, served) = connected(&disks).await;
        let asking = connection.clone();
        let read = tokio::task::spawn_local(async move { asking.read(0, vec![1; 512]).await });
        while disk.held() == 0 {
            tokio::task::yield_now().await;
        }
        connection.disconnect().await;
        assert!(matches!(read.await.unwrap(), Err(RequestError::Lost(_))));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!served.task.is_finished());
        disk.release();
        let _ = served.task.await.unwrap();
        assert_eq!(disk.buffers_out(), 0);
    });
}

#[test]
fn a_cut_connection_fails_every_request_under_way_with_the_reason() {
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let (connection, served) = connected(&disks).await;
        let reads: Vec<_> = (0..3)
            .map(|_| {
                let connection = connection.clone();
                tokio::task::spawn_local(async move { connection.read(0, vec![1; 512]).await })
            })
            .collect();
        while disk.held() < 3 {
            tokio::task::yield_now().await;
        }
        served.task.abort();
        for read in reads {
            let error = read.await.unwrap().unwrap_err();
            assert!(matches!(error, RequestError::Lost(_)), "{error}");
        }
        disk.release();
        assert_eq!(disk.buffers_out(), 0);
    });
}

#[test]
#[should_panic(expected = "dropped without an answer")]
fn a_device_that_forgets_a_request_is_caught() {
    // [CONN-3]
    local(async {
        let (disks, disk) = Disks::one(Memory::new(MIB));
        disk.answers.set(Answers::Held);
        let (connection, _served) = connected(&disks).await;
        tokio::task::spawn_local(async move { connection.flush().await });
        while disk.held() == 0 {
            tokio::task::yield_now().await;
        }
        disk.forget();
    });
}
