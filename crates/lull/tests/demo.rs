//! `lull demo` from its begin to its end, and what it leaves behind. One run takes about 20 s.

#![allow(missing_docs)]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use assert_cmd::cargo::cargo_bin;

/// The demonstration in temporary files of its own below `directory`.
fn demo(directory: &Path) -> Command {
    let mut command = Command::new(cargo_bin("lull"));
    command.arg("demo").env("TMPDIR", directory).stdin(Stdio::null());
    command
}

/// Processes that have `text` in their command line.
fn processes(text: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(text)).collect()
}

fn assert_nothing_left(directory: &Path) {
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    // Its own command line does not name the directory; those of its daemons do.
    let left = processes(&directory.display().to_string());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn everything_happens_as_promised_and_nothing_is_left_behind() {
    let directory = tempfile::Builder::new().prefix("d").tempdir_in("/tmp").unwrap();
    let output = demo(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    // Kept for whoever reads a failure.
    println!("{said}{complained}");
    assert!(output.status.success());
    assert!(!said.contains('\x1b'), "no colours without a terminal");
    for message in ["PAUSE", "PAUSE COMPLETE", "HELLO", "CONNECT", "RESUME"] {
        assert!(said.contains(&format!("─ {message} ")), "{message} is drawn");
    }
    let row = |what: &str| {
        let row = said.lines().find(|line| line.starts_with('│') && line.contains(what));
        let row = row.unwrap_or_else(|| panic!("a row about: {what}"));
        let cells: Vec<&str> = row.trim_matches('│').split('│').map(str::trim).collect();
        let number = |cell: &str| cell.replace(',', "").parse::<u64>().unwrap();
        (number(cells[1]), number(cells[3]))
    };
    assert!(row("stopped and started").0 > 0);
    for part in ["a planned restart", "is given up", "the target is killed"] {
        assert_eq!(row(part).0, 0, "{part}");
    }
    assert!(row("mail waits").0 > 0);
    assert!(row("a planned restart").1 > 0, "blocks are verified");
    assert!(said.contains("As promised"));
    assert_nothing_left(directory.path());
}

/// A child that is ended with the test, whatever happens.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing_behind() {
    let directory = tempfile::Builder::new().prefix("d").tempdir_in("/tmp").unwrap();
    let mut child =
        Ending(demo(directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let text = directory.path().display().to_string();
    while processes(&text).iter().filter(|line| line.contains(" attach ")).count() < 3 {
        assert_eq!(child.0.try_wait().unwrap(), None, "it ended before its initiators started");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.0.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
    assert_nothing_left(directory.path());
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mine"), "").unwrap();
    let output = demo(directory.path()).arg("--dir").arg(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty"));
    assert!(directory.path().join("mine").exists());
}
