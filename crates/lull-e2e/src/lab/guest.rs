//! One operating system, and what can be done to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use super::agent::{Agent, Order};
use super::hub::Cable;
use super::image::{self, Own};
use super::kernel::Kernel;
use super::machine::Machine;
use super::passage::Passage;
use super::place::{Room, address};
use super::quiet;
use super::vsock::Place;
use crate::command::Finished;
use crate::process::{self, Process};
use crate::wait::{PROMPT, wait_until};

/// How long a guest may take from its start until its agent is there: some seconds, on a machine that does much else.
const BOOT: Duration = Duration::from_secs(120);

/// With what a kernel's last words begin.
const PANIC: &str = "Kernel panic";

/// How long a line may take that does not wait for people.
const LINE: Duration = Duration::from_secs(60);

/// A guest to be started.
#[derive(Debug)]
pub struct GuestBuilder {
    room: Arc<Room>,
    kernel: Kernel,
    number: u8,
    own: Own,
    memory_mib: u32,
    processors: u32,
    disks: Vec<(String, PathBuf)>,
    forwards: Vec<u16>,
    vsock: Option<Place>,
    more: Vec<String>,
}

impl GuestBuilder {
    pub(super) fn new(room: Arc<Room>, name: &str) -> Self {
        let number = room.enter(name);
        let own = Own { name: name.to_owned(), address: address(number), ..Own::default() };
        let (disks, forwards, vsock, more) = Default::default();
        let kernel = Kernel::default();
        let (memory_mib, processors) = (512, 1);
        Self { room, kernel, number, own, memory_mib, processors, disks, forwards, vsock, more }
    }

    /// It runs this kernel.
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Its system is a whole Debian with systemd, on a disk that outlives power cuts, with the package of this tree
    /// installed. What is not a file of its own is up to its units; there are no [`service`](Self::service)s.
    #[must_use]
    pub fn debian(mut self) -> Self {
        self.own.debian = true;
        self
    }

    /// It has the programs and modules with which other systems share disks, and the load that compares them.
    #[must_use]
    pub fn others(mut self) -> Self {
        self.own.others = true;
        self
    }

    /// So much memory, in MiB, instead of 512.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// So many processors instead of one.
    #[must_use]
    pub fn processors(mut self, processors: u32) -> Self {
        self.processors = processors;
        self
    }

    /// An empty disk, `/dev/NAME`. It outlives power cuts.
    #[must_use]
    pub fn disk(mut self, name: &str, mib: u64) -> Self {
        let path = self.room.world.path(&format!("{}-{name}.img", self.own.name));
        let file = std::fs::File::create(&path).expect("a disk's file");
        file.set_len(mib << 20).expect("a sparse file");
        self.disks.push((name.to_owned(), path));
        self
    }

