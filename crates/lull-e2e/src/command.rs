//! The command, run to its end.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wait::wait_for;

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it was called.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself, if its exit status is `code`.
    ///
    /// # Panics
    /// On another exit status, with everything that it said.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        let Self { line, status, stdout, stderr } = &self;
        assert_eq!(status.code(), Some(code), "`{line}`: {status}\n{stdout}\n{stderr}");
        self
    }

    /// Itself, if it succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// Its standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}`: {error} in\n{}", self.line, self.stdout))
    }

    /// Itself, if its standard error holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let Self { line, stderr, .. } = &self;
        assert!(stderr.contains(text), "`{line}` does not say \"{text}\":\n{stderr}");
        self
    }
}

/// A command that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it without anything to read.
    pub fn start(mut command: Command) -> Self {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        let line = format!("{} {}", command.get_program().to_string_lossy(), words.join(" "));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {line}: {error}"));
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { line, child, stdout, stderr }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("waiting for a child").is_some()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it does not come within the span.
    #[track_caller]
    pub fn finish(mut self, within: Duration) -> Finished {
        let what = format!("the end of `{}`", self.line);
        let status =
            wait_for(&what, within, || self.child.try_wait().expect("waiting for a child"));
        let join = |thread: Option<JoinHandle<String>>| {
            thread.map(|thread| thread.join().expect("reading an output")).unwrap_or_default()
        };
        let (stdout, stderr) = (join(self.stdout.take()), join(self.stderr.take()));
        Finished { line: std::mem::take(&mut self.line), status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what can be shown.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
