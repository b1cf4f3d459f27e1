//! One `/dev/ublkbN`: made, taken over from a server that has died, deleted.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::abi::{self, INFO, Info, MOST_BLOCK, State, control};
use super::kernel::Control;
use super::queue::Queue;
use crate::nbd::Geometry;

/// The longest read or write. The kernel cuts what is longer.
const LONGEST: u32 = 1 << 20;
/// After how many milliseconds the kernel looks after a request that is not answered.
const LOOK_AFTER_MS: u32 = 1000;
/// How long one try to take a device over waits for the server before to be gone, for the kernel: looks, and the time
/// between them.
const LOOKS: u32 = 300;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Which device is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Number {
    /// The one that an earlier life had, or the first that is free.
    Any,
    /// `/dev/ublkbN`.
    This(u32),
}

impl std::str::FromStr for Number {
    type Err = UblkError;

    /// The path of a device, or `auto`.
    fn from_str(text: &str) -> Result<Self, UblkError> {
        if text == "auto" {
            return Ok(Self::Any);
        }
        let number = text.strip_prefix("/dev/ublkb");
        let plain = number.filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        // The kernel has a million of them at most.
        let number = plain.and_then(|number| number.parse().ok()).filter(|n: &u32| *n < 1 << 20);
        number.map(Self::This).ok_or_else(|| UblkError::Name(text.to_owned()))
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("auto"),
            Self::This(number) => write!(f, "/dev/ublkb{number}"),
        }
    }
}

/// Why there is no device. The text names the next step.
#[derive(Debug, thiserror::Error)]
pub enum UblkError {
    /// Another kind of path.
    #[error("`{0}` is no device of the kernel's ublk: name one, as in /dev/ublkb0, or auto")]
    Name(String),
    /// The module is not loaded.
    #[error(
        "this kernel has no ublk: load its module with `modprobe ublk_drv` (Linux 6.5 or later), or use nbd-device"
    )]
    NoModule,
    /// Another one's.
    #[error("{0} is in use already, by pid {1}: name another one, or end that use")]
    Taken(Number, i32),
    /// The server before is not gone for the kernel.
    #[error("{0} waits for this process, and {who}", who = predecessor(*.1))]
    Kept(Number, i32),
    /// Blocks that the kernel cannot have.
    #[error("{0} cannot have blocks of {1} bytes: the kernel takes 512 to 4096; use nbd or fuse")]
    Block(Number, u32),
    /// What the kernel says.
    #[error("{0} cannot be {1}: {2}; it takes root, and Linux 6.5 or later")]
    Refused(Number, &'static str, io::Error),
}

/// What stands in the way of a device's next server, as a clause, with what to look at.
fn predecessor(pid: i32) -> String {
    if Path::new(&format!("/proc/{pid}")).exists() {
        format!(
            "pid {pid}, which has served it, has not yet let it go (if that one should have ended: what it hangs in is in \
             /proc/{pid}/stack)"
        )
    } else {
        format!(
            "the kernel is not yet done with the end of pid {pid}, which has served it (its log tells what it hangs in after \
             `echo w > /proc/sysrq-trigger`; if it stays so, only a reboot of this host helps)"
        )
    }
}

/// A device whose queue is to be served and which is not started yet, or again.
#[derive(Debug, Clone)]
pub struct BlockDevice {
    number: u32,
    waited: bool,
    path: PathBuf,
}

