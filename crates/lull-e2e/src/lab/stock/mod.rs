//! What guests are made of, below `target/lab`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::kernel::Kernel;

mod build;
mod fetch;

/// A package and programs that it brings.
type Row = (&'static str, &'static [&'static str]);

/// Programs of Debian's that each guest has, by the package that brings them; their libraries come along.
const PROGRAMS: [Row; 6] = [
    ("busybox-static", &["bin/busybox"]),
    ("dmsetup", &["sbin/dmsetup"]),
    ("e2fsprogs", &["sbin/mke2fs", "sbin/e2fsck"]),
    ("mount", &["sbin/losetup"]),
    ("nbd-client", &["sbin/nbd-client"]),
    ("xfsprogs", &["sbin/mkfs.xfs", "sbin/xfs_repair"]),
];

/// The same for guests that are compared with others': what NBD, NVMe/TCP and iSCSI are used with. A file beside them
/// is what its package configures them with.
const OTHER_PROGRAMS: [Row; 3] = [
    ("nbd-server", &["bin/nbd-server"]),
    ("nvme-cli", &["usr/sbin/nvme"]),
    ("open-iscsi", &["sbin/iscsid", "sbin/iscsiadm", "etc/iscsi/iscsid.conf"]),
];

/// Programs that are ours.
const OURS: [&str; 3] = ["lull", "lull-lab-agent", "lull-lab-files"];

/// The same for guests that are compared with others'.
const OUR_LOAD: &str = "lull-lab-blocks";

/// What carries vsock on this machine's side, and its release.
const VSOCK: (&str, &str) = ("vhost-device-vsock", "0.3.0");

/// What `cargo xtask lab --prepare` has laid in.
#[derive(Clone, Debug)]
pub struct Stock {
    dir: PathBuf,
}

impl Stock {
    /// The one of the target directory in which this program was built.
    ///
    /// # Panics
    /// Where something is missing, with the command that lays it in.
    pub fn here() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        // target/debug/lull-lab, target/debug/deps/lab-0123
        let places = program.ancestors().map(|place| place.join("lab"));
        let stock = places.map(|dir| Self { dir }).find(|stock| stock.dir.is_dir());
        let missing = match &stock {
            Some(stock) => stock.missing(),
            None => Some("target/lab".to_owned()),
        };
        match (stock, missing) {
            (Some(stock), None) => stock,
            (_, missing) => panic!(
                "the lab has no {}: lay it in with `cargo xtask lab --prepare`",
                missing.unwrap_or_default()
            ),
        }
    }

    fn missing(&self) -> Option<String> {
        let kernels = Kernel::ALL.map(|kernel| self.kernel_dir(kernel));
        let ours = OURS.map(|name| self.ours(name));
        let programs = PROGRAMS.iter().flat_map(|(_, programs)| *programs);
        let programs = programs.map(|path| self.programs().join(path));
        let mut all = kernels.into_iter().chain([self.vsock_carrier()]).chain(programs).chain(ours);
        all.find(|path| !path.exists()).map(|path| path.display().to_string())
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn kernel_dir(&self, kernel: Kernel) -> PathBuf {
        self.dir.join("kernels").join(kernel.name())
    }

    /// The folder with Debian's programs, as their packages lay them out.
    fn programs(&self) -> PathBuf {
        self.dir.join("programs")
    }

    /// The folder with what belongs to other systems.
    fn others(&self) -> PathBuf {
        self.dir.join("others")
    }

    /// The disk of a Debian with systemd and the package of this tree, which guests read and never write.
    ///
    /// # Panics
    /// Where there is none.
    pub(super) fn debian(&self) -> PathBuf {
        let image = self.path("debian.img");
        assert!(image.exists(), "the lab has no Debian: make one with `cargo xtask lab --prepare`");
        image
    }

    /// A program of ours, linked statically.
    pub(super) fn ours(&self, name: &str) -> PathBuf {
        build::folder(&self.dir).join(name)
    }

    /// The program that carries vsock.
    pub(super) fn vsock_carrier(&self) -> PathBuf {
        self.dir.join("tools/bin").join(VSOCK.0)
    }

    /// All of ours that a guest has.
    pub(super) fn all_ours(
        &self,
        others: bool,
    ) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        let load = others.then_some(OUR_LOAD);
        OURS.into_iter().chain(load).map(|name| (name, self.ours(name)))
    }

    /// The kernel itself.
    pub(super) fn kernel(&self, kernel: Kernel) -> PathBuf {
        let boot = self.kernel_dir(kernel).join("boot");
        only(&boot, |name| name.starts_with("vmlinuz"))
    }

    /// The folder with its modules and `modules.dep`.
    pub(super) fn modules(&self, kernel: Kernel) -> PathBuf {
        only(&self.kernel_dir(kernel).join("lib/modules"), |_| true)
    }

    /// Each program of Debian's with its path in the guest, and the libraries they need.
    pub(super) fn program_files(&self, others: bool) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        if others {
            let root = self.others();
            assert!(
                root.exists(),
                "{} is missing: `cargo xtask lab compare` lays it in",
                root.display()
            );
            files.extend(files_of(&root, &OTHER_PROGRAMS));
        }
        files.extend(files_of(&self.programs(), &PROGRAMS));
        files
    }
}

