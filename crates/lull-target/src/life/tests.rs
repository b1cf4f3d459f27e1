//! How a life begins, and when it does not.

use super::*;
use crate::ResourceConfig;
use lull_admin::{AdminAddr, RestartKind, RestartOrder};
use lull_transport::{Addr, Admitted};
use redb::backends::InMemoryBackend;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// [PAUSE-5] Where the new incarnations are not on stable storage, nobody is served by them.
#[tokio::test]
async fn a_life_whose_first_record_is_not_stored_does_not_begin() {
    for (told, begins) in [(Some(true), true), (Some(false), false), (None, false)] {
        let (committed, mut commits) = mpsc::unbounded_channel();
        told.into_iter().for_each(|ok| committed.send((target::Ticket(0), ok)).unwrap());
        drop(committed);
        let stored = stored(&mut commits, Path::new("/state")).await;
        assert_eq!(stored.is_ok(), begins, "{stored:?}");
    }
}

/// Memory that takes nothing more once it is full.
#[derive(Debug)]
struct Disk(InMemoryBackend, Arc<AtomicBool>);

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.1.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.write(offset, data)
    }
}

fn config(dir: &Path) -> Config {
    let backend = "mem:1M".parse().unwrap();
    Config {
        node: "stor".into(),
        listen: vec![Addr::Unix(dir.join("stor.sock"))],
        nbd: Vec::new(),
        state_dir: dir.join("state"),
        admin: AdminAddr::unix(dir.join("admin.sock")),
        resources: vec![ResourceConfig { name: "db1".into(), backend }],
        threads: NonZeroUsize::MIN,
        pause_timeout: Duration::from_secs(60),
        on_pause_timeout: None,
        reboot_command: String::new(),
        barrier: Duration::ZERO,
        silence: Duration::from_secs(8),
        vsock_peers: Admitted::default(),
        insecure: false,
    }
}

/// [PAUSE-5] The disk of the state is full from the moment on at which its database is open: nobody is served.
#[tokio::test]
async fn a_target_whose_disk_is_full_does_not_serve() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut media = Media::open(&config, InstanceId([1; 16]), true).unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk(InMemoryBackend::new(), Arc::clone(&full));
    media.database = redb::Database::builder().create_with_backend(disk).unwrap();
    full.store(true, SeqCst);
    let sockets = Sockets::open(&config, Vec::new()).await.unwrap();
    let mut signals = Signals::new(&config.node).unwrap();
    let before = Before { predecessor: &mut None, trouble: None, lived: false };
    let told = |moment: Moment<'_>| {
        assert!(!matches!(moment, Moment::Serving(_)), "it serves what no record says");
    };
    let (local, instance) = (LocalSet::new(), InstanceId([1; 16]));
    let life = live(&config, instance, media, &sockets, before, &mut signals, &told);
    let Err(error) = local.run_until(life).await else { panic!("it has lived") };
    assert!(matches!(error, RunError::State(StoreError::Directory { .. })), "{error}");
}

/// [PAUSE-9] Whoever takes a target's place finds the state of its attachments to others free, before anything else of this
/// process has ended.
#[tokio::test]
async fn a_life_that_has_ended_has_let_go_of_its_attachments() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let nobody = dir.path().join("nobody.sock");
    let above = format!("lull+unix:///db1?socket={}", nobody.display());
    config.resources[0].backend = above.parse().unwrap();
    let instance = InstanceId([1; 16]);
    let media = Media::open(&config, instance, true).unwrap();
    let sockets = Sockets::open(&config, Vec::new()).await.unwrap();
    let mut signals = Signals::new(&config.node).unwrap();
    let before = Before { predecessor: &mut None, trouble: None, lived: false };
    let told = |_: Moment<'_>| {};
    let local = LocalSet::new();
    let ended = local.run_until(async {
        let life = live(&config, instance, media, &sockets, before, &mut signals, &told);
        let client = lull_admin::Client::at(config.admin.clone());
        let order = RestartOrder { kind: RestartKind::Stop, ..RestartOrder::default() };
        let (ended, ordered) = tokio::join!(life, client.restart(&order));
        ordered.unwrap();
        ended
    });
    let _ended = ended.await.unwrap_or_else(|error| panic!("{error}"));
    // What is its own goes with the process's other tasks.
    let heir = Config { state_dir: dir.path().join("heir"), ..config.clone() };
    std::fs::create_dir(&heir.state_dir).unwrap();
    let [theirs, ours] = [&config, &heir].map(|config| config.state_dir.join("upstream"));
    std::os::unix::fs::symlink(theirs, ours).unwrap();
    Media::open(&heir, instance, false).map(drop).unwrap();
}