impl BlockDevice {
    /// Makes a device, or takes over the one that an earlier life of the same `mark` has left. To be called where
    /// blocking hurts nobody.
    ///
    /// # Errors
    /// What stands in the way. After [`UblkError::Kept`], which comes after some seconds, it can be tried again.
    pub fn open(wanted: Number, mark: u64, geometry: &Geometry) -> Result<BlockDevice, UblkError> {
        if geometry.block > MOST_BLOCK {
            return Err(UblkError::Block(wanted, geometry.block));
        }
        let mut control = Control::open().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => UblkError::NoModule,
            _ => UblkError::Refused(wanted, "had", error),
        })?;
        match find(&mut control, wanted, mark) {
            Some(info) if info.mark != mark => Err(UblkError::Taken(wanted, info.pid)),
            Some(info) if info.state == State::Dead => {
                // Somebody died before it was ever used.
                ask(&mut control, control::DELETE, info.device, 0, "deleted")?;
                make(&mut control, wanted, mark, geometry)
            }
            Some(info) => take_over(&mut control, &info),
            None => make(&mut control, wanted, mark, geometry),
        }
    }

    /// The one that an earlier life of the same `mark` has left; it is not taken over. To be called where blocking hurts
    /// nobody.
    pub fn left(wanted: Number, mark: u64) -> Option<BlockDevice> {
        let mut control = Control::open().ok()?;
        let found = find(&mut control, wanted, mark).filter(|info| info.mark == mark);
        found.map(|info| made(info.device, true))
    }

    /// Where it is, once it was started.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier life has left it.
    pub fn has_waited(&self) -> bool {
        self.waited
    }

    /// Opens its queue, and has the kernel wait there; must be called within a tokio runtime, by the thread that is to
    /// serve it.
    ///
    /// # Errors
    /// What the system says.
    pub fn queue(&self) -> Result<Queue, UblkError> {
        let path = PathBuf::from(format!("/dev/ublkc{}", self.number));
        Queue::open(path).map_err(|error| self.refused("served", error))
    }

    /// Starts it, or lets its users go on: they may ask from here on. Returns when its queue is served, so that it is
    /// called beside [`serve`](super::serve()), where blocking hurts nobody.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(&self) -> Result<(), UblkError> {
        let command = if self.waited { control::END_RECOVERY } else { control::START };
        self.ask(command, u64::from(std::process::id()), "started")
    }

    /// Sets how soon the kernel looks after requests that are not answered. It does nothing about them, as long as their
    /// server lives; but that is how it finds the death of one that had as many as there can be. To be called beside
    /// [`serve`](super::serve()), where blocking hurts nobody: the kernel may wait for all that is in flight first.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn tune(&self) -> Result<(), UblkError> {
        let attribute = format!("/sys/block/ublkb{}/queue/io_timeout", self.number);
        let now = std::fs::read_to_string(&attribute).ok();
        let now = now.and_then(|value| value.trim().parse::<u32>().ok());
        if now.is_some_and(|now| now <= LOOK_AFTER_MS) {
            return Ok(());
        }
        std::fs::write(attribute, LOOK_AFTER_MS.to_string())
            .map_err(|error| self.refused("set up in /sys", error))
    }

    /// Stops it: who uses it gets errors from here on. Returns when its queue has ended, so that it is called beside
    /// [`serve`](super::serve()), where blocking hurts nobody.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stop(&self) -> Result<(), UblkError> {
        self.ask(control::STOP, 0, "stopped")
    }

    /// Deletes it. Its queue must be closed. To be called where blocking hurts nobody.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delete(self) -> Result<(), UblkError> {
        self.ask(control::DELETE, 0, "deleted")
    }

    fn ask(&self, command: u32, data: u64, what: &'static str) -> Result<(), UblkError> {
        let mut control = Control::open().map_err(|error| self.refused(what, error))?;
        ask(&mut control, command, self.number, data, what)
    }

    fn refused(&self, what: &'static str, error: io::Error) -> UblkError {
        UblkError::Refused(Number::This(self.number), what, error)
    }
}

fn made(number: u32, waited: bool) -> BlockDevice {
    BlockDevice { number, waited, path: Number::This(number).to_string().into() }
}

