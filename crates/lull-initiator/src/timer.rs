//! The one timer of an attachment.

use std::cell::Cell;
use std::rc::Rc;

use lull_proto::MonoTime;
use tokio::sync::Notify;

use crate::attachment::Attachment;

/// When the timer's task wakes. Requests move the machine's deadline away again and again; only one that comes
/// nearer disturbs the task.
#[derive(Debug, Default)]
pub struct Alarm {
    asleep_until: Cell<Option<MonoTime>>,
    nearer: Notify,
}

impl Alarm {
    /// The machine's deadline is now this.
    #[inline]
    pub fn set(&self, deadline: Option<MonoTime>) {
        let nearer = match (deadline, self.asleep_until.get()) {
            (Some(at), Some(until)) => at < until,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if nearer {
            self.asleep_until.set(deadline);
            self.nearer.notify_one();
        }
    }

    /// Wakes the task, to look for itself.
    pub fn wake(&self) {
        self.nearer.notify_one();
    }
}

/// Turns of the loop without a message after which nothing is pending any more.
const QUIET_TURNS: u32 = 3;
/// Turns after which a deadline counts although messages still come.
const MOST_TURNS: u32 = 256;

/// Wakes the attachment's machine whenever its deadline has come, until it has ended.
pub async fn run(attachment: Rc<Attachment>) {
    while !attachment.has_ended() {
        let alarm = attachment.alarm();
        let deadline = attachment.deadline();
        alarm.asleep_until.set(deadline);
        let Some(at) = deadline else {
            alarm.nearer.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = alarm.nearer.notified() => continue,
            () = tokio::time::sleep_until(attachment.clock().instant(at)) => {}
        }
        listen(&attachment).await;
        attachment.tick();
    }
}

/// [TIMER-6] What has arrived is read before a deadline counts: a machine that slept with its host wakes to the
/// messages that came meanwhile.
async fn listen(attachment: &Attachment) {
    let mut quiet = 0;
    for _ in 0..MOST_TURNS {
        let heard = attachment.heard();
        tokio::task::yield_now().await;
        quiet = if attachment.heard() == heard { quiet + 1 } else { 0 };
        if quiet == QUIET_TURNS {
            return;
        }
    }
}
