//! Block devices and file systems of a test's own, on files. They need root.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::world::World;

/// Makes a device of file `$1`, with its file system mounted at `$2` if that is not empty, a new one if `$3` is not; says
/// its name, and takes all back when its input ends, which it does however the test ends.
const KEEPER: &str = r#"
set -e
device=$(losetup --find --show "$1")
# Whoever made a mount namespace meanwhile has a copy of the mount: the file is in use until that ends.
end() {
    losetup --detach "$device"
    tries=0
    while [ $tries -lt 300 ] && [ "$(cat "/sys/block/${device##*/}/loop/backing_file" 2>/dev/null)" = "$1" ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
}
trap 'end "$1"' EXIT
if [ -n "$2" ]; then
    [ -z "$3" ] || mkfs.ext4 -q -F "$device"
    mount "$device" "$2"
fi
echo "$device"
cat >/dev/null
tries=0
while [ -n "$2" ] && ! umount "$2" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { umount --lazy "$2"; break; }
    sleep 0.1
done
"#;

/// A loop device, perhaps with a file system on it; gone when this is dropped. Whoever uses it is declared after it.
#[derive(Debug)]
pub struct LoopDevice {
    keeper: Child,
    device: PathBuf,
    mounted: PathBuf,
}

impl LoopDevice {
    /// A device of this many bytes, all zeroes.
    ///
    /// # Panics
    /// Where it cannot be made, with what is lacking.
    #[track_caller]
    pub fn new(world: &World, name: &str, bytes: u64) -> Self {
        Self::start(&zeroes(world, name, bytes), "", "")
    }

    /// The same with an empty ext4 on it, mounted at [`LoopDevice::path`].
    ///
    /// # Panics
    /// Where it cannot be made, with what is lacking.
    #[track_caller]
    pub fn ext4(world: &World, name: &str, bytes: u64) -> Self {
        Self::ext4_on(world, name, &zeroes(world, name, bytes))
    }

    /// The same on a file that is there.
    ///
    /// # Panics
    /// Where it cannot be made, with what is lacking.
    #[track_caller]
    pub fn ext4_on(world: &World, name: &str, file: &Path) -> Self {
        Self::start(file, &place(world, name), "new")
    }

    /// The file system that is on the file, mounted at [`LoopDevice::path`].
    ///
    /// # Panics
    /// Where it cannot be, with what is lacking.
    #[track_caller]
    pub fn mounted(world: &World, name: &str, file: &Path) -> Self {
        Self::start(file, &place(world, name), "")
    }

    #[track_caller]
    fn start(file: &Path, mounted: &str, new: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "keeper"]).arg(file).args([mounted, new]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal for the test does not reach it: it ends with its input.
        let mut keeper = shell.process_group(0).spawn().expect("a shell");
        let mut device = String::new();
        if let Some(stdout) = &mut keeper.stdout {
            BufReader::new(stdout).read_line(&mut device).expect("a line");
        }
        if device.trim().is_empty() {
            let mut said = String::new();
            if let Some(stderr) = &mut keeper.stderr {
                // What came before an error is what can be shown.
                let _ = stderr.read_to_string(&mut said);
            }
            let _ = keeper.wait();
            panic!("no loop device with ext4: it needs root, losetup and mkfs.ext4: {said}");
        }
        Self { keeper, device: device.trim().into(), mounted: mounted.into() }
    }

    /// The device, or the root of its file system.
    pub fn path(&self) -> &Path {
        if self.mounted.as_os_str().is_empty() { &self.device } else { &self.mounted }
    }
}

fn place(world: &World, name: &str) -> String {
    let at = world.path(&format!("{name}.mounted"));
    std::fs::create_dir_all(&at).expect("a directory");
    at.display().to_string()
}

fn zeroes(world: &World, name: &str, bytes: u64) -> PathBuf {
    let file = world.path(&format!("{name}.loop"));
    let made = std::fs::File::create(&file).and_then(|made| made.set_len(bytes));
    made.expect("a file can be made");
    file
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It takes all back, and ends within seconds.
        let _ = self.keeper.wait();
    }
}
