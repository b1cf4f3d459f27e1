//! A device as a mounted file: by the kernel's own calls, and under the field's tools.

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use lull_frontend::fuse::{Channel, Mount, MountError, Owner, ServeEnd, serve};
use lull_frontend::nbd::{Closer, Device as _, Op};
use support::{Answers, MIB, Memory, local, patterned, tool};
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// What a mount left behind.
struct Left {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    end: Result<(), ServeEnd>,
    /// Nobody had the file open when it was taken away.
    free: bool,
}

/// A memory disk as a file, served by a thread of its own.
struct Mounted {
    directory: tempfile::TempDir,
    path: PathBuf,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Left>,
}

impl Mounted {
    fn new(size: u64, answers: Answers, change: impl FnOnce(&mut Memory) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let (mount, fd) = Mount::new(&path, "a disk in memory").unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            local(async move {
                let mut disk = Memory::new(size);
                change(&mut disk);
                disk.answers.set(answers);
                let disk = Rc::new(disk);
                let owner = Owner { uid: 0, gid: 0, mode: 0o600 };
                let channel = Rc::new(Channel::new(fd, owner).unwrap());
                let closer = Closer::new();
                let closing = closer.clone();
                let serving = serve(Rc::clone(&channel), Rc::clone(&disk), closing);
                let mut task = tokio::task::spawn_local(serving);
                let itself = tokio::select! {
                    _ = stopped => None,
                    end = &mut task => Some(end.unwrap()),
                };
                closer.close();
                let end = match itself {
                    Some(end) => end,
                    None => task.await.unwrap(),
                };
                let free = tokio::task::spawn_blocking(|| mount.remove()).await.unwrap().unwrap();
                Left { bytes: disk.bytes.take(), ops: disk.ops.take(), end, free }
            })
        });
        Mounted { directory, path, stop, thread }
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(&self.path).unwrap()
    }

    fn end(self) -> Left {
        self.end_when(|stop| stop.send(()).unwrap())
    }

    /// Waits until it ends by itself.
    fn ended(self) -> Left {
        self.end_when(std::mem::forget)
    }

    fn end_when(self, stop: impl FnOnce(oneshot::Sender<()>)) -> Left {
        stop(self.stop);
        let left = self.thread.join().unwrap();
        assert!(!self.path.exists(), "the file that was made for the mount has gone with it");
        drop(self.directory);
        left
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_file_is_as_long_as_the_device_and_belongs_to_whom_it_is_given() {
    let mounted = Mounted::new(8 * MIB, Answers::AtOnce, |_| {});
    let meta = std::fs::metadata(&mounted.path).unwrap();
    assert_eq!((meta.len(), meta.mode() & 0o777, meta.uid()), (8 * MIB, 0o600, 0));
    std::fs::set_permissions(&mounted.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&mounted.path, Some(5), Some(6)).unwrap();
    let meta = std::fs::metadata(&mounted.path).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o640, 5, 6));
    let left = mounted.end();
    assert!(left.free && left.end.is_ok(), "{:?}", left.end);
}

#[test]
fn whatever_is_written_is_read_again_byte_by_byte() {
    for answers in [Answers::AtOnce, Answers::LastFirst] {
        let mounted = Mounted::new(MIB, answers, |_| {});
        let file = mounted.open();
        let mut expected = vec![0; MIB as usize];
        // At, before, across and within blocks of 512.
        for (at, length) in [(0, 512), (511, 2), (1000, 3000), (4096, 100_000), (MIB - 7, 7)] {
            let bytes: Vec<u8> = (0..length).map(|i| (i as u8) ^ (at as u8) | 1).collect();
            file.write_all_at(&bytes, at).unwrap();
            expected[at as usize..][..length as usize].copy_from_slice(&bytes);
        }
        let mut found = vec![0; 5000];
        file.read_exact_at(&mut found, 777).unwrap();
        assert_eq!(found, expected[777..5777]);
        assert_eq!(file.read_at(&mut found, MIB - 3).unwrap(), 3, "a read ends with the device");
        assert_eq!(file.read_at(&mut found, MIB).unwrap(), 0);
        let beyond = file.write_at(&found, MIB).unwrap_err();
        assert_eq!(beyond.kind(), std::io::ErrorKind::StorageFull);
        drop(file);
        assert!(mounted.end().bytes == expected);
    }
}

