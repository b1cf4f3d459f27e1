//! What a service manager is told: by it `systemctl start` returns when consumers can come, and a target that was
//! replaced is not taken for one that ended.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;

use lull_admin::{OutcomeKind, RestartKind, RestartPhase};
use lull_e2e::{Load, Notice, PROMPT, ServiceManager, Shape, Signal, Use, World, send};

fn words<'a>(notice: &'a Notice, variable: &str) -> &'a str {
    notice.value(variable).unwrap_or_else(|| panic!("no {variable} in {notice:?}"))
}

#[test]
fn a_service_manager_knows_the_process_that_serves_after_each_restart() {
    let world = World::new();
    let manager = world.service_manager();
    let mut target = world.target("stor").file("db1", "1M").start();
    let first = manager.next();
    assert!(first.is_ready(), "{first:?}");
    assert_eq!(words(&first, "MAINPID"), target.pid().to_string());
    assert!(words(&first, "STATUS").starts_with("stor serves db1"), "{first:?}");

    target.restart(&["--daemon"]);
    let over = manager.next();
    assert_eq!(words(&over, "RELOADING"), "1");
    let second = manager.next();
    assert!(second.is_ready(), "{second:?}");
    assert_eq!(words(&second, "MAINPID"), target.pid().to_string());
    assert_ne!(words(&second, "MAINPID"), words(&first, "MAINPID"));

    target.signal(Signal::TERM);
    let ending = manager.next();
    assert_eq!(words(&ending, "STOPPING"), "1");
    let micros: u64 = words(&ending, "EXTEND_TIMEOUT_USEC").parse().expect("a number");
    assert!(micros > 2_000_000, "longer than the pause may take: {micros}");
    target.wait_gone();
}

#[test]
fn a_process_that_serves_again_after_a_command_says_so() {
    let world = World::new();
    let manager = world.service_manager();
    let target = world.target("stor").file("db1", "1M").start();
    let pid = target.pid().to_string();
    assert_eq!(manager.next().value("MAINPID"), Some(&*pid));
    target.restart(&["--exec", "true"]);
    let again = manager.next();
    assert!(again.is_ready(), "{again:?}");
    assert_eq!(again.value("MAINPID"), Some(&*pid), "--exec keeps the process");
}

#[test]
fn an_initiator_is_ready_when_its_consumers_can_connect_and_not_before() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "1M").prepare();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    let manager = world.service_manager();
    web.spawn();
    let waits = manager.next();
    assert!(!waits.is_ready(), "{waits:?}");
    assert!(words(&waits, "STATUS").contains("db1"), "{waits:?}");
    target.start();
    let told = [manager.next(), manager.next()];
    let ready = told.iter().find(|notice| words(notice, "STATUS").starts_with("web1 uses db1"));
    assert!(ready.is_some_and(Notice::is_ready), "{told:?}");
    web.wait_sharing();

    web.process().signal(Signal::TERM);
    let ending = manager.next();
    assert_eq!(words(&ending, "STOPPING"), "1");
    assert!(web.process().wait(PROMPT).success());
}

#[test]
fn daemons_give_signs_of_life_also_while_a_command_runs_and_after_a_hand_over() {
    let world = World::new();
    let manager = world.service_manager();
    let target = world.target("stor").file("db1", "1M").start();
    assert!(manager.next().is_ready());
    manager.wait_beat();
    let go = world.path("go");
    let waits = format!("until test -e {}; do sleep 0.05; done", go.display());
    let restart = target.begin(&["restart", "--exec", &waits]);
    manager.wait_beat();
    manager.wait_beat();
    std::fs::write(&go, "").expect("written");
    restart.finish(PROMPT).ok();
    assert!(manager.next().is_ready());
    target.restart(&["--daemon"]);
    assert_eq!(words(&manager.next(), "RELOADING"), "1");
    assert!(manager.next().is_ready());
    manager.wait_beat();
}

/// The next notice with this in it.
fn until(manager: &ServiceManager, variable: &str) -> Notice {
    loop {
        let notice = manager.next();
        if notice.value(variable).is_some() {
            return notice;
        }
    }
}