/// The same of one folder.
fn files_of(root: &Path, rows: &[Row]) -> Vec<(String, PathBuf)> {
    let programs = rows.iter().flat_map(|(_, programs)| *programs);
    let mut files: Vec<_> = programs.map(|path| ((*path).to_owned(), root.join(path))).collect();
    let libraries = files.iter().flat_map(|(_, file)| libraries(root, file)).collect::<Vec<_>>();
    for library in libraries {
        let inside = library.strip_prefix(root).expect("a library of the stock");
        files.push((inside.display().to_string(), library));
    }
    files
}

/// Lays in what is missing below `dir`, and builds ours anew.
///
/// # Errors
/// What apt-get, dpkg-deb or cargo could not do.
pub fn prepare(tree: &Path, dir: &Path) -> anyhow::Result<()> {
    let stock = Stock { dir: dir.to_owned() };
    let packages: Vec<_> = PROGRAMS.iter().map(|(package, _)| *package).collect();
    fetch::programs(&stock.programs(), &packages)?;
    let busybox = stock.programs().join("bin/busybox");
    for kernel in Kernel::ALL {
        fetch::kernel(&stock.kernel_dir(kernel), kernel.package(), &busybox)?;
    }
    build::tool(&dir.join("tools"), VSOCK)?;
    build::ours(tree, dir, &OURS)
}

/// Lays in beside that, below the same `dir`, what guests have that are compared with others'.
///
/// # Errors
/// What apt-get, dpkg-deb or cargo could not do.
pub fn prepare_others(tree: &Path, dir: &Path) -> anyhow::Result<()> {
    let stock = Stock { dir: dir.to_owned() };
    let packages: Vec<_> = OTHER_PROGRAMS.iter().map(|(package, _)| *package).collect();
    fetch::programs(&stock.others(), &packages)?;
    build::ours(tree, dir, &[OUR_LOAD])
}

/// What the dynamic loader of the stock finds for a program; nothing for a static one.
fn libraries(root: &Path, program: &Path) -> Vec<PathBuf> {
    let folders = ["lib", "usr/lib"].map(|lib| root.join(lib).join("x86_64-linux-gnu"));
    let folders = folders.map(|folder| folder.display().to_string()).join(":");
    let loader = root.join("lib64/ld-linux-x86-64.so.2");
    let mut ask = std::process::Command::new(&loader);
    let said = ask.args(["--list", "--library-path", &folders]).arg(program).output();
    let said = said.unwrap_or_else(|error| panic!("starting {}: {error}", loader.display()));
    if !said.status.success() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let found = text.lines().filter_map(|line| line.split_once("=> ")?.1.split(" (").next());
    let mut found: Vec<_> =
        found.map(PathBuf::from).filter(|path| path.starts_with(root)).collect();
    found.push(loader);
    found
}

/// The one entry of a folder that fits.
fn only(folder: &Path, fits: impl Fn(&str) -> bool) -> PathBuf {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&fits))
        .unwrap_or_else(|| panic!("nothing that fits in {}", folder.display()))
}
