//! What the kernel calls a block device: its world-wide name, that of a logical volume, or its serial number.

use std::fs;
use std::path::Path;

/// What a device without any of them is called.
pub(super) const NAMELESS: &str = "a block device without a name of its own";
/// No name is longer; what is longer is cut off.
const LONGEST: usize = 256;
/// Where a disk's name may be, the best first.
const NAMES: [&str; 4] = ["wwid", "device/wwid", "dm/uuid", "serial"];

/// The name of the device of this number, below the root of a `sysfs`; a partition's is that of its disk, with where it
/// begins. `None` where it has none.
pub(super) fn name(sys: &Path, number: u64) -> Option<String> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = fs::canonicalize(sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
    let Some(partition) = read(&device.join("partition")) else { return disk(&device) };
    let start = read(&device.join("start")).unwrap_or_default();
    Some(format!("{} partition {partition} at {start}", disk(device.parent()?)?))
}

fn disk(device: &Path) -> Option<String> {
    NAMES.iter().find_map(|name| read(&device.join(name)))
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST)]);
    let words: Vec<_> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// [SAFE-8] The best name there is; a partition is known by its disk and its beginning.
    #[test]
    fn devices_are_known_by_their_world_wide_name_their_volume_or_their_serial_number() {
        let sys = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = sys.path().join("devices").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("nvme0n1/wwid", "eui.0025388b710116a6\n");
        file("nvme0n1/nvme0n1p2/partition", "2\n");
        file("nvme0n1/nvme0n1p2/start", "1050624\n");
        file("sda/device/wwid", "t10.ATA     QEMU   HARDDISK\n");
        file("sda/serial", "less\n");
        file("dm-0/dm/uuid", "LVM-abc\n");
        file("vda/serial", "disk-1");
        file("loop0/size", "1");
        fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        let expected = [
            ("nvme0n1", Some("eui.0025388b710116a6")),
            ("nvme0n1/nvme0n1p2", Some("eui.0025388b710116a6 partition 2 at 1050624")),
            ("sda", Some("t10.ATA QEMU HARDDISK")),
            ("dm-0", Some("LVM-abc")),
            ("vda", Some("disk-1")),
            ("loop0", None),
        ];
        for (minor, (device, expected)) in expected.into_iter().enumerate() {
            let link = sys.path().join(format!("dev/block/259:{minor}"));
            symlink(sys.path().join("devices").join(device), link).unwrap();
            let number = rustix::fs::makedev(259, minor as u32);
            assert_eq!(name(sys.path(), number).as_deref(), expected, "{device}");
        }
        assert_eq!(name(sys.path(), rustix::fs::makedev(1, 1)), None);
    }
}
