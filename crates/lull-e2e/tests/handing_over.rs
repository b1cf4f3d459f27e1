//! A hand-over of an initiator's daemon that comes to nothing, wherever it does: consumers have waited, and that is all.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use lull_e2e::tools::run;
use lull_e2e::{
    Consumer, Initiator, Load, PROMPT, Shape, Signal, Target, Use, World, is_running, limit_files,
    lull, open_files, send, wait_until,
};
use rustix::fs::{Mode, OFlags};

/// How every successor begins that does not end well: it passes its check. `take()` is the next parcel's message.
const BEGINS: &str = r#"#!/usr/bin/env python3
import os, socket, sys
end = socket.socket(fileno=int(os.environ["LULL_PREDECESSOR"]))
def say(text):
    end.send(b"\0\0" + text)
def take():
    return end.recvmsg(1 << 18, socket.CMSG_SPACE(4 * 253))[0]
say(b"checked")
"#;

/// Attachments that share, whose daemon runs from a file that may be replaced.
struct Scene {
    binary: PathBuf,
    load: Load,
    web: Initiator,
    target: Target,
}

impl Scene {
    fn new(world: &World) -> Self {
        let binary = world.path("lull");
        put_back(&binary);
        let target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
        let web = world.initiator("web1").binary(&binary);
        let web = web.uses(Use::of(&target, "db1")).uses(Use::of(&target, "db2")).start();
        let load = Load::start(&web.nbd(), Shape::default());
        Self { binary, load, web, target }
    }

    /// A restart with a successor that does this once it has passed its check. The old process goes on, and says why.
    #[track_caller]
    fn fails(&self, script: &str, reason: &str) {
        let pid = self.web.pid();
        replace(&self.binary, &format!("{BEGINS}{script}\n"));
        let said = self.web.lull(&["restart", "initiator"]).code(1).says(reason).says("goes on");
        eprintln!("{}", said.stderr.lines().last().unwrap_or_default());
        self.load.wait_progress(100);
        self.web.wait_sharing();
        assert_eq!(self.web.pid(), pid, "the same process");
        assert!(self.web.log().contains(reason), "{}", self.web.log());
        assert!(self.web.children().is_empty(), "no successor is left");
    }

    /// The next one is as good as any.
    fn succeeds(self) {
        put_back(&self.binary);
        self.web.restart();
        self.load.wait_progress(100);
        self.web.wait_sharing();
        self.load.finish().clean();
    }
}

/// A client that is connected and does nothing.
struct Idle(UnixStream);

impl Idle {
    const OPTION: u64 = u64::from_be_bytes(*b"IHAVEOPT");

    fn at(web: &Initiator, name: &str) -> Self {
        let uri = web.nbd_of(name);
        let (_, path) = uri.split_once("socket=").expect("the path of a socket");
        let mut stream = UnixStream::connect(path).expect("a socket");
        stream.read_exact(&mut [0; 18]).expect("a greeting");
        let begins = [&3u32.to_be_bytes()[..], &Self::OPTION.to_be_bytes(), &1u32.to_be_bytes()];
        let export = [&(name.len() as u32).to_be_bytes()[..], name.as_bytes()];
        stream.write_all(&[begins.concat(), export.concat()].concat()).expect("somebody listens");
        stream.read_exact(&mut [0; 10]).expect("an export");
        Self(stream)
    }

    fn flushes(mut self) {
        let (magic, flush, cookie) = (0x2560_9513u32, 3u32, 7u64);
        let words =
            [&magic.to_be_bytes()[..], &flush.to_be_bytes(), &cookie.to_be_bytes(), &[0; 12]];
        self.0.write_all(&words.concat()).expect("somebody listens");
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).expect("a reply");
        assert_eq!((&reply[4..8], &reply[8..]), (&[0; 4][..], &cookie.to_be_bytes()[..]));
    }
}

fn put_back(binary: &Path) {
    let new = binary.with_extension("new");
    std::fs::copy(lull(), &new).expect("a copy of the command");
    std::fs::rename(&new, binary).expect("a program can be replaced");
}

