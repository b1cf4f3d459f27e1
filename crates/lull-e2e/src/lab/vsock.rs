//! What carries vsock between the guests of a lab, and between them and this machine: a program of rust-vmm's that is to
//! their QEMUs what the kernel's vhost-vsock is elsewhere.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use crate::process::Process;
use crate::wait::{PROMPT, wait_until};
use crate::world::Inner;

/// The number of the first guest; those below belong to the hypervisor, the machine itself and its host.
const FIRST: u32 = 3;

/// The carrier of a lab; it starts with the first guest that has a place at it.
#[derive(Debug, Default)]
pub(super) struct Carrier {
    guests: Mutex<Vec<Place>>,
    running: OnceLock<Process>,
}

/// A guest's end of it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) cid: u32,
    /// Where its QEMU finds its device.
    device: PathBuf,
    /// What this machine has of it: the guest's port P of the host is the unix socket of this path with `_P` behind it.
    pub(super) host: PathBuf,
}

impl Carrier {
    /// A place for the guest of this number and name.
    pub(super) fn place(&self, world: &Inner, number: u8, name: &str) -> Place {
        assert!(self.running.get().is_none(), "guests are all prepared before the first starts");
        let path = |end: &str| world.path(&format!("{name}-{end}"));
        let cid = FIRST + u32::from(number);
        let place = Place { cid, device: path("vsock-device.sock"), host: path("vsock") };
        self.guests.lock().expect("the places").push(place.clone());
        place
    }

    /// Lets it run, if it does not, and waits until it takes this guest's QEMU; that of the last power-on may just be gone.
    pub(super) fn start(&self, program: PathBuf, world: &Inner, place: &Place) {
        self.running.get_or_init(|| {
            let guests = self.guests.lock().expect("the places");
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(program);
            for Place { cid, device, host } in guests.iter() {
                let (device, host) = (device.display(), host.display());
                let guest = format!("guest-cid={cid},socket={device},uds-path={host}");
                command.arg("--vm").arg(guest);
            }
            Process::start(command, "vsock", &world.path("vsock.log"))
        });
        wait_until("vsock is carried", PROMPT, || place.device.exists());
    }
}

impl Place {
    /// What QEMU is told of it. The carrier works in the guest's memory, which is therefore shared.
    pub(super) fn words(&self, memory_mib: u32) -> Vec<String> {
        let words = [
            "-object".to_owned(),
            format!("memory-backend-memfd,id=shared,size={memory_mib}M,share=on"),
            "-machine".to_owned(),
            "memory-backend=shared".to_owned(),
            "-chardev".to_owned(),
            format!("socket,id=vsock,path={}", self.device.display()),
            "-device".to_owned(),
            "vhost-user-vsock-pci,chardev=vsock".to_owned(),
        ];
        words.into()
    }
}
