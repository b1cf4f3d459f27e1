//! A day with the package, in a clean Debian: installed, configured, started; a restart, an upgrade, a crash, each
//! under a verified load; removed, purged.

use super::machine::{Machine, finished};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

/// The load of a consumer: every block is checked, and nothing may fail.
const LOAD: &str = "lull bench --write --time 3s --depth 8 --span 16M --stop-at-error \
                    'nbd+unix:///db1?socket=/run/lull/db1.sock'";

/// A container that has not the capability itself gets the drop-in that operating.md tells of.
const WITHOUT_CAPABILITY: &str = "has=$((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/1/status) >> 24 & 1)); \
    place=/run/systemd/system/lull-initiator.service.d; \
    if [ \"$has\" = 0 ]; then mkdir -p $place; \
    printf '[Service]\\nCapabilityBoundingSet=\\nAmbientCapabilities=\\n' >$place/capability.conf; systemctl daemon-reload; fi";

/// What may be there after a purge: what dpkg and adduser keep for themselves, caches, logs, and the disk.
const LEFT: [&str; 11] = [
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/srv/lull",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
    "/var/log/",
];

/// Lives through it.
///
/// # Errors
/// The first thing that is not as it should be.
pub fn live(root: &Path, first: &Path, second: &Path) -> Result<()> {
    let machine = Machine::boot(root)?;
    let day = Day { machine };
    let before = day.files()?;
    day.install(first)?;
    day.configure()?;
    let (target, initiator) = day.start()?;
    let target = day.restart(&target)?;
    let target = day.stop(&target)?;
    let target = day.upgrade(second, &target, &initiator)?;
    let target = day.crash(&target, &initiator)?;
    day.leave(&target, &initiator)?;
    day.remove()?;
    day.purge(&before)
}

struct Day {
    machine: Machine,
}

impl Day {
    fn install(&self, package: &Path) -> Result<()> {
        chapter(
            "installed: two units that nothing has started, a configuration, pages, completions",
        );
        self.apt("install", package)?;
        for unit in ["lull-target", "lull-initiator"] {
            let state = self.word(&format!(
                "systemctl is-enabled {unit} || systemctl is-active {unit} || true"
            ))?;
            ensure!(state == "disabled\ninactive", "{unit} after the installation: {state}");
        }
        let units = "/lib/systemd/system/lull-target.service /lib/systemd/system/lull-initiator.service \
             /lib/systemd/system/lull-log.socket /lib/systemd/system/lull-log@.service";
        let said = self.machine.run(&format!("systemd-analyze verify --man=no {units} 2>&1"))?;
        let said = finished("systemd-analyze verify", &said)?;
        ensure!(said.is_empty(), "systemd-analyze verify: {said}");
        let kept = self.word("dpkg-query --show --showformat '${Conffiles}' lull")?;
        ensure!(kept.contains("/etc/lull/lull.toml"), "configuration files: {kept}");
        for file in [
            "/usr/share/man/man1/lull-restart.1*",
            "/usr/share/bash-completion/completions/lull",
            "/usr/share/doc/lull/copyright",
        ] {
            self.word(&format!("test -s {file}"))?;
        }
        self.word("lull check /etc/lull/lull.toml && id lull")?;
        Ok(())
    }

    /// The example as it is, but for the size of the disk, and the folder that it names.
    fn configure(&self) -> Result<()> {
        self.word("sed -i 's/size=1G/size=64M/' /etc/lull/lull.toml")?;
        self.word("install --directory --owner lull --group lull /srv/lull")?;
        self.word(WITHOUT_CAPABILITY)?;
        Ok(())
    }

    fn start(&self) -> Result<(String, String)> {
        chapter("started: both serve as the user lull, and a consumer's load is right");
        self.word("systemctl enable --now --quiet lull-target lull-initiator")?;
        let (target, initiator) = (self.main("lull-target")?, self.main("lull-initiator")?);
        let users = self.word(&format!("stat --format %U /proc/{target} /proc/{initiator}"))?;
        ensure!(users == "lull\nlull", "the daemons run as {users}");
        self.word(LOAD)?;
        Ok((target, initiator))
    }