fn replace(binary: &Path, script: &str) {
    let new = binary.with_extension("new");
    std::fs::write(&new, script).expect("a script can be written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&new, mode).expect("a script can be made a program");
    std::fs::rename(&new, binary).expect("a program can be replaced");
}

/// [INIT-1] [PAUSE-9]
#[test]
fn a_successor_that_dies_at_any_message_leaves_the_old_process_serving() {
    let world = World::new();
    let scene = Scene::new(&world);
    // As many clients as take more than one parcel.
    let idle =
        ["db1", "db2"].map(|name| Vec::from_iter((0..150).map(|_| Idle::at(&scene.web, name))));
    scene.fails("sys.exit(7)", "exit status: 7");
    scene.fails("assert take().endswith(b'more')\nsys.exit(8)", "exit status: 8");
    scene.fails("while not take().endswith(b'take'): pass\nsys.exit(9)", "exit status: 9");
    // It says that it serves, and does not live to hear that it may.
    let deaf = "while not take().endswith(b'take'): pass\nend.shutdown(socket.SHUT_RD)\nsay(b'serving')\nsys.exit(3)";
    scene.fails(deaf, "exit status: 3");
    idle.into_iter().flatten().for_each(Idle::flushes);
    scene.succeeds();
}

/// [SAFE-10] Whoever is given a log goes on with it, be it of a release that does not sign it: were it the old process's still,
/// the one after that would set aside what was kept meanwhile. Where the old process goes on it is its own again.
#[test]
fn a_log_that_is_handed_over_says_nothing_of_whose_it_is() {
    let world = World::new();
    let scene = Scene::new(&world);
    let looks = r#"
given = []
while True:
    data, extra, _, _ = end.recvmsg(1 << 18, socket.CMSG_SPACE(4 * 253))
    fds = [fd for _, _, fds in extra for fd in memoryview(fds).cast("i")]
    at = 2
    for fd in fds:
        given.append((data[at + 1:at + 1 + data[at]].decode(), fd))
        at += 1 + data[at]
    if data.endswith(b"take"):
        break
logs = [os.pread(fd, 304, 0) for name, fd in given if name.startswith("lull-log-")]
assert len(logs) == 2 and all(log[:8] == b"lulllog1" for log in logs)
# The checksum over whose it is.
sys.exit(7 if not any(any(log[296:304]) for log in logs) else 8)
"#;
    scene.fails(looks, "exit status: 7");
    scene.succeeds();
}

/// [INIT-1] [PAUSE-9] It is told what the new process said.
#[test]
fn a_successor_that_refuses_what_it_is_given_leaves_the_old_process_serving() {
    let world = World::new();
    let scene = Scene::new(&world);
    scene.fails("take()\nsay(b'there is no room for it: make some')\ntake()", "make some");
    scene.succeeds();
}

/// [INIT-1] It has passed its check, and may not have what it is given: it is told so, and by whom.
#[test]
fn a_successor_that_loses_descriptors_on_their_way_says_so() {
    let world = World::new();
    let scene = Scene::new(&world);
    let pid = scene.web.pid();
    scene.target.signal(Signal::STOP);
    wait_until("requests wait", PROMPT, || scene.web.attachment().in_flight > 0);
    let running = scene.web.begin(&["restart", "initiator", "--pause-timeout", "5s"]);
    wait_until("a successor waits", PROMPT, || scene.web.log().contains("is ready"));
    let [successor] = scene.web.children()[..] else { panic!("{:?}", scene.web.children()) };
    limit_files(successor, 1);
    let said = running.finish(2 * PROMPT).code(1).says("limit of open files").says("goes on");
    eprintln!("{}", said.stderr.lines().last().unwrap_or_default());
    scene.target.process().signal(Signal::CONT);
    scene.load.wait_progress(100);
    assert_eq!(scene.web.pid(), pid);
    scene.succeeds();
}

/// [PAUSE-9] [CONN-5] SIGTERM to the old process, which has nothing to end any more, is the new one's.
#[test]
fn a_daemon_that_is_told_to_end_while_it_hands_over_leaves_by_its_successor() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let old = web.pid();
    let uri = web.nbd();
    target.signal(Signal::STOP);
    let writer = std::thread::spawn(move || Consumer::connect(&uri).write(1));
    wait_until("a request waits", PROMPT, || web.attachment().in_flight > 0);
    let restart = web.begin(&["restart", "initiator", "--pause-timeout", "60s"]);
    wait_until("a successor waits", PROMPT, || web.log().contains("is ready"));
    let [successor] = web.children()[..] else { panic!("{:?}", web.children()) };
    send(successor, Signal::STOP);
    target.process().signal(Signal::CONT);
    wait_until("it hands over", PROMPT, || web.log().contains("the new process takes over"));
    send(old, Signal::TERM);
    send(successor, Signal::CONT);
    wait_until("the end of both", PROMPT, || !is_running(successor) && !is_running(old));
    writer.join().expect("its write was answered");
    assert!(target.session("web1").is_none(), "it has left: {:?}", target.session("web1"));
    drop(restart);
}

