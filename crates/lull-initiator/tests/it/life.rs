//! Attaching, working, leaving.

use lull_admin::ClientError;
use lull_admin::{AttachmentPhase, ErrorCode, RestartKind, RestartOrder};
use lull_frontend::nbd::Errno;
use lull_frontend::nbd::client::RequestError;
use lull_initiator::RunError;
use lull_transport::{Addr, Listener};
use lull_wire::{AttachmentId, InstanceId, StatusCode, Tenure};

use crate::bench::{Daemon, config, on_one_thread};
use crate::target::{LONGEST, SIZE, Target};

/// A daemon that shares with its target.
pub async fn shared(dir: &std::path::Path) -> (Target, Daemon) {
    let mut target = Target::new(dir);
    target.listen().await;
    let mut daemon = Daemon::start(config(dir)).await;
    daemon.event("serving").await;
    daemon.event("sharing").await;
    target.ready().await;
    (target, daemon)
}

#[test]
fn a_consumer_reads_what_it_wrote_and_the_daemon_says_how_it_stands() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        assert_eq!(consumer.export().size, SIZE as u64);
        consumer.write(4096, vec![7; 60_000 - 60_000 % 512], false).await.unwrap();
        assert_eq!(consumer.read(4096, vec![0; 512]).await.unwrap(), [7; 512]);
        consumer.flush().await.unwrap();
        assert_eq!(target.script.borrow().disk[4096], 7);
        let status = daemon.status().await;
        assert_eq!(status.phase, AttachmentPhase::Sharing);
        assert_eq!((status.clients, status.in_flight, status.unflushed), (1, 0, 0));
        assert_eq!((status.size, status.target.as_deref()), (SIZE as u64, Some("store")));
        assert_eq!((status.epoch, status.errors), (1, 0));
    });
}

/// [CONN-3] Its consumer is answered once, after the last of them.
#[test]
fn a_long_request_without_data_is_asked_for_in_pieces_that_the_target_takes() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, daemon) = shared(dir.path()).await;
        target.script.borrow_mut().disk.fill(9);
        let consumer = daemon.consumer().await;
        let length = 5 * LONGEST + 512;
        consumer.write_zeroes(512, length, false, false).await.unwrap();
        let script = target.script.borrow();
        assert_eq!((script.longest_seen, script.requests), (LONGEST, 6));
        let zeroes = 512..512 + length as usize;
        for (at, byte) in script.disk.iter().enumerate() {
            assert_eq!(*byte, if zeroes.contains(&at) { 0 } else { 9 }, "at {at}");
        }
    });
}

#[test]
fn what_the_medium_says_reaches_the_consumer_as_an_error_of_its_own_kind() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (target, daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        for (status, errno) in [
            (StatusCode::Io, Errno::Io),
            (StatusCode::NoSpace, Errno::NoSpace),
            (StatusCode::ReadOnly, Errno::Perm),
            (StatusCode::NotSupported, Errno::NotSupported),
            (StatusCode::Unknown(77), Errno::Io),
        ] {
            target.script.borrow_mut().status = status;
            let error = consumer.write(0, vec![1; 512], false).await.unwrap_err();
            assert_eq!(error, RequestError::Answered(errno), "{status}");
        }
        assert_eq!(daemon.status().await.errors, 5);
    });
}

/// [CONN-5]
#[test]
fn detach_finishes_and_leaves_the_roster_and_nothing_on_this_side() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, daemon) = shared(dir.path()).await;
        let consumer = daemon.consumer().await;
        consumer.write(0, vec![1; 4096], false).await.unwrap();
        daemon.admin.detach("db1").await.unwrap();
        while !matches!(target.next().await, crate::target::News::Detached) {}
        consumer.ended().await;
        daemon.ended().await.unwrap();
        for left in ["nbd.sock", "admin.sock", "state/db1.json"] {
            assert!(!dir.path().join(left).exists(), "{left}");
        }
    });
}

#[test]
fn a_stop_detaches_and_a_stop_without_a_target_leaves_at_once() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, daemon) = shared(dir.path()).await;
        daemon.stop();
        while !matches!(target.next().await, crate::target::News::Detached) {}
        daemon.ended().await.unwrap();

        let mut daemon = Daemon::start(config(dir.path())).await;
        daemon.event("sharing").await;
        target.vanish().await;
        daemon.event("connection_lost").await;
        daemon.stop();
        daemon.ended().await.unwrap();
        assert!(dir.path().join("state/db1.json").exists(), "its place there is still reserved");
    });
}

#[test]
fn consumers_that_cannot_be_answered_are_cut_off_by_the_third_stop_and_that_is_said() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, daemon) = shared(dir.path()).await;
        target.script.borrow_mut().mute = true;
        let consumer = daemon.consumer().await;
        let write = consumer.write(0, vec![1; 512], false);
        let stop = async {
            while !matches!(target.next().await, crate::target::News::Unanswered) {}
            for _ in 0..3 {
                daemon.stop();
            }
        };
        let (written, ()) = tokio::join!(write, stop);
        assert!(matches!(written, Err(RequestError::Lost(_))), "{written:?}");
        let error = daemon.ended().await.unwrap_err();
        assert!(matches!(error, RunError::CutOff { unanswered: 1, .. }), "{error}");
    });
}

/// [SAFE-5] What the next life says of the one before.
#[test]
fn the_next_life_goes_on_with_the_identity_and_the_epochs_of_the_last() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, mut daemon) = shared(dir.path()).await;
        target.vanish().await;
        daemon.event("connection_lost").await;
        daemon.stop();
        daemon.ended().await.unwrap();
        target.listen().await;
        let mut daemon = Daemon::start(config(dir.path())).await;
        daemon.event("sharing").await;
        let script = target.script.borrow();
        let [first, second] = &script.attaches[..] else { panic!("{:?}", script.attaches) };
        assert_eq!(first.attachment, second.attachment);
        assert_ne!(first.attachment, AttachmentId::NONE);
        assert_eq!((first.tenure, second.tenure), (Tenure(0), Tenure(1)));
        assert!(first.identity.is_none() && !second.identity.is_none());
        assert_eq!(first.predecessor, InstanceId::NONE);
        assert_ne!(second.predecessor, InstanceId::NONE);
        assert!(second.epoch > first.epoch);
    });
}

#[test]
fn what_only_a_target_can_do_is_refused_with_the_way_to_it() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let (_target, daemon) = shared(dir.path()).await;
        let stop = RestartOrder { kind: RestartKind::Stop, ..RestartOrder::default() };
        let error = daemon.admin.restart(&stop).await.unwrap_err();
        let ClientError::Api(error) = error else { panic!("{error}") };
        assert_eq!(error.code, ErrorCode::WrongRole);
        let error = daemon.admin.detach("db7").await.unwrap_err();
        let ClientError::Api(error) = error else { panic!("{error}") };
        assert_eq!(error.code, ErrorCode::NotFound);
        assert!(error.next_step.contains("db1"), "{error}");
    });
}

#[test]
fn a_front_end_that_is_taken_ends_the_attachment_with_its_reason() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.listen().await;
        let config = config(dir.path());
        let Addr::Unix(_) = &config.attachments[0].nbd[0] else { panic!("a unix socket") };
        let _taken = Listener::bind(&config.attachments[0].nbd[0]).await.unwrap();
        let daemon = Daemon::start(config).await;
        while !matches!(target.next().await, crate::target::News::Detached) {}
        let said = daemon.ended().await.unwrap_err().to_string();
        assert!(said.contains("in use") && said.contains("nbd.sock"), "{said}");
    });
}
