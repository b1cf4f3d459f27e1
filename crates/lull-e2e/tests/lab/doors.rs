//! An operating system with disks, and others that have file systems on them, each through a door of its own.

use lull_e2e::lab::{Guest, Kernel, Lab};
use lull_e2e::{Use, outcome, wait_until};

use crate::cast::{Door, PORT, SOON, device, target, wait_serving};
use crate::mounted::Mounted;

/// One that has a disk: by which door, its kernel, the file system that it makes there.
pub type Web = (Door, Kernel, &'static str);

/// An operating system with disks, and those that have file systems on them.
pub struct Doors {
    stor: Guest,
    pub webs: Vec<Mounted>,
}

impl Doors {
    /// All of them, at work.
    pub fn begin(lab: &Lab, webs: &[Web]) -> Self {
        let disks =
            (1..=webs.len()).map(|disk| format!("db{disk}=file:/data/db{disk}.img,size=64M"));
        let disks: Vec<_> = disks.collect();
        let mut stor = target(lab, "stor", &disks.join(" ")).forward(PORT).prepare();
        let numbered = || webs.iter().zip(1..);
        let (mut all, mut above) = (Vec::new(), Vec::new());
        for (&(door, kernel, file_system), number) in numbered().filter(|(web, _)| !is_above(web)) {
            let (name, disk) = (format!("web{number}"), format!("db{number}"));
            let guest = device(lab, &name, "stor", &disk, door).kernel(kernel);
            all.push(Mounted::prepare(guest, file_system, door));
        }
        stor.power_on();
        all.iter_mut().for_each(|web| web.guest.power_on());
        stor.wait_up();
        wait_serving(&stor);
        for (web, number) in numbered().filter(|(web, _)| is_above(web)) {
            above.push(virtual_machine(lab, &stor, web, number));
        }
        all.append(&mut above);
        all.iter().for_each(|web| web.guest.wait_up());
        all.iter_mut().for_each(Mounted::begin);
        Self { stor, webs: all }
    }

    /// Does something to the system that has the disks: all others wait, and go on.
    pub fn disturb(&mut self, what: &'static str, act: impl FnOnce(&mut Guest, &mut Vec<Mounted>)) {
        self.webs.iter().for_each(Mounted::wait_progress);
        self.webs.iter().for_each(Mounted::forget);
        act(&mut self.stor, &mut self.webs);
        for web in &mut self.webs {
            web.note(what);
        }
    }

    /// All end their work: nothing has failed, and nothing was lost.
    pub fn end(mut self) {
        let (rows, words): (Vec<_>, Vec<_>) = self.webs.iter_mut().map(Mounted::end).unzip();
        let unit = "The longest calls are in ms, the median of their times in brackets.";
        let above = [unit.to_owned(), String::new()].into_iter().chain(self.webs[0].columns());
        let between =
            [String::new(), "What the kernels said of their disks:".to_owned(), String::new()];
        let all = above.chain(rows).chain(between).chain(words.into_iter().flatten());
        all.for_each(|line| outcome(&line));
    }
}

/// Whether its daemon runs on this machine.
fn is_above((door, ..): &Web) -> bool {
    matches!(door, Door::VhostUser)
}

/// A guest, not up yet, whose daemon is there.
fn virtual_machine(lab: &Lab, stor: &Guest, web: &Web, number: usize) -> Mounted {
    let &(_, kernel, file_system) = web;
    let (name, disk) = (format!("web{number}"), format!("db{number}"));
    let socket = lab.world().path(&format!("{disk}.vhost"));
    let one = Use::at(&stor.forwarded(PORT), &disk)
        .set("retain", "256M")
        .set("vhost-user", &socket.display().to_string());
    let mut daemon = lab.world().initiator(&name).uses(one).prepare();
    daemon.spawn();
    daemon.wait_sharing_within(SOON);
    wait_until("the socket is there", SOON, || socket.exists());
    let guest = lab.guest(&name).kernel(kernel).processors(2).shared_disk(&socket);
    let mut web = Mounted::above(guest, file_system, daemon);
    web.guest.power_on();
    web
}