    fn restart(&self, target: &str) -> Result<String> {
        chapter("restarted under load: another main process, and the unit goes on");
        let load = self.load()?;
        self.word("lull restart")?;
        load.right()?;
        let now = self.main("lull-target")?;
        ensure!(now != target, "the main process is still {now}");
        self.active()?;
        Ok(now)
    }

    /// The service manager is not the parent of a process that took over.
    fn stop(&self, target: &str) -> Result<String> {
        chapter("stopped after a restart: the initiator is paused first, and goes on afterwards");
        let load = self.load()?;
        self.word("systemctl stop lull-target")?;
        self.said("lull-target", target, "every session is closed")?;
        self.word("systemctl start lull-target")?;
        load.right()?;
        self.active()?;
        self.main("lull-target")
    }

    /// A process of a unit's has said this.
    fn said(&self, unit: &str, process: &str, words: &str) -> Result<()> {
        let said = self.word(&format!(
            "journalctl --sync; journalctl --no-pager --quiet --unit {unit} _PID={process}"
        ))?;
        ensure!(said.contains(words), "process {process} of {unit} has not said `{words}`: {said}");
        Ok(())
    }

    fn upgrade(&self, package: &Path, target: &str, initiator: &str) -> Result<String> {
        chapter(
            "upgraded under load: nobody notices; then `lull restart` serves from the new binary",
        );
        let load = self.load()?;
        let said = self.apt("install", package)?;
        ensure!(said.contains("`lull restart` hands over"), "the next step is told: {said}");
        ensure!(self.main("lull-target")? == target, "the upgrade restarted the target");
        ensure!(self.main("lull-initiator")? == initiator, "the upgrade restarted the initiator");
        let old = self.binary(target)?;
        ensure!(
            old.ends_with("(deleted)"),
            "the target runs {old}, which should have been replaced"
        );
        self.word("lull restart")?;
        load.right()?;
        let now = self.main("lull-target")?;
        let new = self.binary(&now)?;
        ensure!(new == "/usr/bin/lull", "after the restart the target runs {new}");
        ensure!(self.main("lull-initiator")? == initiator, "the restart took the initiator along");
        self.word("grep --quiet size=64M /etc/lull/lull.toml")?;
        self.active()?;
        Ok(now)
    }

    fn crash(&self, target: &str, initiator: &str) -> Result<String> {
        chapter("killed under load: systemd starts the target again, and the initiator waits");
        let load = self.load()?;
        self.word(&format!("kill -KILL {target}"))?;
        load.right()?;
        let now = self.main("lull-target")?;
        ensure!(now != target, "the target that was killed is still the main process");
        ensure!(
            self.main("lull-initiator")? == initiator,
            "the initiator did not outlive the crash"
        );
        self.active()?;
        Ok(now)
    }

    /// [SAFE-10] A stop that comes between a crash and the start that answers it drops whatever the service manager keeps for
    /// the unit.
    fn leave(&self, target: &str, initiator: &str) -> Result<()> {
        chapter(
            "killed under load and stopped before systemd starts it again: the next start has what was not flushed",
        );
        let load = self.load()?;
        let unflushed = "until lull status initiator --json | grep --quiet '\"unflushed\": *[1-9]'; do sleep 0.01; done";
        self.word(&format!("timeout 10 sh -c '{}'", unflushed.replace('\'', "'\\''")))?;
        self.word("systemctl kill --signal KILL lull-initiator")?;
        let state = "systemctl show --property SubState --value lull-initiator";
        self.word(&format!("timeout 10 sh -c 'until test $({state}) = auto-restart; do :; done'"))?;
        self.word("systemctl stop lull-initiator")?;
        load.cut()?;
        self.word("systemctl start lull-initiator")?;
        let now = self.main("lull-initiator")?;
        ensure!(now != initiator, "the process that was killed is still the main one");
        self.said("lull-initiator", &now, "acknowledged and not flushed; all of it is kept")?;
        ensure!(self.main("lull-target")? == target, "the target did not outlive that");
        self.word(LOAD)?;
        self.active()
    }