/// [INIT-1] [TIMER-5] What keeps the old process from going on has a name, and consumers wait until it is over.
#[test]
fn an_old_process_that_cannot_go_on_at_once_goes_on_as_soon_as_it_can() {
    let world = World::new();
    let scene = Scene::new(&world);
    let (pid, new) = (scene.web.pid(), scene.web.state_dir().join("db1.json.new"));
    let script = format!("take()\nos.mkdir({new:?})\nsys.exit(7)");
    replace(&scene.binary, &format!("{BEGINS}{script}\n"));
    let running = scene.web.begin(&["restart", "initiator"]);
    wait_until("it says what it waits for", PROMPT, || scene.web.log().contains("consumers wait"));
    assert!(scene.web.log().contains("db1.json"), "{}", scene.web.log());
    std::fs::remove_dir(&new).expect("a directory that is empty");
    running.finish(PROMPT).code(1).says("goes on");
    scene.load.wait_progress(100);
    assert_eq!(scene.web.pid(), pid);
    scene.succeeds();
}

/// [PAUSE-9] A state directory that cannot be written is found before anybody waits.
#[test]
fn a_state_that_cannot_be_written_pauses_nobody() {
    let world = World::new();
    let scene = Scene::new(&world);
    let pid = scene.web.pid();
    let tried = scene.web.state_dir().join("db2.json.try");
    std::fs::create_dir(&tried).expect("a directory");
    scene.load.take_window();
    scene.web.lull(&["restart", "initiator"]).code(1).says("cannot write");
    assert!(!scene.web.log().contains("the new process is ready"), "{}", scene.web.log());
    assert_eq!(scene.web.pid(), pid);
    std::fs::remove_dir(&tried).expect("a directory that is empty");
    scene.succeeds();
}

/// [PAUSE-9] [TIMER-5] A state directory that hangs is no reason to freeze anybody: the lock on it is the successor's to have, and
/// whoever went on in its place would wait for the same write.
#[test]
fn a_state_that_is_written_without_end_keeps_the_old_process_at_work() {
    let world = World::new();
    let mut scene = Scene::new(&world);
    let (pid, new) = (scene.web.pid(), scene.web.state_dir().join("db1.json.new"));
    // Whoever opens it to write waits for a reader.
    run("mkfifo", &[&new.display().to_string()]).ok();
    scene.target.kill();
    scene.target.start();
    scene.load.wait_progress(100);
    scene.web.lull(&["restart", "initiator"]).code(3).says("has its state written");
    assert_eq!(scene.web.pid(), pid, "the same process");
    scene.load.wait_progress(100);
    let reader = rustix::fs::open(&new, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
    std::fs::remove_file(&new).expect("a pipe that is there");
    wait_until("the disk answers", PROMPT, || scene.web.log().contains("is written again"));
    drop(reader.expect("a pipe"));
    scene.succeeds();
}

/// [INIT-1] Wherever the last descriptor is needed, consumers do not notice that there is none.
#[test]
fn a_full_table_of_descriptors_is_no_end() {
    let world = World::new();
    let scene = Scene::new(&world);
    let idle = Vec::from_iter((0..60).map(|_| Idle::at(&scene.web, "db2")));
    for more in [2, 3, 4, 5, 6, 8, 10, 14, 18, 24, 32, 48] {
        let pid = scene.web.pid();
        limit_files(pid, open_files(pid) + more);
        let said = scene.web.lull(&["restart", "initiator"]);
        eprintln!(
            "{more}: {:?} {}",
            said.status.code(),
            said.stderr.lines().last().unwrap_or_default()
        );
        limit_files(scene.web.pid(), 4096);
        scene.load.wait_progress(100);
        scene.web.wait_sharing();
    }
    idle.into_iter().for_each(Idle::flushes);
    scene.succeeds();
}

/// [INIT-1] Whoever is connected goes on, and so does everybody whose place is there.
#[test]
fn a_new_place_that_cannot_be_had_cuts_nobody_off() {
    let world = World::new();
    let scene = Scene::new(&world);
    let config = world.path("web1.toml");
    let before = std::fs::read_to_string(&config).expect("a configuration");
    // Somebody listens there.
    let taken = world.path("stor.sock");
    let nbd = before.lines().find(|line| line.starts_with("nbd = ")).expect("a place");
    let after = before.replacen(nbd, &format!("{nbd}\nvhost-user = {taken:?}"), 1);
    std::fs::write(&config, after).expect("it can be written");
    scene.web.restart();
    scene.load.wait_progress(100);
    scene.web.wait_sharing();
    assert!(scene.web.log().contains("the other ways to it go on"), "{}", scene.web.log());
    Idle::at(&scene.web, "db1").flushes();
    std::fs::write(&config, before).expect("it can be written");
    scene.succeeds();
}
