//! The host below this target, as far as it says that it goes down: logind tells it before it stops anything, and waits
//! some seconds for whoever asked it to.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
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
#[derive(Clone, Default)]
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

/// The host, watched.
pub struct Host {
    news: mpsc::UnboundedReceiver<bool>,
    delay: Delay,
}

impl Host {
    /// Watches it from now on; must be called within a runtime. Where there is no D-Bus or no logind, nothing is ever
    /// heard, and a host that goes down is noticed when it ends this process.
    pub fn watch(node: &str) -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        let delay = Delay::default();
        let (node, kept) = (node.to_owned(), delay.clone());
        tokio::spawn(async move {
            if let Err(error) = listen(&node, &teller, &kept).await {
                let text = "a shutdown of this host is noticed when it ends this process";
                // In a container, or a program's own target, that is as it should be.
                match std::env::var_os("NOTIFY_SOCKET") {
                    Some(_) => tracing::info!("{text}: logind cannot be asked ({error})"),
                    None => tracing::debug!("{text}: logind cannot be asked ({error})"),
                }
            }
        });
        Self { news, delay }
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

async fn listen(node: &str, news: &mpsc::UnboundedSender<bool>, delay: &Delay) -> zbus::Result<()> {
    let bus = zbus::Connection::system().await?;
    let login = LoginProxy::new(&bus).await?;
    let mut shutdowns = login.receive_prepare_for_shutdown().await?;
    inhibit(&login, node, delay).await;
    while let Some(shutdown) = shutdowns.next().await {
        let goes = shutdown.args()?.start;
        if !goes {
            inhibit(&login, node, delay).await;
        }
        if news.send(goes).is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks for the time to pause; without it that begins at the same moment, and the host does not wait for it to end.
async fn inhibit(login: &LoginProxy<'_>, node: &str, delay: &Delay) {
    let why = "initiators pause before anything is stopped";
    match login.inhibit("shutdown", &format!("lull target {node}"), why, "delay").await {
        Ok(descriptor) => delay.set(Some(descriptor)),
        Err(error) => tracing::info!(
            "this host does not wait for a pause before it stops its services, which is when the pause comes at the \
             latest: logind refuses to ({error}); polkit lets the user of this process"
        ),
    }
}
