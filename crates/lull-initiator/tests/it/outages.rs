//! Restarts, losses, timers.

use std::time::Duration;

use lull_admin::AttachmentPhase;
use lull_frontend::nbd::Errno;
use lull_frontend::nbd::client::RequestError;
use lull_initiator::Policy;
use lull_wire::DisconnectCode;
use lull_wire::messages::{Hold, Path, Prose};

use crate::bench::{Daemon, config, on_one_thread};
use crate::life::shared;
use crate::target::{News, Target};

/// [PAUSE-2] [PAUSE-3] [PAUSE-7]
#[test]
fn a_planned_restart_costs_no_error_and_keeps_every_byte() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        for restart in 1..=5u8 {
            consumer.write(0, vec![restart; 4096], false).await.unwrap();
            target.pause(restart.into());
            daemon.event("draining").await;
            let held = consumer.write(8192, vec![restart; 4096], false);
            let rest = async {
                let complete = target.complete().await;
                assert_eq!(complete.retained_bytes, 0, "flushed");
                let requests = target.script.borrow().requests;
                assert_eq!(daemon.status().await.phase, AttachmentPhase::Paused);
                target.disconnect(restart.into(), DisconnectCode::Restart);
                daemon.event("away").await;
                assert_eq!(target.script.borrow().requests, requests, "nothing more was sent");
                target.vanish().await;
                target.listen().await;
                let back = daemon.event("resumed").await;
                assert_eq!(back.restart, Some(restart.into()));
                assert!(back.text.starts_with("back after"), "{}", back.text);
            };
            let (written, ()) = tokio::join!(held, rest);
            written.unwrap();
            let read = consumer.read(8192, vec![0; 4096]).await.unwrap();
            assert!(read.iter().all(|byte| *byte == restart));
        }
        let status = daemon.status().await;
        assert_eq!((status.errors, status.phase), (0, AttachmentPhase::Sharing));
        while !matches!(target.next().await, News::Stall) {}
    });
}

/// [PAUSE-6]
#[test]
fn an_aborted_pause_lets_held_requests_go_on_the_same_connection() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        target.pause(1);
        target.complete().await;
        let abort = async {
            // The write is with the daemon once it shows it as held.
            while daemon.status().await.held == 0 {}
            target.resume(1);
            daemon.event("resumed").await;
        };
        let (written, ()) = tokio::join!(consumer.write(0, vec![3; 512], false), abort);
        written.unwrap();
        assert_eq!(target.script.borrow().connections, 1);
    });
}

/// [CONN-2] [SAFE-2]
#[test]
fn unanswered_writes_are_sent_again_to_a_target_that_was_killed() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        target.script.borrow_mut().mute = true;
        let consumer = daemon.consumer().await;
        let kill = async {
            for _ in 0..2 {
                while !matches!(target.next().await, News::Unanswered) {}
            }
            target.vanish().await;
            daemon.event("connection_lost").await;
            assert_eq!(daemon.status().await.held, 2);
            target.script.borrow_mut().mute = false;
            target.script.borrow_mut().disk[512..1024].fill(5);
            target.listen().await;
        };
        let (written, read, ()) = tokio::join!(
            consumer.write(0, vec![4; 512], false),
            consumer.read(512, vec![0; 512]),
            kill
        );
        written.unwrap();
        assert_eq!(read.unwrap(), [5; 512]);
        assert_eq!(target.script.borrow().disk[..512], [4; 512]);
    });
}

/// [TIMER-1] [TIMER-3]
#[test]
fn the_error_policy_fails_what_is_held_and_a_late_target_ends_that() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.attachments[0].policy = Policy::Error;
        config.attachments[0].restart_timeout = Duration::from_millis(30);
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut daemon = Daemon::start(config).await;
        daemon.event("sharing").await;
        let consumer = daemon.consumer().await;
        target.vanish().await;
        let expired = async {
            let text = daemon.event("expired").await.text;
            assert!(text.contains("answered with errors"), "{text}");
            daemon.status().await
        };
        let (held, status) = tokio::join!(consumer.write(0, vec![1; 512], false), expired);
        assert_eq!(held.unwrap_err(), RequestError::Answered(Errno::Io));
        assert_eq!(status.phase, AttachmentPhase::Expired);
        assert!(status.outage.unwrap().expired);
        let late = consumer.read(0, vec![0; 512]).await.unwrap_err();
        assert_eq!(late, RequestError::Answered(Errno::Io));
        target.listen().await;
        daemon.event("resumed").await;
        consumer.write(0, vec![2; 512], false).await.unwrap();
        assert_eq!(daemon.status().await.errors, 2);
    });
}