fn make(
    control: &mut Control,
    wanted: Number,
    mark: u64,
    geometry: &Geometry,
) -> Result<BlockDevice, UblkError> {
    let geometry = geometry.clone().bounded();
    let device = match wanted {
        Number::Any => abi::ANY,
        Number::This(number) => number,
    };
    // In whole pages, which requests are made of.
    let longest = (geometry.max_length.min(LONGEST) >> 12 << 12).max(4096);
    let pid = std::process::id() as i32;
    let mut bytes = Info { device, longest, state: State::Dead, pid, mark }.encode();
    let refused = |what, error| UblkError::Refused(wanted, what, error);
    control.ask(control::ADD, device, &mut bytes, 0).map_err(|error| refused("made", error))?;
    let Info { device, longest, .. } = Info::decode(&bytes);
    let mut parameters = abi::parameters(&geometry, longest);
    let described = control.ask(control::SET_PARAMETERS, device, &mut parameters, 0);
    if let Err(error) = described {
        let _ = control.ask(control::DELETE, device, &mut [], 0);
        return Err(refused("described", error));
    }
    Ok(made(device, false))
}

fn take_over(control: &mut Control, found: &Info) -> Result<BlockDevice, UblkError> {
    let (device, number) = (found.device, Number::This(found.device));
    for _ in 0..LOOKS {
        // The command below waits for the kernel's own work on the end of the server before, without end and beyond any
        // signal; this one does not, so that whoever waits can still say so.
        let state = info(control, device).map(|info| info.state);
        std::thread::sleep(LOOK_EVERY);
        // One look later that work is over, too: its last step, behind the new state, ends the commands of whoever serves.
        if state != Some(State::Waits) {
            continue;
        }
        match control.ask(control::START_RECOVERY, device, &mut [], 0) {
            Ok(()) => return Ok(made(device, true)),
            // Somebody has begun to take it over, and died before it served: it is as we would have it.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                return Ok(made(device, true));
            }
            // The queue is not closed yet.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {}
            Err(error) => return Err(UblkError::Refused(number, "taken over", error)),
        }
    }
    Err(UblkError::Kept(number, found.pid))
}

/// Gives a command that takes no more than a number.
fn ask(
    control: &mut Control,
    command: u32,
    device: u32,
    data: u64,
    what: &'static str,
) -> Result<(), UblkError> {
    let asked = control.ask(command, device, &mut [], data);
    asked.map_err(|error| UblkError::Refused(Number::This(device), what, error))
}

/// The device that is meant; where it is named it may be another one's.
fn find(control: &mut Control, wanted: Number, mark: u64) -> Option<Info> {
    match wanted {
        Number::This(number) => info(control, number),
        Number::Any => all(control).into_iter().find(|info| info.mark == mark),
    }
}

fn info(control: &mut Control, number: u32) -> Option<Info> {
    let mut bytes = [0; INFO];
    control.ask(control::GET_INFO, number, &mut bytes, 0).ok()?;
    Some(Info::decode(&bytes))
}

/// All devices that there are.
fn all(control: &mut Control) -> Vec<Info> {
    let names = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let numbers =
        names.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("ublkc")?.parse().ok());
    numbers.filter_map(|number| info(control, number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_devices_of_ublk_are_taken() {
        assert_eq!("/dev/ublkb3".parse::<Number>().unwrap(), Number::This(3));
        assert_eq!("auto".parse::<Number>().unwrap(), Number::Any);
        for wrong in ["/dev/ublkb", "/dev/ublkb0p1", "/dev/ublkc0", "0", "/dev/ublkb4294967295"] {
            assert!(wrong.parse::<Number>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_device_whose_blocks_the_kernel_cannot_have_is_refused_by_name() {
        let geometry = Geometry {
            size: 1 << 20,
            block: 8192,
            preferred: 8192,
            max_length: 1 << 20,
            read_only: false,
            discard: true,
            write_zeroes: true,
            fast_zeroes: true,
            cache: true,
            extents: true,
            multi_conn: true,
            description: String::new(),
        };
        let refused = BlockDevice::open(Number::Any, 1, &geometry);
        assert!(matches!(refused, Err(UblkError::Block(Number::Any, 8192))), "{refused:?}");
    }
}