#[test]
fn odd_writes_beside_each_other_undo_none_of_their_neighbours() {
    let mounted = Mounted::new(MIB, Answers::LastFirst, |_| {});
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = mounted.open();
            // Each has its own byte of every eight.
            scope.spawn(move || {
                for at in (thread..4096).step_by(8) {
                    file.write_all_at(&[thread as u8 + 1], at).unwrap();
                }
            });
        }
    });
    let left = mounted.end();
    let expected: Vec<u8> = (0..4096).map(|at| (at % 8) as u8 + 1).collect();
    assert_eq!(left.bytes[..4096], expected);
}

#[test]
fn fsync_is_a_flush_and_a_synchronous_write_is_durable() {
    let mounted = Mounted::new(MIB, Answers::AtOnce, |_| {});
    let file = mounted.open();
    file.write_all_at(&[1; 4096], 0).unwrap();
    file.sync_data().unwrap();
    drop(file);
    const O_DSYNC: i32 = 0o10_000;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).custom_flags(O_DSYNC).open(&mounted.path).unwrap();
    file.write_all(&[2; 512]).unwrap();
    drop(file);
    let changes = [Op::Write { fua: false }, Op::Flush, Op::Write { fua: true }];
    let ops = mounted.end().ops;
    assert_eq!(ops.into_iter().filter(|op| *op != Op::Read).collect::<Vec<_>>(), changes);
}

#[test]
fn holes_are_punched_zeroes_written_and_both_are_found() {
    let mounted = Mounted::new(MIB, Answers::LastFirst, |disk| disk.bytes.get_mut().fill(0x5a));
    let file = path(&mounted.path);
    tool("fallocate", &["--punch-hole", "--offset", "65536", "--length", "65536", file]);
    tool("fallocate", &["--zero-range", "--offset", "200001", "--length", "3001", file]);
    tool("fallocate", &["--offset", "0", "--length", "1048576", file]);
    let seek = "import os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\n\
        print(os.lseek(f,0,os.SEEK_HOLE),os.lseek(f,65600,os.SEEK_HOLE),os.lseek(f,65600,os.SEEK_DATA))";
    assert_eq!(tool("python3", &["-c", seek, file]).trim(), "65536 65600 131072");
    let mut expected = vec![0x5a; MIB as usize];
    expected[65536..131_072].fill(0);
    expected[200_001..203_002].fill(0);
    assert!(mounted.end().bytes == expected);
}

#[test]
fn the_field_s_tools_take_it_for_a_file() {
    let mounted = Mounted::new(16 * MIB, Answers::LastFirst, |_| {});
    let source = patterned(mounted.directory.path(), "source", 16 * MIB);
    let (source, file) = (path(&source), path(&mounted.path));
    tool("cp", &[source, file]);
    tool("cmp", &[source, file]);
    tool("qemu-img", &["compare", "-f", "raw", "-F", "raw", source, file]);
    tool("dd", &["if=/dev/zero", &format!("of={file}"), "bs=1000", "count=10", "conv=notrunc"]);
    let back = path(mounted.directory.path()).to_owned() + "/back";
    tool("qemu-img", &["convert", "-O", "raw", file, &back]);
    tool("cmp", &[&back, file]);
    let fio = tool(
        "fio",
        &["--name=x", &format!("--filename={file}"), "--rw=randrw", "--bs=4k", "--size=16M"]
            .into_iter()
            .chain([
                "--direct=1",
                "--ioengine=libaio",
                "--iodepth=32",
                "--verify=crc32c",
                "--verify_state_save=0",
            ])
            .collect::<Vec<_>>(),
    );
    assert!(fio.contains("err= 0"), "{fio}");
    assert!(mounted.end().free);
}

