//! The end of an attachment while something is half done.

use std::os::unix::fs::FileExt as _;

use lull_admin::{AttachmentPhase, ClientError};
use lull_wire::DisconnectCode;

use crate::bench::{Daemon, config, on_one_thread};
use crate::life::shared;
use crate::target::{LONGEST, News, Target};

/// The next request has come, and is left unanswered.
async fn unanswered(target: &mut Target) {
    while !matches!(target.next().await, News::Unanswered) {}
}

/// It has begun to leave: what is asked from here on is refused.
async fn leaves(daemon: &Daemon) {
    while daemon.status().await.phase != AttachmentPhase::Detached {
        tokio::task::yield_now().await;
    }
}

/// [CONN-5] It was accepted before: all of it is done, also across a crash of the target, and DETACH follows.
#[test]
fn what_takes_several_requests_is_finished_before_a_detach() {
    for crashes in [false, true] {
        on_one_thread(async move {
            let dir = tempfile::tempdir().unwrap();
            let (mut target, daemon) = shared(dir.path()).await;
            target.script.borrow_mut().disk.fill(9);
            target.script.borrow_mut().mute = true;
            let consumer = daemon.consumer().await;
            let length = 2 * LONGEST + 512;
            let ends = async {
                unanswered(&mut target).await;
                daemon.stop();
                leaves(&daemon).await;
                target.answer(1, Vec::new());
                unanswered(&mut target).await;
                target.script.borrow_mut().mute = false;
                if crashes {
                    target.vanish().await;
                    target.listen().await;
                } else {
                    target.answer(2, Vec::new());
                }
                while !matches!(target.next().await, News::Detached) {}
            };
            let (zeroed, ()) = tokio::join!(consumer.write_zeroes(512, length, false, false), ends);
            zeroed.expect("it was accepted before the attachment was to end");
            daemon.ended().await.unwrap();
            // The first two pieces were answered without being done, to be quick; a new incarnation has them again.
            let done = 512 + if crashes { 0 } else { 2 * LONGEST as usize };
            let script = target.script.borrow();
            assert!(script.disk[done..512 + length as usize].iter().all(|byte| *byte == 0));
        });
    }
}

/// [CONN-5] Bytes that are no whole blocks are read before they are written: the file's user has asked once.
#[test]
fn a_write_within_a_block_is_finished_before_a_detach() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut config = config(dir.path());
        config.attachments[0].fuse = Some(file.clone());
        let mut daemon = Daemon::start(config).await;
        daemon.event("serving").await;
        daemon.event("sharing").await;
        target.script.borrow_mut().mute = true;
        let written = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::options().write(true).open(file)?;
            file.write_all_at(b"within", 700)
        });
        unanswered(&mut target).await;
        daemon.stop();
        leaves(&daemon).await;
        target.script.borrow_mut().mute = false;
        target.answer(1, vec![9; 512]);
        while !matches!(target.next().await, News::Detached) {}
        written.await.unwrap().expect("it was accepted before the attachment was to end");
        assert_eq!(target.script.borrow().disk[699..707], *b"\x09within\x09");
        daemon.ended().await.unwrap();
    });
}

/// [CONN-5] Nobody answers after that: it is tried for some seconds, and the operator learns what is not known.
#[test]
fn a_target_that_goes_down_at_a_detach_is_asked_again_for_some_seconds() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        target.script.borrow_mut().goes_at_detach = Some(DisconnectCode::Restart);
        let admin = daemon.admin.clone();
        let goes = async {
            while !matches!(target.next().await, News::Detached) {}
            target.stops_listening().await;
            daemon.event("asked_again").await
        };
        let (told, event) = tokio::join!(admin.detach("db1"), goes);
        assert!(event.text.contains("went down for a restart"), "{}", event.text);
        let Err(ClientError::Api(error)) = told else { panic!("{told:?}") };
        assert!(error.message.contains("may stay reserved"), "{error:?}");
    });
}

/// [CONN-5] The target is back soon: nothing of the attachment is left there.
#[test]
fn a_target_that_is_back_after_a_detach_hears_it_again() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, daemon) = shared(dir.path()).await;
        target.script.borrow_mut().goes_at_detach = Some(DisconnectCode::Restart);
        let again = async {
            for _ in 0..2 {
                while !matches!(target.next().await, News::Detached) {}
            }
        };
        let (told, ()) = tokio::join!(daemon.admin.detach("db1"), again);
        told.unwrap();
        daemon.ended().await.unwrap();
        assert_eq!(target.script.borrow().attaches.len(), 2);
    });
}
