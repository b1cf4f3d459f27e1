//! How QEMU is called for a guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::order::PORT;

/// The hardware of one guest, and where its ends on this machine are.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) kernel: PathBuf,
    pub(super) image: PathBuf,
    pub(super) memory_mib: u32,
    pub(super) processors: u32,
    /// The disk of a system that is not all in the image.
    pub(super) system: Option<PathBuf>,
    /// Name and file of each disk.
    pub(super) disks: Vec<(String, PathBuf)>,
    /// Ports of the host by which ports of the guest are reached.
    pub(super) forwards: Vec<(u16, u16)>,
    /// Its number among the lab's guests, which its addresses have.
    pub(super) number: u8,
    pub(super) hub: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) console: PathBuf,
    pub(super) console_log: PathBuf,
    pub(super) services_log: PathBuf,
    /// Further words for QEMU.
    pub(super) more: Vec<String>,
}

impl Machine {
    /// The command. QEMU ends with the thread that starts it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-name", &self.name]);
        // Without the processor's help: where that is offered at all it is not always fit for use.
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-nodefaults",
            "-no-user-config",
        ]);
        command.args(["-display", "none", "-monitor", "none"]);
        command.args(["-m", &self.memory_mib.to_string(), "-smp", &self.processors.to_string()]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.image);
        // Emulated clocks stand still while this machine does something else: kernels are not to judge them.
        let clocks = "no_timer_check tsc=unstable trace_clock=local";
        let first = match self.system {
            Some(_) => " rdinit=/etc/lab/debian net.ifnames=0 systemd.show_status=no",
            None => "",
        };
        command.args([
            "-append",
            &format!("console=ttyS0 quiet loglevel=5 log_buf_len=2M {clocks}{first}"),
        ]);
        self.lines(&mut command);
        self.network(&mut command);
        if let Some(system) = &self.system {
            let drive =
                format!("if=none,id=system,format=qcow2,cache=unsafe,file={}", system.display());
            command.args([
                "-drive",
                &drive,
                "-device",
                "virtio-blk-pci,drive=system,serial=system",
            ]);
        }
        for (number, (name, file)) in self.disks.iter().enumerate() {
            // What the guest wrote outlives QEMU in this machine's cache, as on a disk that has power;
            // what the guest's own cache holds does not.
            let drive = format!(
                "if=none,id=disk{number},format=raw,cache=writeback,file={}",
                file.display()
            );
            let device = format!("virtio-blk-pci,drive=disk{number},serial={name}");
            command.args(["-drive", &drive, "-device", &device]);
        }
        command.args(&self.more);
        command
    }

    /// Console, services' output, agent.
    fn lines(&self, command: &mut Command) {
        let listening = |id: &str, path: &Path, log: &str| {
            format!("socket,id={id},path={},server=on,wait=off{log}", path.display())
        };
        let log = format!(",logfile={},logappend=on", self.console_log.display());
        let services = format!("file,id=services,path={},append=on", self.services_log.display());
        command.args(["-chardev", &listening("console", &self.console, &log)]);
        command.args(["-chardev", &services]);
        command.args(["-chardev", &listening("agent", &self.agent, "")]);
        command.args(["-serial", "chardev:console", "-serial", "chardev:services"]);
        let port = format!("virtserialport,chardev=agent,name={PORT}");
        command.args(["-device", "virtio-serial-pci", "-device", &port]);
    }

    /// The lab's network, and a way from this machine if one is asked for.
    fn network(&self, command: &mut Command) {
        let mut card = |name: &str, netdev: String, group: u8| {
            let mac = format!("52:54:00:00:{group:02x}:{:02x}", self.number);
            let device = format!("virtio-net-pci,netdev={name},mac={mac},romfile=");
            command.args(["-netdev", &netdev, "-device", &device]);
        };
        let hub = self.hub.display();
        card("hub", format!("stream,id=hub,server=off,addr.type=unix,addr.path={hub}"), 0);
        if !self.forwards.is_empty() {
            let ways = self.forwards.iter();
            let ways = ways.map(|(here, there)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"));
            card("host", format!("user,id=host{}", ways.collect::<String>()), 1);
        }
    }
}
