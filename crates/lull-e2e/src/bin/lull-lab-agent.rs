//! Carries out, in a guest of the lab, what the test outside orders.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lull_e2e::lab::order::{Ask, MOST_OUTPUT, PORT, Tell};

fn main() -> anyhow::Result<()> {
    // It can be opened once.
    let port = OpenOptions::new().read(true).write(true).open(port()?)?;
    let answers = Arc::new(Mutex::new(port.try_clone()?));
    let mut lines = BufReader::new(port);
    tell(&answers, &here()?);
    let mut line = String::new();
    loop {
        // The end of what can be read is a test that is not connected yet, or not any more.
        if lines.read_line(&mut line)? == 0 {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        // What a reboot has cut off is no order.
        match serde_json::from_str(&line) {
            Ok(Ask::Who) => tell(&answers, &here()?),
            Ok(Ask::Run { id, line }) => {
                let answers = Arc::clone(&answers);
                std::thread::spawn(move || tell(&answers, &run(id, &line)));
            }
            Err(error) => eprintln!("no order: {error}"),
        }
        line.clear();
    }
}

/// The device that leads to the test.
fn port() -> anyhow::Result<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            return Ok(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    anyhow::bail!("no virtio port is named {PORT}")
}

fn here() -> anyhow::Result<Tell> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(Tell::Here { boot: boot.trim().to_owned() })
}

fn run(id: u64, line: &str) -> Tell {
    let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output();
    match output {
        Ok(Output { status, stdout, stderr }) => {
            let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
            Tell::Ended { id, code, stdout: end_of(&stdout), stderr: end_of(&stderr) }
        }
        Err(error) => {
            Tell::Ended { id, code: 127, stdout: String::new(), stderr: error.to_string() }
        }
    }
}

fn end_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MOST_OUTPUT)..]).into_owned()
}

fn tell(to: &Mutex<File>, what: &Tell) {
    let mut line = serde_json::to_string(what).expect("plain data");
    line.push('\n');
    // Nobody outside is nobody to tell.
    let _ = to.lock().expect("the port").write_all(line.as_bytes());
}
