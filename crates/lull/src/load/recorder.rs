//! A load's history on its way to a file: lines are made where requests begin and end, and written by a thread of their
//! own, so that the load does not wait for the medium.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lull_history::file::{self, Event};

use super::clock::now;

/// Bytes that are handed over together.
const CHUNK: usize = 256 << 10;

/// Chunks on their way; beyond it the load waits, and its report says for how long.
const MOST_CHUNKS: usize = 64;

/// What a record came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Lines.
    pub lines: u64,
    /// For how long the load waited for the file.
    pub waited: Duration,
}

/// A record that is written.
#[derive(Debug)]
pub struct Recorder {
    begun: Instant,
    text: String,
    so_far: Recorded,
    /// `None` once the file has failed.
    to: Option<SyncSender<String>>,
    /// Empty chunks come back, so that none is allocated while the load runs.
    back: Receiver<String>,
    writer: JoinHandle<io::Result<()>>,
}

impl Recorder {
    /// Makes the file, which must not exist, and begins with `head`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, head: &str) -> io::Result<Self> {
        let mut file = File::create_new(path)?;
        let (to, chunks) = sync_channel::<String>(MOST_CHUNKS);
        let (empty, back) = sync_channel(MOST_CHUNKS);
        let writer =
            std::thread::Builder::new().name("lull-record".to_owned()).spawn(move || {
                for mut chunk in chunks {
                    file.write_all(chunk.as_bytes())?;
                    chunk.clear();
                    // Where enough are on their way already, one less is needed.
                    let _ = empty.try_send(chunk);
                }
                Ok(())
            })?;
        let so_far = Recorded { lines: 2, waited: Duration::ZERO };
        let mut text = String::with_capacity(CHUNK + 4096);
        text.push_str(head);
        Ok(Self { begun: now(), text, so_far, to: Some(to), back, writer })
    }

    /// Adds a line.
    pub fn record(&mut self, event: &Event) {
        if self.to.is_none() {
            return;
        }
        let micros = now().saturating_duration_since(self.begun).as_micros();
        file::write(&mut self.text, u64::try_from(micros).unwrap_or(u64::MAX), event);
        self.so_far.lines += 1;
        if self.text.len() >= CHUNK {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let Some(to) = &self.to else { return };
        let empty = self.back.try_recv().unwrap_or_else(|_| String::with_capacity(CHUNK + 4096));
        let chunk = std::mem::replace(&mut self.text, empty);
        let sent = match to.try_send(chunk) {
            Err(TrySendError::Full(chunk)) => {
                let since = now();
                let sent = to.send(chunk).is_ok();
                self.so_far.waited += now().saturating_duration_since(since);
                sent
            }
            tried => tried.is_ok(),
        };
        if !sent {
            self.to = None; // The writer has failed; its error is told in the end.
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// The file could not be written.
    pub fn finish(mut self) -> io::Result<Recorded> {
        self.hand_over();
        drop(self.to.take());
        match self.writer.join() {
            Ok(written) => written.map(|()| self.so_far),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_history::Op;

    #[test]
    fn every_line_arrives_and_what_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history");
        let event = Event::Begin { id: 1, by: 1, op: Op::Read { first: 0, count: 1 } };
        let mut recorder = Recorder::create(&path, "one\ntwo\n").unwrap();
        (0..100_000).for_each(|_| recorder.record(&event));
        let recorded = recorder.finish().unwrap();
        assert_eq!(recorded.lines, 100_002);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100_002);
        let again = Recorder::create(&path, "").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }
}