/// [PAUSE-9] `systemctl stop` while `lull restart` runs: the process that it meets has nothing to end any more, and passes it on.
#[test]
fn a_target_that_is_told_to_end_while_it_hands_over_ends_as_planned() {
    let world = World::new();
    let manager = world.service_manager();
    let mut target = world.target("stor").file("db1", "16M").set("keep-alive", "30s").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let old = target.pid();
    web.freeze();
    let restart = target.begin(&["restart", "--daemon", "--pause-timeout", "60s"]);
    target.wait_restart(RestartPhase::Pausing);
    let [successor] = target.children()[..] else { panic!("{:?}", target.children()) };
    send(successor, Signal::STOP);
    web.thaw();
    until(&manager, "RELOADING");
    send(old, Signal::TERM);
    send(successor, Signal::CONT);
    until(&manager, "STOPPING");
    target.wait_gone();
    drop(restart);
    target.start();
    load.wait_progress(100);
    load.finish().clean();
    let stop = target.history().pop().expect("its end is on record");
    assert_eq!(stop.kind, RestartKind::Stop);
    assert_eq!(stop.outcome.map(|outcome| outcome.kind), Some(OutcomeKind::Completed));
}

/// Whoever dials while a target that was killed is started again waits for it.
#[test]
fn a_killed_targets_port_refuses_nobody_where_a_service_manager_keeps_it() {
    let world = World::new();
    let manager = world.service_manager();
    let mut target = world.target("stor").tcp().file("db1", "1M").start();
    assert!(manager.next().is_ready());
    assert_eq!(manager.stored(), ["lull-listening"]);
    target.kill();
    let address = target.listen().trim_start_matches("tcp:").to_owned();
    let mut early = TcpStream::connect(&address).expect("the port is there");
    target.spawn_by(&manager);
    target.wait_serving();
    assert_eq!(manager.stored(), ["lull-listening"]);
    // What is no HELLO is answered by the end of the connection.
    early.write_all(&[0; 4096]).expect("somebody takes it");
    let _ = early.read(&mut [0]);
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    assert_eq!(web.attachment().errors, 0);
}

/// Somebody who dials a target and says what is no HELLO, which is answered by the end of the connection.
fn dials(address: &str) -> Box<dyn FnOnce()> {
    fn heard(mut stream: impl std::io::Read + std::io::Write) {
        stream.write_all(&[0; 4096]).expect("somebody takes it");
        let _ = stream.read(&mut [0]);
    }
    match address.split_once(':') {
        Some(("unix", path)) => {
            let stream = UnixStream::connect(path).expect("nobody is refused");
            Box::new(move || heard(stream))
        }
        _ => {
            let at = address.trim_start_matches("tcp:");
            let stream = TcpStream::connect(at).expect("nobody is refused");
            Box::new(move || heard(stream))
        }
    }
}

/// A socket that a unit of the service manager's binds is used, and nobody who dials it is refused, whatever becomes of the
/// daemon: before its start, while it is replaced, when it was killed, and after its end.
#[test]
fn a_socket_that_a_service_manager_binds_refuses_nobody() {
    for tcp in [false, true] {
        let world = World::new();
        let target = world.target("stor").file("db1", "16M");
        let mut target = if tcp { target.tcp() } else { target }.prepare();
        let address = target.listen().to_owned();
        let socket: OwnedFd = match address.split_once(':') {
            Some(("unix", path)) => UnixListener::bind(path).expect("a socket").into(),
            _ => TcpListener::bind(address.trim_start_matches("tcp:")).expect("a port").into(),
        };
        let early = dials(&address);
        target.spawn_on(socket.as_fd());
        target.wait_serving();
        early();
        let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
        let load = Load::start(&web.nbd(), Shape::default());
        std::thread::scope(|scope| {
            let (goes_on, over) = mpsc::channel::<()>();
            let address = &address;
            let dialler = scope.spawn(move || {
                let mut count = 0;
                while over.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    dials(address)();
                    count += 1;
                }
                count
            });
            target.restart(&["--daemon"]);
            drop(goes_on);
            let count: u32 = dialler.join().expect("nobody was refused");
            eprintln!("{count} have dialled");
        });
        target.kill();
        let waits = dials(&address);
        target.spawn_on(socket.as_fd());
        waits();
        web.wait_sharing();
        // Its successor knows too whose socket it is.
        target.restart(&["--daemon"]);
        load.wait_progress(100);
        load.finish().clean();
        target.signal(Signal::TERM);
        target.wait_gone();
        drop(dials(&address));
    }
}
