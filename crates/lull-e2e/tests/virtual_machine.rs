//! A virtual machine's requests, of which its monitor keeps a record, behind a daemon that is killed.

use std::path::Path;
use std::rc::Rc;

use lull_admin::AttachmentPhase;
use lull_e2e::{PROMPT, Use, World, wait_until};
use lull_transport::{Addr, Stream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::machine::{Board, DATA, Data, FEATURES, Machine};

/// What is asked for, and how that fails.
const IN: u32 = 0;
const FAILED: u8 = 1;

/// A monitor that connects, as it does again and again where nobody listens.
fn connected(runtime: &Runtime, board: &Rc<Board>, socket: &Path) -> Machine {
    wait_until("somebody listens there", PROMPT, || {
        std::os::unix::net::UnixStream::connect(socket).is_ok()
    });
    LocalSet::new().block_on(runtime, async {
        let stream = Stream::dial(&Addr::Unix(socket.to_owned())).await.expect("a connection");
        let mut machine = Machine::over(board, stream);
        machine.begin(FEATURES, 1).await;
        machine
    })
}

/// Reads a block; what lies at `at` says how that went.
fn read(machine: &mut Machine, sector: u64, at: u64) {
    machine.ask(0, IN, sector, at, Data::In(512));
    machine.kick(0);
}

#[track_caller]
fn wait_answered(machine: &mut Machine, what: &str) {
    wait_until(what, PROMPT, || !machine.used(0).is_empty());
}

/// [TIMER-1] [TIMER-3] [INIT-1] What a machine has asked a daemon that was killed the next one fails when the policy says so, and
/// not before: the target is away all the time. When that is back the machine reads again.
#[test]
fn a_policy_acts_for_a_machine_whose_daemon_was_killed() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let socket = world.path("db1.vhost");
    let one = Use::of(&target, "db1").set("vhost-user", &socket.display().to_string());
    let one = one.set("on-timeout", "error").set("restart-timeout", "4s");
    let mut web = world.initiator("web1").uses(one).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, board) = (runtime.expect("a runtime"), Board::new());
    let mut machine = connected(&runtime, &board, &socket);
    read(&mut machine, 0, DATA);
    wait_answered(&mut machine, "it reads");
    assert_eq!(machine.status(DATA), 0);
    target.kill();
    let at = DATA + 4096;
    read(&mut machine, 8, at);
    wait_until("it is held", PROMPT, || web.attachment().held > 0);
    web.kill();
    drop(machine);
    web.spawn();
    let mut machine = connected(&runtime, &board, &socket);
    wait_until("it is held again", PROMPT, || web.attachment().held > 0);
    wait_answered(&mut machine, "the policy acts");
    assert_eq!(machine.status(at), FAILED, "{}", web.log());
    let outage = web.wait_phase(AttachmentPhase::Expired).outage.expect("an outage");
    assert!(outage.deadline.is_some_and(|at| at - outage.since >= 3_900), "{outage:?}");
    target.start();
    web.wait_sharing();
    read(&mut machine, 8, at);
    wait_answered(&mut machine, "it reads again");
    assert_eq!(machine.status(at), 0);
}