/// [TIMER-1] [TIMER-6]
#[test]
fn the_hook_runs_once_and_what_is_held_stays_held() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let mut config = config(dir.path());
        let command = format!(
            "echo $LULL_NODE $LULL_ATTACHMENT $LULL_RESOURCE $LULL_TIMER $LULL_TARGET >> {}",
            said.display()
        );
        config.attachments[0].policy = Policy::Hook(command);
        config.attachments[0].restart_timeout = Duration::from_millis(30);
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut daemon = Daemon::start(config).await;
        daemon.event("sharing").await;
        let consumer = daemon.consumer().await;
        target.vanish().await;
        let back = async {
            daemon.event("hook_done").await;
            assert!(daemon.status().await.held <= 1);
            target.listen().await;
            daemon.event("resumed").await;
        };
        let (written, ()) = tokio::join!(consumer.write(0, vec![1; 512], false), back);
        written.unwrap();
        let expected = format!("web-1 db1 db1 restart {}\n", target.addr());
        assert_eq!(std::fs::read_to_string(said).unwrap(), expected);
    });
}

#[test]
fn a_damaged_read_ends_the_connection_and_is_asked_for_again() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, mut daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        target.script.borrow_mut().disk.fill(6);
        target.script.borrow_mut().spoil = true;
        assert_eq!(consumer.read(0, vec![0; 32_768]).await.unwrap(), [6; 32_768]);
        let lost = daemon.event("connection_lost").await;
        assert!(lost.text.contains("damaged"), "{}", lost.text);
        assert_eq!(target.script.borrow().connections, 2);
    });
}

/// [CONN-2] A peer whose system hangs closes nothing.
#[test]
fn a_target_that_falls_silent_is_lost_within_its_span() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.silence = Duration::from_millis(80);
        let mut target = Target::new(dir.path());
        target.listen().await;
        let mut daemon = Daemon::start(config).await;
        daemon.event("sharing").await;
        let consumer = daemon.consumer().await;
        target.script.borrow_mut().frozen = true;
        let thaw = async {
            let lost = daemon.event("connection_lost").await;
            assert!(lost.text.contains("fell silent"), "{}", lost.text);
            target.script.borrow_mut().frozen = false;
            // Whoever dialled while it was frozen was not heard, and would wait for the end of its dial.
            target.vanish().await;
            target.listen().await;
        };
        let (written, ()) = tokio::join!(consumer.write(0, vec![8; 512], false), thaw);
        written.unwrap();
        daemon.event("resumed").await;
        assert_eq!(target.script.borrow().disk[..512], [8; 512]);
    });
}

/// [TIMER-5] A hold for somebody above began when the target said so, and not when it was shared with.
#[test]
fn a_hold_for_somebody_above_has_its_beginning() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, daemon) = shared(dir.path()).await;
        let before = daemon.status().await.since;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (span_ms, path) = (60_000, Path::default());
        target.send(Hold { span_ms, path, reason: Prose::clipped("a third restarts") });
        let held = loop {
            let status = daemon.status().await;
            if status.phase == AttachmentPhase::Held {
                break status;
            }
        };
        // Each is counted back from a reading of the clock of its own.
        assert!(held.since >= before + 250, "{before} {held:?}");
        let wait = held.waits_for.expect("whom it waits for");
        assert!(wait.since >= before + 250, "{before} {wait:?}");
    });
}

/// [PAUSE-2] Held requests are bounded by what a connection may have under way; the rest waits in its socket.
#[test]
fn a_flood_during_an_outage_is_held_within_bounds_and_then_served() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        target.vanish().await;
        daemon.event("connection_lost").await;
        let mut writes = Vec::new();
        for at in 0..1500u64 {
            let consumer = consumer.clone();
            writes.push(tokio::task::spawn_local(async move {
                let offset = at % 256 * 4096;
                consumer.write(offset, vec![(at % 256) as u8; 4096], false).await
            }));
        }
        while daemon.status().await.held < 512 {}
        for _ in 0..20 {
            assert_eq!(daemon.status().await.held, 512);
        }
        target.listen().await;
        for write in writes {
            write.await.unwrap().unwrap();
        }
        for (block, bytes) in target.script.borrow().disk.chunks(4096).enumerate() {
            assert!(bytes.iter().all(|byte| usize::from(*byte) == block), "block {block}");
        }
        assert_eq!(daemon.status().await.errors, 0);
    });
}
