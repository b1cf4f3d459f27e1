//! The connection of a load: when it is lost, it is made again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::{ConnectError, Connection, Export};
use tokio::sync::{Mutex, Notify};

/// The first wait between two attempts; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// The last wait between two attempts.
const LAST_WAIT: Duration = Duration::from_millis(100);

/// How long one attempt may take: a server that is frozen accepts connections too.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Something that happens once and stays so.
#[derive(Debug, Default)]
pub struct Flag {
    raised: Cell<bool>,
    waiting: Notify,
}

impl Flag {
    /// Makes it happen.
    pub fn raise(&self) {
        self.raised.set(true);
        self.waiting.notify_waiters();
    }

    /// Whether it has happened.
    pub fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Ends when it has happened.
    pub async fn raised(&self) {
        let waiting = self.waiting.notified();
        if !self.is_raised() {
            waiting.await;
        }
    }
}

/// A place that can be reached now or later.
#[derive(Debug)]
pub struct Link {
    uri: Uri,
    /// The connection and its number; the number tells a late report of a loss from a new loss.
    current: RefCell<Option<(u64, Connection)>>,
    made: Cell<u64>,
    dialing: Mutex<()>,
}

impl Link {
    /// Connects for the first time.
    ///
    /// # Errors
    /// Nobody answers within 5 s, or not as a server should.
    pub async fn open(uri: &Uri) -> Result<Self, ConnectError> {
        let link = Self {
            uri: uri.clone(),
            current: RefCell::new(None),
            made: Cell::new(0),
            dialing: Mutex::new(()),
        };
        link.attempt().await?;
        Ok(link)
    }

    /// What the server said when it was last connected to; `None` while it is not.
    pub fn export(&self) -> Option<Export> {
        self.current.borrow().as_ref().map(|(_, connection)| connection.export().clone())
    }

    /// The connection, made again if it was lost; `None` if `stop` is raised first.
    pub async fn connection(&self, stop: &Flag) -> Option<(u64, Connection)> {
        if let Some(current) = &*self.current.borrow() {
            return Some(current.clone());
        }
        tokio::select! {
            biased;
            () = stop.raised() => None,
            current = self.again() => Some(current),
        }
    }

    /// Connection `number` is lost. Says whether this is news.
    pub fn lost(&self, number: u64) -> bool {
        self.current.borrow_mut().take_if(|(current, _)| *current == number).is_some()
    }

    async fn again(&self) -> (u64, Connection) {
        let _one_at_a_time = self.dialing.lock().await;
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(current) = &*self.current.borrow() {
                return current.clone();
            }
            if self.attempt().await.is_err() {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LAST_WAIT);
            }
        }
    }

    async fn attempt(&self) -> Result<(), ConnectError> {
        let late = |_| ConnectError::Lost(std::io::ErrorKind::TimedOut.into());
        let dialed = tokio::time::timeout(ATTEMPT, Connection::connect(&self.uri)).await;
        let connection = dialed.map_err(late)??;
        let number = self.made.get() + 1;
        self.made.set(number);
        *self.current.borrow_mut() = Some((number, connection));
        Ok(())
    }
}
