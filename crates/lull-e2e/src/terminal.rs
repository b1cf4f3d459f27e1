//! The command at a terminal, with somebody who types.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::wait::{PROMPT, wait_for, wait_until};

/// A command at a terminal of 100 columns; it is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    screen: File,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Starts a command at a terminal of its own.
    pub fn start(mut command: Command) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&screen).expect("a terminal of ours");
        unlockpt(&screen).expect("a terminal that is open");
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&screen, size).expect("a terminal's size");
        let name = ptsname(&screen, Vec::new()).expect("a terminal's name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = File::from(rustix::fs::open(&name, flags, Mode::empty()).expect("its other end"));
        let clone = |file: &File| file.try_clone().expect("a descriptor");
        command.stdin(clone(&end)).stdout(clone(&end)).stderr(Stdio::from(end));
        let child = command.spawn().expect("a command at a terminal");
        // It keeps the terminal's other end, without which reading would not end.
        drop(command);
        let screen = File::from(screen);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reading, filling) = (clone(&screen), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal without anybody at its other end gives EIO.
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                filling.lock().expect("what was seen").push_str(&text);
            }
        });
        Self { child, screen, seen }
    }

    /// Everything that was drawn so far.
    pub fn seen(&self) -> String {
        self.seen.lock().expect("what was seen").clone()
    }

    /// Waits until `text` has been drawn.
    ///
    /// # Panics
    /// Where it has not within [`PROMPT`].
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let what = format!("\"{text}\" on the terminal");
        wait_until(&what, PROMPT, || self.seen().contains(text));
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        self.screen.write_all(format!("{line}\n").as_bytes()).expect("a terminal takes a line");
    }

    /// Waits for the command's end.
    ///
    /// # Panics
    /// Where it does not come within the span.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        wait_for("the end of a command at a terminal", within, || {
            self.child.try_wait().expect("waiting for a child")
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
