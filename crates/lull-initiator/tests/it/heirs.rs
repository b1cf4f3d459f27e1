//! What a life leaves to the next one.

use lull_admin::{AttachmentPhase, EventItem};
use lull_initiator::{Config, Keeping, RunError};
use lull_wire::{InstanceId, RefusalCode, Retry};

use crate::bench::{Daemon, config, on_one_thread};
use crate::target::{News, Target};

/// [SAFE-5] An ATTACH under way may be granted: the next life comes as the heir of this one.
#[test]
fn a_life_that_ends_while_attaching_is_remembered() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().hold_attach = true;
        target.listen().await;
        let daemon = Daemon::start(config(dir.path())).await;
        while !matches!(target.next().await, News::Unanswered) {}
        daemon.stop();
        daemon.stop();
        daemon.ended().await.unwrap();
        assert!(dir.path().join("state/db1.json").exists());

        target.script.borrow_mut().hold_attach = false;
        let mut daemon = Daemon::start(config(dir.path())).await;
        while !matches!(target.next().await, News::Ready) {}
        daemon.event("sharing").await;
        let script = target.script.borrow();
        let [first, second] = &script.attaches[..] else { panic!("{:?}", script.attaches) };
        assert_eq!(first.attachment, second.attachment);
        assert_eq!(first.predecessor, InstanceId::NONE);
        assert_ne!(second.predecessor, InstanceId::NONE);
    });
}

#[test]
fn what_was_only_ever_refused_leaves_nothing() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().refuse = Some((RefusalCode::Pausing, Retry::Later, "later"));
        target.listen().await;
        let mut daemon = Daemon::start(config(dir.path())).await;
        daemon.event("refused").await;
        daemon.stop();
        daemon.ended().await.unwrap();
        assert!(!dir.path().join("state/db1.json").exists());
    });
}

/// [SAFE-10] Who stops without its target leaves word of its log, and the next life misses one that nobody kept. With
/// everything flushed there is nothing to miss.
#[test]
fn a_stop_without_a_target_leaves_word_of_what_is_unflushed() {
    for flushed in [false, true] {
        on_one_thread(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut target, mut daemon) = crate::life::shared(dir.path()).await;
            let consumer = daemon.consumer().await;
            consumer.write(0, vec![1; 4096], false).await.unwrap();
            if flushed {
                consumer.flush().await.unwrap();
            }
            consumer.disconnect().await;
            target.vanish().await;
            daemon.event("connection_lost").await;
            daemon.stop();
            daemon.ended().await.unwrap();

            target.listen().await;
            let mut daemon = Daemon::start(config(dir.path())).await;
            let mut words = Vec::new();
            while words.last().is_none_or(|last| last != "sharing") {
                if let EventItem::Event(event) = daemon.events.next().await.expect("it lives") {
                    words.push(event.what);
                }
            }
            let missed = words.iter().any(|word| word == "log_missing" || word == "log_lost");
            assert_eq!(missed, !flushed, "{words:?}");
        });
    }
}

/// [SAFE-8] Nothing is shared before the state says what it is.
#[test]
fn ready_waits_until_the_state_is_written() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        let mut daemon = Daemon::start(config(dir.path())).await;
        // Where the new file would be made is something else.
        let in_the_way = dir.path().join("state/db1.json.new");
        std::fs::create_dir(&in_the_way).unwrap();
        target.listen().await;
        daemon.event("state_not_written").await;
        assert_eq!(daemon.status().await.phase, AttachmentPhase::Ready);
        assert!(target.news.try_recv().is_err(), "no READY");
        std::fs::remove_dir(&in_the_way).unwrap();
        daemon.event("state_written").await;
        target.ready().await;
        daemon.event("sharing").await;
    });
}

/// [SAFE-10] Who is told to end beside a target that says nothing any more writes what that may have to be sent again.
#[test]
fn a_stop_beside_a_target_that_does_not_answer_leaves_what_is_unflushed_to_the_next_boot() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.listen().await;
        let kept = Config { keeping: Keeping::ServiceManager, ..config(dir.path()) };
        let mut daemon = Daemon::start(kept).await;
        target.ready().await;
        daemon.event("sharing").await;
        let consumer = daemon.consumer().await;
        consumer.write(0, vec![1; 4096], false).await.unwrap();
        target.script.borrow_mut().mute = true;
        let flushing = consumer.flush();
        let stopping = async {
            while !matches!(target.next().await, News::Unanswered) {}
            daemon.stop();
            daemon.stop();
        };
        let (flushed, ()) = tokio::join!(flushing, stopping);
        assert!(flushed.is_err(), "nobody has flushed");
        let ended = daemon.ended().await.unwrap_err();
        assert!(matches!(ended, RunError::CutOff { unanswered: 1, .. }), "{ended}");
        assert!(dir.path().join("state/db1.unflushed").exists());
    });
}
