//! What happened, told to operators.

use std::cell::RefCell;

use lull_admin::{Event, EventFeed, EventLog, EventPosition};

use crate::clock::Clock;

/// The stream of events of this life, one line each.
#[derive(Debug)]
pub struct Chronicle {
    clock: Clock,
    log: RefCell<EventLog>,
}

impl Chronicle {
    /// An empty one.
    pub fn new(clock: Clock, node: &str, instance: &str) -> Self {
        Self { clock, log: RefCell::new(EventLog::new(node, instance)) }
    }

    /// Tells that `what` happened to `subject`: a word for programs, a sentence for people.
    pub fn record(&self, subject: &str, what: &str, text: String, restart: Option<u64>) {
        let told = self.keep(subject, what, text, restart);
        tracing::info!("{told}");
    }

    /// The same of what people have to know: a quiet daemon tells it too.
    pub fn warn(&self, subject: &str, what: &str, text: String) -> Event {
        let told = self.keep(subject, what, text, None);
        tracing::warn!("{told}");
        told
    }

    fn keep(&self, subject: &str, what: &str, text: String, restart: Option<u64>) -> Event {
        let event = Event::new(self.clock.wall_ms(), subject, what, text);
        let event = match restart {
            Some(id) if id != 0 => event.in_restart(id),
            _ => event,
        };
        self.log.borrow_mut().record(event)
    }

    /// The time of day, in Unix milliseconds.
    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Tells that an alert begins, or is over.
    pub fn alert(&self, event: Event) {
        let told = self.log.borrow_mut().record(event);
        tracing::warn!("{told}");
    }

    /// What is told elsewhere as well: only a daemon that tells more says it.
    pub fn detail(&self, subject: &str, what: &str, text: String) {
        let told = self.keep(subject, what, text, None);
        tracing::debug!("{told}");
    }

    /// The recent past after `after`, and the stream.
    pub fn feed(&self, after: Option<&EventPosition>) -> EventFeed {
        self.log.borrow().feed(after)
    }
}