#[test]
fn a_loop_device_on_it_carries_a_file_system() {
    let mounted = Mounted::new(64 * MIB, Answers::LastFirst, |_| {});
    let device = tool("losetup", &["--find", "--show", "--direct-io=on", path(&mounted.path)]);
    let device = device.trim();
    tool("mkfs.ext4", &["-q", device]);
    let folder = mounted.directory.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    tool("mount", &[device, path(&folder)]);
    let source = patterned(&folder, "some", 8 * MIB);
    tool("umount", &[path(&folder)]);
    tool("fsck.ext4", &["-fn", device]);
    tool("mount", &["-o", "ro", device, path(&folder)]);
    let again = std::fs::read(&source).unwrap();
    tool("umount", &[path(&folder)]);
    tool("losetup", &["--detach", device]);
    assert!(again == std::fs::read(patterned(mounted.directory.path(), "same", 8 * MIB)).unwrap());
    assert!(mounted.end().ops.contains(&Op::Flush));
}

/// [INIT-1] What was taken and waits for memory is with nobody but this process: a kernel that does not ask again would wait for
/// it without end if that one were replaced.
#[test]
fn a_request_that_waits_for_memory_is_one_that_is_not_answered() {
    local(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let (mount, fd) = Mount::new(&path, "a disk in memory").unwrap();
        let owner = Owner { uid: 0, gid: 0, mode: 0o600 };
        let channel = Rc::new(Channel::new(fd, owner).unwrap());
        let mut disk = Memory::new(MIB);
        disk.most_buffers = 1;
        let disk = Rc::new(disk);
        let closer = Closer::new();
        let serving = serve(Rc::clone(&channel), Rc::clone(&disk), closer.clone());
        let serving = tokio::task::spawn_local(serving);
        let anothers = disk.buffer(512);
        let user = std::thread::spawn(move || {
            File::open(path).unwrap().read_exact_at(&mut [0; 512], 0).unwrap();
        });
        while closer.is_whole() {
            yield_now().await;
        }
        closer.quiet();
        assert!(!channel.is_idle(), "it was taken");
        drop(anothers);
        while !channel.is_idle() {
            yield_now().await;
        }
        closer.go_on();
        while !user.is_finished() {
            yield_now().await;
        }
        user.join().unwrap();
        closer.close();
        serving.await.unwrap().unwrap();
        tokio::task::spawn_blocking(|| mount.remove()).await.unwrap().unwrap();
    });
}

#[test]
fn who_unmounts_it_ends_it_and_who_has_it_open_is_told_that_it_has_gone() {
    let mounted = Mounted::new(MIB, Answers::AtOnce, |_| {});
    tool("umount", &[path(&mounted.path)]);
    let left = mounted.ended();
    assert!(matches!(left.end, Err(ServeEnd::Unmounted)), "{:?}", left.end);

    let mounted = Mounted::new(MIB, Answers::AtOnce, |_| {});
    let file = mounted.open();
    assert!(!mounted.end().free);
    assert!(file.read_at(&mut [0; 512], 0).is_err());
}

#[test]
fn what_a_dead_daemon_left_mounted_is_mounted_again_and_a_living_one_is_not_disturbed() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("disk");
    let (_, fd) = Mount::new(&place, "the dead one").unwrap();
    drop(fd);
    assert!(std::fs::metadata(&place).is_err(), "its end is closed");
    let (mount, fd) = Mount::new(&place, "the next one").unwrap();
    drop(fd);
    mount.remove().unwrap();

    let mounted = Mounted::new(MIB, Answers::AtOnce, |_| {});
    assert!(matches!(Mount::new(&mounted.path, "another"), Err(MountError::Taken(_))));
    mounted.end();
    let folder = Mount::new(directory.path(), "no file");
    assert!(matches!(folder, Err(MountError::NotAFile(_))), "{folder:?}");
}