    fn remove(&self) -> Result<()> {
        chapter("removed: both have ended; configuration, state and disk are there");
        self.word("lull restart initiator")?;
        let initiator = self.main("lull-initiator")?;
        self.apt_remove("remove")?;
        self.said("lull-initiator", &initiator, "detached")?;
        let running = self.machine.run("grep --quiet --no-messages ^lull /proc/[0-9]*/comm")?;
        ensure!(!running.status.success(), "a daemon outlived the package");
        self.word("test ! -e /usr/bin/lull -a ! -e /run/lull")?;
        self.word(
            "test -f /etc/lull/lull.toml -a -d /var/lib/lull/target -a -f /srv/lull/db1.img",
        )?;
        Ok(())
    }

    fn purge(&self, before: &BTreeSet<String>) -> Result<()> {
        chapter(
            "purged: nothing is left but the disk, the user it belongs to, and what dpkg keeps",
        );
        self.apt_remove("purge")?;
        let left: Vec<_> = self
            .files()?
            .into_iter()
            .filter(|path| {
                !before.contains(path) && !LEFT.iter().any(|known| path.starts_with(known))
            })
            .collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        self.word("test -f /srv/lull/db1.img && id lull")?;
        Ok(())
    }

    fn apt(&self, verb: &str, package: &Path) -> Result<String> {
        let name = package.file_name().and_then(|name| name.to_str()).context("a file name")?;
        let inside = format!("/tmp/{name}");
        fs::copy(package, self.machine.path(&inside)).context("copying the package")?;
        // There is no network in there, and what is only recommended is not needed for this.
        let flags = "--quiet --quiet --yes --no-install-recommends";
        self.word(&format!("apt-get {flags} {verb} {inside} 2>&1"))
    }

    fn apt_remove(&self, verb: &str) -> Result<String> {
        self.word(&format!("apt-get --quiet --quiet --yes {verb} lull 2>&1"))
    }

    /// All files of the machine that lie on its disk.
    fn files(&self) -> Result<BTreeSet<String>> {
        Ok(self.word("find / -xdev")?.lines().map(str::to_owned).collect())
    }

    fn main(&self, unit: &str) -> Result<String> {
        self.word(&format!("systemctl show --property MainPID --value {unit}"))
    }

    fn binary(&self, process: &str) -> Result<String> {
        self.word(&format!("readlink /proc/{process}/exe"))
    }

    fn active(&self) -> Result<()> {
        let state = self.word("systemctl is-active lull-target lull-initiator")?;
        ensure!(state == "active\nactive", "the units are {state}");
        Ok(())
    }

    /// What a line says that must succeed; where it does not, the daemons' own words are printed too.
    fn word(&self, line: &str) -> Result<String> {
        self.machine.say(line).inspect_err(|_| {
            let log = self.machine.run("journalctl --no-pager --quiet --lines 60 --unit 'lull-*'");
            let log = log.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
            eprintln!("{}", log.unwrap_or_default());
        })
    }

    fn load(&self) -> Result<Load> {
        let mut command = self.machine.command(LOAD);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // It is under way when the target has requests to finish.
        let flows = "until lull status initiator --json | grep --quiet '\"clients\": *[1-9]'; do sleep 0.05; done";
        self.word(&format!("timeout 10 sh -c '{}'", flows.replace('\'', "'\\''")))?;
        Ok(Load(child))
    }
}

/// A load that runs.
struct Load(Child);

impl Load {
    /// Ends with an error: its disk has gone.
    fn cut(self) -> Result<()> {
        let ended = self.0.wait_with_output()?;
        ensure!(!ended.status.success(), "the load has not noticed that its disk is gone");
        Ok(())
    }

    /// Ends well.
    fn right(self) -> Result<()> {
        finished(LOAD, &self.0.wait_with_output()?).map(drop)
    }
}

fn chapter(title: &str) {
    eprintln!("package: {title}");
}