    /// A disk with ext4, mounted at `/NAME` at each start.
    #[must_use]
    pub fn ext4(self, name: &str, mib: u64) -> Self {
        let mut guest = self.disk(name, mib);
        let (_, path) = guest.disks.last().expect("the disk of the line above");
        let made = Command::new("mkfs.ext4").arg("-q").arg(path).output();
        let made = made.expect("starting mkfs.ext4 (package e2fsprogs)");
        assert!(made.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr));
        guest.own.mounts.push(name.to_owned());
        guest
    }

    /// A port of the guest that can be reached from this machine, by [`Guest::forwarded`].
    #[must_use]
    pub fn forward(mut self, port: u16) -> Self {
        self.forwards.push(port);
        self
    }

    /// A place at the lab's vsock, under the number [`Guest::cid`].
    #[must_use]
    pub fn vsock(mut self) -> Self {
        self.vsock = Some(self.room.vsock.place(&self.room.world, self.number, &self.own.name));
        self
    }

    /// The number under which other guests reach this one over vsock, where it has a place there.
    pub fn cid(&self) -> Option<u32> {
        self.vsock.as_ref().map(|place| place.cid)
    }

    /// A shell's line that is started with the system, each time; what it prints is in [`Guest::services`].
    #[must_use]
    pub fn service(mut self, name: &str, line: &str) -> Self {
        self.own.services.push((name.to_owned(), format!("exec {line}\n")));
        self
    }

    /// A shell's line that must have succeeded before a service is started.
    #[must_use]
    pub fn before(mut self, service: &str, line: &str) -> Self {
        let all = &mut self.own.services;
        let found = all.iter_mut().find(|(name, _)| name == service);
        let (_, start) = found.unwrap_or_else(|| panic!("no service {service}"));
        start.insert_str(0, &format!("{line} || exit 1\n"));
        self
    }

    /// A script for busybox's shell that is its first process: it runs `/etc/lab/start`, and hands over to an init.
    #[must_use]
    pub fn init(mut self, script: &str) -> Self {
        self.own.init = Some(format!("#!/bin/busybox sh\n{script}"));
        self
    }

    /// A file of its system, which is new at each start.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        let path = path.trim_start_matches('/').to_owned();
        self.own.files.push((path, text.to_owned()));
        self
    }

    /// A disk that somebody on this machine shares over vhost-user-blk at `socket`; its memory is shared with them. It
    /// comes before the guest's own disks.
    #[must_use]
    pub fn shared_disk(self, socket: &Path) -> Self {
        let memory = format!("memory-backend-memfd,id=memory,share=on,size={}M", self.memory_mib);
        let line = format!("socket,id=shared,path={},reconnect=1", socket.display());
        let device = "vhost-user-blk-pci,chardev=shared,addr=3";
        self.qemu(&["-object", &memory, "-machine", "memory-backend=memory"])
            .qemu(&["-chardev", &line, "-device", device])
    }

    /// Further words for QEMU: another device.
    #[must_use]
    pub fn qemu(mut self, words: &[&str]) -> Self {
        self.more.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The guest, not started. Guests that are to know each other by name are all prepared before the first starts.
    pub fn prepare(self) -> Guest {
        let Self { room, kernel, number, own, .. } = self;
        let path = |end: &str| room.world.path(&format!("{}-{end}", own.name));
        let mut more = self.more;
        more.extend(self.vsock.iter().flat_map(|place| place.words(self.memory_mib)));
        let forwards = self.forwards.iter().map(|port| (room.world.port(), *port)).collect();
        let system = own.debian.then(|| system(&room.stock.debian(), &path("system.qcow2")));
        let machine = Machine {
            system,
            name: own.name.clone(),
            kernel: room.stock.kernel(kernel),
            image: path("image"),
            memory_mib: self.memory_mib,
            processors: self.processors,
            disks: self.disks,
            forwards,
            number,
            hub: path("hub.sock"),
            agent: path("agent.sock"),
            console: path("console.sock"),
            console_log: path("console.log"),
            services_log: path("services.log"),
            more,
        };
        let cable = room.hub.port(&machine.hub);
        Guest { room, kernel, own, machine, cable, vsock: self.vsock, running: None }
    }

    /// The guest, up.
    #[track_caller]
    pub fn start(self) -> Guest {
        let mut guest = self.prepare();
        guest.start();
        guest
    }
}

/// A guest; it may be without power. Dropping it is a power cut.
#[derive(Debug)]
pub struct Guest {
    room: Arc<Room>,
    kernel: Kernel,
    own: Own,
    machine: Machine,
    cable: Cable,
    vsock: Option<Place>,
    running: Option<(Process, Mutex<Agent>)>,
}

