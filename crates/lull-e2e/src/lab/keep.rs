//! A lab for a person: it runs until it is told to end, and does to its guests what is typed.

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::guest::{Guest, GuestBuilder};
use super::place::Lab;
use super::stock::Stock;
use crate::wait::wait_until;

/// Control and `]`, as in telnet.
const LEAVE: u8 = 0x1d;

/// How long it may take from the systems' start until the last has its disk.
const DISK: Duration = Duration::from_secs(90);

const HELP: &str = "\
cut GUEST      cut its power                 start GUEST    give it power again
reboot GUEST   have its system reboot        run GUEST LINE run a shell's line in it
freeze GUEST   stop its processors           thaw GUEST     let them go on
unplug GUEST   pull its network cable        plug GUEST     put it back
log GUEST      its kernel's log              end            end the lab";

/// Runs a target, `stor`, with a disk for each of `initiators` initiators, `web1`, `web2`, …; each has its own as
/// `/dev/nbd0`. Ends at the end of standard input, or when told.
///
/// # Errors
/// Where another lab runs already, or the terminal is gone.
pub fn keep(initiators: u8) -> Result<()> {
    let names: Vec<_> =
        (1..=initiators).map(|number| (format!("web{number}"), format!("db{number}"))).collect();
    let lab = Lab::new();
    let _running = Running::note(lab.world().path("").as_path())?;
    let mut guests = vec![target(&lab, &names).prepare()];
    guests.extend(names.iter().map(|(name, disk)| initiator(&lab, name, disk).prepare()));
    eprintln!("starting {} operating systems, some seconds each", guests.len());
    guests.iter_mut().for_each(Guest::power_on);
    guests.iter().for_each(Guest::wait_up);
    for web in &guests[1..] {
        let what = format!("{} has its disk", web.name());
        wait_until(&what, DISK, || web.run("grep -vqx 0 /sys/block/nbd0/size").status.success());
    }
    for guest in &guests {
        let name = guest.name();
        let log = lab.world().path(&format!("{name}-services.log"));
        println!(
            "{name:6} {:10} cargo xtask lab --type {name}   its daemon says: {}",
            guest.address(),
            log.display()
        );
    }
    println!("{HELP}");
    let mut lines = std::io::stdin().lock().lines();
    loop {
        print!("lab> ");
        std::io::stdout().flush()?;
        let Some(line) = lines.next().transpose()? else { return Ok(()) };
        let mut words = line.splitn(3, ' ').filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next()) {
            (None, ..) => (),
            (Some("end"), None, None) => return Ok(()),
            (Some(verb), Some(name), rest) => {
                match guests.iter_mut().find(|guest| guest.name() == name) {
                    // What does not come to pass is told, and is not the end of the lab.
                    Some(guest) => {
                        drop(catch_unwind(AssertUnwindSafe(|| disturb(guest, verb, rest))))
                    }
                    None => println!("no guest is called {name}"),
                }
            }
            _ => println!("{HELP}"),
        }
    }
}

fn target(lab: &Lab, names: &[(String, String)]) -> GuestBuilder {
    let disks = names.iter().map(|(_, disk)| format!(" {disk}=file:/data/{disk}.img,size=256M"));
    let line = format!(
        "lull target --name stor --insecure --listen tcp:0.0.0.0:10820 --state /data/state{}",
        disks.collect::<String>()
    );
    lab.guest("stor").ext4("data", 2048).memory_mib(768).service("target", &line)
}

fn initiator(lab: &Lab, name: &str, disk: &str) -> GuestBuilder {
    let line =
        format!("lull attach lull://stor/{disk} --name {name} --insecure --nbd-device /dev/nbd0");
    lab.guest(name).service("initiator", &line).before("initiator", "modprobe nbd")
}

fn disturb(guest: &mut Guest, verb: &str, line: Option<&str>) {
    match (verb, line) {
        ("start", None) if guest.has_power() => println!("it has power"),
        ("start", None) => guest.start(),
        (_, _) if !guest.has_power() => println!("it has no power"),
        ("cut", None) => guest.cut(),
        ("reboot", None) => guest.reboot(),
        ("freeze", None) => guest.freeze(),
        ("thaw", None) => guest.thaw(),
        ("unplug", None) => guest.unplug(),
        ("plug", None) => guest.plug(),
        ("log", None) => print!("{}", guest.kernel_log()),
        ("run", Some(line)) => {
            let finished = guest.run(line);
            print!("{}{}", finished.stdout, finished.stderr);
        }
        _ => println!("{HELP}"),
    }
}

/// Types at a console until `Ctrl-]`, or until the guest has no power any more.
///
/// # Errors
/// Where no such guest runs.
pub fn type_at(name: &str) -> Result<()> {
    let place = std::fs::read_link(note())
        .context("no lab runs: start one with `cargo xtask lab --keep`")?;
    let console = place.join(format!("{name}-console.sock"));
    let line = UnixStream::connect(&console).with_context(|| {
        format!("{name} has no power, or no such guest is in {}", place.display())
    })?;
    eprintln!("the console of {name}; Ctrl-] leaves it");
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal).context("standard input is no terminal")?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &raw)?;
    let end = converse(&line);
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    eprintln!();
    end
}

/// Carries bytes both ways; whichever ends first ends it.
fn converse(line: &UnixStream) -> Result<()> {
    let (mut to, mut from) = (line.try_clone()?, line.try_clone()?);
    std::thread::spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) && byte[0] != LEAVE {
            if to.write_all(&byte).is_err() {
                break;
            }
        }
        // Ends the reading below. What is shut down already is what was wanted.
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    // A prompt.
    (&*line).write_all(b"\n")?;
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut screen = std::io::stdout().lock();
        screen.write_all(&bytes[..count])?;
        screen.flush()?;
    }
    Ok(())
}

/// Where it is noted which lab runs.
fn note() -> PathBuf {
    Stock::here().path("running")
}

/// The note that a lab runs, while it does.
struct Running;

impl Running {
    fn note(place: &Path) -> Result<Self> {
        let note = note();
        if note.exists() {
            bail!(
                "a lab runs already, in {}: end it, or remove {}",
                note.read_link()?.display(),
                note.display()
            );
        }
        // What a lab that was killed has left leads nowhere.
        let _ = std::fs::remove_file(&note);
        std::os::unix::fs::symlink(place, &note)?;
        Ok(Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that is not there any more is not in the way.
        let _ = std::fs::remove_file(note());
    }
}
