//! The test's end of the line to the agent in a guest.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::order::{Ask, Tell};
use crate::command::Finished;
use crate::wait::{PROMPT, wait_for};

/// The line to one life of a guest's QEMU.
#[derive(Debug)]
pub(super) struct Agent {
    guest: String,
    stream: UnixStream,
    heard: Arc<Mutex<Heard>>,
    last: u64,
}

#[derive(Debug, Default)]
struct Heard {
    boot: Option<String>,
    ended: HashMap<u64, Finished>,
}

impl Agent {
    /// Connects to the socket that a QEMU has just made, or is about to.
    pub(super) fn connect(guest: &str, socket: &Path) -> Self {
        let what = format!("the line to the agent in {guest}");
        let stream = wait_for(&what, PROMPT, || UnixStream::connect(socket).ok());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (from, into) = (stream.try_clone().expect("a descriptor"), Arc::clone(&heard));
        std::thread::spawn(move || listen(from, &into));
        Self { guest: guest.to_owned(), stream, heard, last: 0 }
    }

    /// The kernel's name of the boot whose agent was heard last.
    pub(super) fn boot(&self) -> Option<String> {
        self.heard.lock().expect("what an agent said").boot.clone()
    }

    /// Has a shell's line run.
    pub(super) fn run(&mut self, line: &str) -> Order {
        self.last += 1;
        self.say(&Ask::Run { id: self.last, line: line.to_owned() });
        let line = format!("{}: {line}", self.guest);
        Order { id: self.last, line, heard: Arc::clone(&self.heard) }
    }

    fn say(&mut self, what: &Ask) {
        let mut line = serde_json::to_string(what).expect("plain data");
        line.push('\n');
        // What a QEMU that has ended does not get is missed by whoever waits for the answer.
        let _ = self.stream.write_all(line.as_bytes());
    }
}

/// A line that runs in a guest. Where it ends is told here; dropping it leaves it alone.
#[derive(Debug)]
pub struct Order {
    id: u64,
    line: String,
    heard: Arc<Mutex<Heard>>,
}

impl Order {
    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.heard.lock().expect("what an agent said").ended.contains_key(&self.id)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come within the span: it hangs, or its guest is not there any more.
    #[track_caller]
    pub fn finish(self, within: Duration) -> Finished {
        let what = format!("the end of `{}`", self.line);
        let mut finished = wait_for(&what, within, || {
            self.heard.lock().expect("what an agent said").ended.remove(&self.id)
        });
        finished.line = self.line;
        finished
    }
}

/// Notes what is said until the line ends.
fn listen(from: UnixStream, heard: &Mutex<Heard>) {
    let mut lines = BufReader::new(from);
    let mut bytes = Vec::new();
    while matches!(lines.read_until(b'\n', &mut bytes), Ok(1..)) {
        // What a reboot has cut off is no news.
        let said = serde_json::from_slice(&bytes);
        bytes.clear();
        let mut heard = heard.lock().expect("what an agent said");
        match said {
            Ok(Tell::Here { boot }) => heard.boot = Some(boot),
            Ok(Tell::Ended { id, code, stdout, stderr }) => {
                let status = ExitStatus::from_raw((code & 0xff) << 8);
                heard.ended.insert(id, Finished { line: String::new(), status, stdout, stderr });
            }
            Err(_) => (),
        }
    }
}
