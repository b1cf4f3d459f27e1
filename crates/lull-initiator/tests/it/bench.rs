//! The daemon under test: started in this process, stopped by hand.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use lull_admin::{
    Access, AdminAddr, AttachmentStatus, Client, Event, EventItem, EventStream, Place, ResourceUri,
};
use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::Connection;
use lull_initiator::{AttachmentConfig, Config, Keeping, Policy, RunError, ShutdownConfig};
use lull_transport::Addr;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test's body where tasks of one thread can be spawned; it fails where it takes too long.
pub fn on_one_thread(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(180), body).await };
    LocalSet::new().block_on(&runtime, bounded).expect("within three minutes");
}

/// One attachment `db1` of the target in `dir`.
pub fn config(dir: &Path) -> Config {
    let place = Place::Unix { path: dir.join("target.sock") };
    Config {
        node: "web-1".into(),
        state_dir: dir.join("state"),
        admin: AdminAddr::unix(dir.join("admin.sock")),
        silence: Duration::from_secs(5),
        keeping: Keeping::Nowhere,
        shutdown: ShutdownConfig {
            command: "false".into(),
            deadline: Duration::from_secs(5),
            last_resort: None,
        },
        going_down_timeout: Duration::from_secs(30),
        callback: None,
        attachments: vec![AttachmentConfig {
            name: "db1".into(),
            uri: ResourceUri { place, resource: "db1".into() },
            fuse: None,
            vhost_user: None,
            nbd_device: None,
            ublk: None,
            nbd: vec![Addr::Unix(dir.join("nbd.sock"))],
            access: Access::Rw,
            policy: Policy::Wait,
            hook_limit: Duration::from_secs(60),
            restart_timeout: Duration::from_secs(600),
            resume_timeout: Duration::from_secs(60),
            hold: None,
            retain: 1 << 20,
            take_over: false,
            adopt: false,
        }],
    }
}

/// A daemon at work.
pub struct Daemon {
    pub admin: Client,
    pub events: EventStream,
    nbd: Addr,
    stop: mpsc::UnboundedSender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Daemon {
    /// Starts it; nothing needs to be there yet.
    pub async fn start(config: Config) -> Self {
        let admin = Client::at(config.admin.clone());
        let nbd = config.attachments[0].nbd[0].clone();
        let (stop, stops) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(lull_initiator::serve(config, stops, |_| {}));
        let events = loop {
            assert!(!task.is_finished(), "it did not start: {:?}", task.await);
            match admin.events(None).await {
                Ok(events) => break events,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        Self { admin, events, nbd, stop, task }
    }

    /// Waits until `what` happens.
    pub async fn event(&mut self, what: &str) -> Event {
        loop {
            let item = tokio::time::timeout(Duration::from_secs(20), self.events.next()).await;
            let item = item.unwrap_or_else(|_| panic!("no `{what}`"));
            match item {
                Some(EventItem::Event(event)) if event.what == what => return *event,
                Some(_) => {}
                None => panic!("the daemon ended before `{what}`"),
            }
        }
    }

    /// A consumer.
    pub async fn consumer(&self) -> Connection {
        let uri = Uri { addr: self.nbd.clone(), export: "db1".into() };
        Connection::connect(&uri).await.unwrap()
    }

    /// How the attachment stands.
    pub async fn status(&self) -> AttachmentStatus {
        let status = self.admin.status().await.unwrap();
        status.initiator.unwrap().attachments.remove(0)
    }

    /// As a signal does.
    pub fn stop(&self) {
        self.stop.send(()).unwrap();
    }

    /// How it ended.
    pub async fn ended(self) -> Result<(), RunError> {
        self.task.await.unwrap()
    }
}
