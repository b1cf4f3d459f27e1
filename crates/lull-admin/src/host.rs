//! The host below a daemon, as far as it says that it goes down: logind tells it before it stops anything, and waits some
//! seconds for whoever asked it to.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use zbus::OwnedFd;

/// What logind is asked for.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    /// As long as the descriptor is open, what is inhibited waits.
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
    /// The host is about to go down, or has called it off.
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

/// The descriptor because of which a host that goes down waits.
#[derive(Clone, Debug, Default)]
pub struct Delay(Arc<Mutex<Option<OwnedFd>>>);

impl Delay {
    /// It need not wait any more.
    pub fn end(&self) {
        self.set(None);
    }

    fn set(&self, descriptor: Option<OwnedFd>) {
        if let Ok(mut kept) = self.0.lock() {
            *kept = descriptor;
        }
    }
}

/// What a host is asked to wait for.
#[derive(Clone, Debug)]
pub struct Reason {
    /// Who asks, for people.
    pub who: String,
    /// Why, for people.
    pub why: &'static str,
}

/// The host, watched until this is dropped.
#[derive(Debug)]
pub struct HostWatch {
    news: mpsc::UnboundedReceiver<bool>,
    delay: Delay,
    task: JoinHandle<()>,
}

impl HostWatch {
    /// Watches it from now on; must be called within a runtime. `reason`: it is asked to wait some seconds before it stops
    /// anything. Where there is no D-Bus or no logind, nothing is ever heard, and a host that goes down is noticed when
    /// it ends this process; `troubled` is told why, in a sentence.
    pub fn start(reason: Option<Reason>, troubled: fn(&str)) -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        let delay = Delay::default();
        let kept = delay.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = listen(reason.as_ref(), troubled, &teller, &kept).await {
                let text = "a shutdown of this host is noticed when it ends this process";
                troubled(&format!("{text}: logind cannot be asked ({error})"));
            }
        });
        Self { news, delay, task }
    }

    /// The next that it says: true, it goes down; false, it stays after all.
    pub async fn next(&mut self) -> bool {
        match self.news.recv().await {
            Some(goes) => goes,
            None => std::future::pending().await,
        }
    }

    /// What it waits for.
    pub fn delay(&self) -> Delay {
        self.delay.clone()
    }
}

impl Drop for HostWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    reason: Option<&Reason>,
    troubled: fn(&str),
    news: &mpsc::UnboundedSender<bool>,
    delay: &Delay,
) -> zbus::Result<()> {
    let bus = zbus::Connection::system().await?;
    let login = LoginProxy::new(&bus).await?;
    let mut shutdowns = login.receive_prepare_for_shutdown().await?;
    inhibit(&login, reason, troubled, delay).await;
    while let Some(shutdown) = shutdowns.next().await {
        let goes = shutdown.args()?.start;
        if !goes {
            inhibit(&login, reason, troubled, delay).await;
        }
        if news.send(goes).is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks for the time to pause; without it that begins at the same moment, and the host does not wait for it to end.
async fn inhibit(
    login: &LoginProxy<'_>,
    reason: Option<&Reason>,
    troubled: fn(&str),
    delay: &Delay,
) {
    let Some(Reason { who, why }) = reason else { return };
    match login.inhibit("shutdown", who, why, "delay").await {
        Ok(descriptor) => delay.set(Some(descriptor)),
        Err(error) => troubled(&format!(
            "this host does not wait for a pause before it stops its services, which is when the pause comes at the \
             latest: logind refuses to ({error}); polkit lets the user of this process"
        )),
    }
}