impl Guest {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.own.name
    }

    /// What it runs.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Its address in the lab's network.
    pub fn address(&self) -> &str {
        &self.own.address
    }

    /// `tcp:127.0.0.1:PORT`, by which this machine reaches a port of it that was forwarded.
    ///
    /// # Panics
    /// Where it was not.
    pub fn forwarded(&self, port: u16) -> String {
        let way = self.machine.forwards.iter().find(|(_, there)| *there == port);
        let (here, _) =
            way.unwrap_or_else(|| panic!("port {port} of {} is not forwarded", self.name()));
        format!("tcp:127.0.0.1:{here}")
    }

    /// The path of the unix socket on which this machine is asked when the guest dials its host, 2, at `port`.
    ///
    /// # Panics
    /// Where it has no place at the lab's vsock.
    pub fn host_socket(&self, port: u32) -> PathBuf {
        let place = self.vsock.as_ref().expect("a place at the vsock");
        PathBuf::from(format!("{}_{port}", place.host.display()))
    }

    /// What its host does for it: what it dials there, at `port` of the number 2, reaches the same port of another guest.
    ///
    /// # Panics
    /// Where one of them has no place at the lab's vsock.
    pub fn passage(&self, port: u32, to: &Self) -> Passage {
        let far = to.vsock.as_ref().expect("a place at the vsock");
        Passage::open(&self.host_socket(port), far.host.clone(), port)
    }

    /// Whether it has power.
    pub fn has_power(&self) -> bool {
        self.running.is_some()
    }

    /// Gives it power, and does not wait.
    pub fn power_on(&mut self) {
        let hosts = self.room.hosts();
        if self.own.hosts != hosts {
            self.own.hosts = hosts;
            let image = image::image(&self.room.stock, self.kernel, &self.own);
            std::fs::write(&self.machine.image, image).expect("an initial RAM disk can be written");
        }
        if let Some(place) = &self.vsock {
            self.room.vsock.start(self.room.stock.vsock_carrier(), &self.room.world, place);
        }
        let log = self.room.world.path(&format!("{}-qemu.log", self.name()));
        let process = Process::start(self.machine.command(), self.name(), &log);
        let agent = Agent::connect(self.name(), &self.machine.agent);
        self.running = Some((process, Mutex::new(agent)));
    }

    /// Waits until its system is up.
    #[track_caller]
    pub fn wait_up(&self) {
        self.wait_boot(None);
    }

    /// Gives it power and waits until its system is up.
    #[track_caller]
    pub fn start(&mut self) {
        self.power_on();
        self.wait_up();
    }

    /// Cuts the power: nothing in it hears of it. Returns when it is gone.
    pub fn cut(&mut self) {
        if let Some((mut process, _)) = self.running.take() {
            process.kill();
        }
    }

    /// Has its system reboot as its operator would, and waits until it is up again.
    #[track_caller]
    pub fn reboot(&self) {
        self.reboot_by("reboot");
    }

    /// Has its system reboot by this line, and waits until it is up again.
    #[track_caller]
    pub fn reboot_by(&self, line: &str) {
        let before = self.boot();
        self.begin(line);
        self.wait_other_boot(before);
    }

    /// The kernel's name of this boot.
    pub fn boot(&self) -> Option<String> {
        self.agent().boot()
    }

    /// Waits until it is up in another boot than this one.
    #[track_caller]
    pub fn wait_other_boot(&self, before: Option<String>) {
        self.wait_boot(before);
    }

    /// Stops all of its processors; time passes outside.
    #[track_caller]
    pub fn freeze(&self) {
        let (process, _) = self.running();
        process.signal(Signal::STOP);
        wait_until("a guest stops after SIGSTOP", PROMPT, || process::is_stopped(process.pid()));
    }

    /// Ends a [`Guest::freeze`].
    pub fn thaw(&self) {
        self.running().0.signal(Signal::CONT);
    }

    /// Pulls the cable of its network card in the lab's network: no error anywhere, only silence.
    pub fn unplug(&self) {
        self.cable.unplug(true);
    }

    /// Ends a [`Guest::unplug`].
    pub fn plug(&self) {
        self.cable.unplug(false);
    }

    /// Starts a shell's line.
    pub fn begin(&self, line: &str) -> Order {
        self.agent().run(line)
    }

    /// Runs a shell's line to its end.
    #[track_caller]
    pub fn run(&self, line: &str) -> Finished {
        self.begin(line).finish(LINE)
    }

    /// Runs a line that must succeed; what it printed.
    #[track_caller]
    pub fn say(&self, line: &str) -> String {
        self.run(line).ok().stdout
    }

    /// All that its console has shown, of all boots.
    pub fn console(&self) -> String {
        self.text(&self.machine.console_log)
    }

    /// All that its services have printed, of all boots.
    pub fn services(&self) -> String {
        self.text(&self.machine.services_log)
    }

    /// The kernel's log of this boot.
    #[track_caller]
    pub fn kernel_log(&self) -> String {
        self.say("dmesg")
    }

    /// The kernel has seen no failing disk in this boot.
    ///
    /// # Panics
    /// Where it has, with what it said.
    #[track_caller]
    pub fn assert_quiet(&self) {
        let complaints = quiet::complaints(&self.kernel_log());
        assert!(complaints.is_empty(), "the kernel of {} complains: {complaints:#?}", self.name());
    }

    /// Nor in any boot before, as far as its console shows it: while it went down, above all.
    ///
    /// # Panics
    /// Where it has, with what it said.
    #[track_caller]
    pub fn assert_always_quiet(&self) {
        let complaints = quiet::complaints(&self.console());
        assert!(complaints.is_empty(), "the kernel of {} complained: {complaints:#?}", self.name());
    }

    #[track_caller]
    fn wait_boot(&self, before: Option<String>) {
        let (process, agent) = self.running();
        wait_until(&format!("{} is up", self.name()), BOOT, || {
            if let Some(status) = process.ended() {
                panic!("the QEMU of {} has ended: {status}\n{}", self.name(), process.log());
            }
            let console = self.console();
            assert!(!console.contains(PANIC), "the kernel of {} panics:\n{console}", self.name());
            let boot = agent.lock().expect("an agent").boot();
            boot.is_some() && boot != before
        });
    }

    fn running(&self) -> &(Process, Mutex<Agent>) {
        self.running.as_ref().unwrap_or_else(|| panic!("{} has no power", self.name()))
    }

    fn agent(&self) -> std::sync::MutexGuard<'_, Agent> {
        self.running().1.lock().expect("an agent")
    }

    fn text(&self, path: &std::path::Path) -> String {
        let bytes = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A disk that begins as another one, and takes what is written.
fn system(begin: &Path, disk: &Path) -> PathBuf {
    let mut make = Command::new("qemu-img");
    make.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(begin).arg(disk);
    let made = make.output().expect("starting qemu-img (package qemu-utils)");
    assert!(made.status.success(), "qemu-img: {}", String::from_utf8_lossy(&made.stderr));
    disk.to_owned()
}
