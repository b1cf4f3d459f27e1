//! Programs that the tests use and that are not ours: found, or installed with apt-get.

use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program and the Debian package that brings it.
const TOOLS: [(&str, &str); 17] = [
    ("curl", "curl"),
    ("debootstrap", "debootstrap"),
    ("fio", "fio"),
    // It may bring a server of the machine's own along, which has its own port and files: nobody here meets it.
    ("initdb", "postgresql"),
    // These two for disks of a test's own, which only root can make.
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("nbdcopy", "libnbd-bin"),
    ("nbdfuse", "libnbd-bin"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdkit", "nbdkit"),
    // It is the sign of libnbd's Python module, for the system's own interpreter.
    ("nbdsh", "python3-libnbd"),
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-nbd", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    // These two for the lab: QEMU ends with its test, and kernels' modules come compressed.
    ("setpriv", "util-linux"),
    ("xz", "xz-utils"),
];

/// How often missing programs are installed before they are given up.
const ROUNDS: usize = 3;

/// Whether a program of this name is on the path, or where Debian has a database's.
fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = std::env::split_paths(&folders).chain(releases.map(|one| one.path().join("bin")));
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// Installs what is missing of the table above, and says so before it does.
pub fn install_missing() -> Result<()> {
    // What is installed may push out a package of another release: its programs are missed in the next round.
    for _ in 0..ROUNDS {
        let packages = packages_for(is_there);
        if packages.is_empty() {
            return Ok(());
        }
        install(&packages)?;
    }
    match TOOLS.iter().find(|(program, _)| !is_there(program)) {
        None => Ok(()),
        Some((program, package)) => bail!(
            "{package} is installed and still no `{program}` is on the path: look at PATH and at \
             `dpkg --listfiles {package}`"
        ),
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let install = format!(
        "apt-get --quiet --quiet install --yes --no-install-recommends {}",
        packages.join(" ")
    );
    let Some(prefix) = privilege() else {
        bail!("the tests need {}: run `sudo {install}` and repeat", packages.join(", "));
    };
    if !is_there("apt-get") {
        bail!("the tests need {} and there is no apt-get: install them", packages.join(", "));
    }
    eprintln!("test: installing {} with apt-get, which the tests need", packages.join(", "));
    apt(prefix, "apt-get --quiet --quiet update")?;
    apt(prefix, &install)
}

/// The packages that bring the programs which `is_there` does not find, each once.
fn packages_for(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let missing = TOOLS.iter().filter(|(program, _)| !is_there(program));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// What to put before a command so that it runs as root: nothing, `sudo` if that asks no question.
fn privilege() -> Option<&'static [&'static str]> {
    let is_root = Path::new("/proc/self").exists() && effective_user() == Some(0);
    if is_root {
        return Some(&[]);
    }
    let silent_sudo = Command::new("sudo")
        .args(["--non-interactive", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    silent_sudo.is_ok_and(|status| status.success()).then_some(&["sudo", "--non-interactive"])
}

/// The user that this process acts as.
pub fn effective_user() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn apt(prefix: &[&str], command: &str) -> Result<()> {
    let mut words = prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive"]);
    let program = words.next().unwrap_or("env");
    let status =
        Command::new(program).args(words).args(command.split(' ')).stdin(Stdio::null()).status()?;
    if !status.success() {
        bail!("`{command}` failed ({status}): run it by hand, mend what it says, and repeat");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        assert_eq!(packages_for(|program| program != "qemu-io"), ["qemu-utils"]);
        let all = packages_for(|_| false);
        assert_eq!(all[..5], ["curl", "debootstrap", "fio", "postgresql", "mount"]);
        assert_eq!(
            all[5..10],
            ["e2fsprogs", "libnbd-bin", "nbdkit", "python3-libnbd", "qemu-utils"]
        );
        assert_eq!(all[10..], ["qemu-system-x86", "util-linux", "xz-utils"]);
        assert!(packages_for(|_| true).is_empty());
    }
}
