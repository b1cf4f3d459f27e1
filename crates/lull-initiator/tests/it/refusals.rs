//! What is told where it cannot be.

use lull_admin::Access;
use lull_initiator::{ConfigError, RunError, StateError};
use lull_wire::{RefusalCode, Retry};

use crate::bench::{Daemon, config, on_one_thread};
use crate::target::Target;

#[test]
fn a_final_refusal_ends_the_first_attach_with_the_targets_words() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.listen().await;
        let detail = "\"db1\" is attached rw by web-2 since 14:02 (lull attach --access ro)";
        target.script.borrow_mut().refuse = Some((RefusalCode::Conflict, Retry::Final, detail));
        let (_stop, stops) = tokio::sync::mpsc::unbounded_channel();
        let ended = lull_initiator::serve(config(dir.path()), stops, |_| {}).await;
        let said = ended.unwrap_err().to_string();
        assert_eq!(said, format!("db1: refused: {detail}"));
        assert!(!dir.path().join("state/db1.json").exists(), "nothing of it is left");
    });
}

#[test]
fn a_refusal_for_now_is_said_once_and_tried_until_it_is_over() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.listen().await;
        let refusal = (RefusalCode::Pausing, Retry::Later, "a restart is under way");
        target.script.borrow_mut().refuse = Some(refusal);
        let mut daemon = Daemon::start(config(dir.path())).await;
        let said = daemon.event("refused").await.text;
        assert_eq!(said, "refused: a restart is under way; trying again");
        while target.script.borrow().attaches.len() < 4 {
            tokio::task::yield_now().await;
        }
        target.script.borrow_mut().refuse = None;
        daemon.event("sharing").await;
    });
}

#[test]
fn a_target_that_is_not_there_is_named_and_waited_for() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(config(dir.path())).await;
        let said = daemon.event("unreachable").await.text;
        assert!(said.contains("target.sock") && said.contains("trying again"), "{said}");
        let waits = daemon.status().await.waits_for.unwrap();
        assert_eq!(waits.what, "come back");
        let mut target = Target::new(dir.path());
        target.listen().await;
        daemon.event("sharing").await;
    });
}

#[test]
fn a_peer_of_another_protocol_is_named_and_ends_the_first_attach() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let mut target = Target::new(dir.path());
        target.script.borrow_mut().greet_with = Some(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        target.listen().await;
        let (_stop, stops) = tokio::sync::mpsc::unbounded_channel();
        let ended = lull_initiator::serve(config(dir.path()), stops, |_| {}).await;
        let said = ended.unwrap_err().to_string();
        assert!(said.contains("HTTP") && said.contains("address"), "{said}");
    });
}

#[test]
fn a_damaged_state_file_keeps_the_daemon_from_starting_and_is_left_alone() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        let file = dir.path().join("state/db1.json");
        std::fs::write(&file, "{\"version\": 1, \"node\": \"we").unwrap();
        let (_stop, stops) = tokio::sync::mpsc::unbounded_channel();
        let error = lull_initiator::serve(config(dir.path()), stops, |_| {}).await.unwrap_err();
        assert!(matches!(error, RunError::State(StateError::Damaged { .. })), "{error}");
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("\"we"));
    });
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused() {
    on_one_thread(async {
        let dir = tempfile::tempdir().unwrap();
        let good = config(dir.path());
        let wrong = |change: fn(&mut lull_initiator::Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert_eq!(good.check(), Ok(()));
        assert_eq!(wrong(|c| c.attachments.clear()), ConfigError::Nothing);
        assert_eq!(wrong(|c| c.node = "a/b".into()), ConfigError::Name("a/b".into()));
        assert_eq!(
            wrong(|c| c.attachments.push(c.attachments[0].clone())),
            ConfigError::Twice("db1".into())
        );
        assert_eq!(wrong(|c| c.attachments[0].nbd.clear()), ConfigError::NoFrontEnd("db1".into()));
    });
}

/// [SAFE-11] What a device of the kernel asks again could undo another sharer's write.
#[test]
fn a_device_of_the_kernel_is_not_shared_with_other_writers() {
    let dir = tempfile::tempdir().unwrap();
    let with = |access, nbd_device: Option<&str>, ublk: Option<&str>| {
        let mut config = config(dir.path());
        let one = &mut config.attachments[0];
        one.access = access;
        one.nbd_device = nbd_device.map(Into::into);
        one.ublk = ublk.map(|number| number.parse().unwrap());
        config.check()
    };
    let refused = Err(ConfigError::SharedDevice("db1".into()));
    assert_eq!(with(Access::RwShared, Some("/dev/nbd0"), None), refused);
    assert_eq!(with(Access::RwShared, None, Some("auto")), refused);
    assert_eq!(with(Access::RwShared, None, None), Ok(()));
    assert_eq!(with(Access::Rw, Some("/dev/nbd0"), Some("auto")), Ok(()));
}
