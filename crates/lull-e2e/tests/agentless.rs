//! Clients without an agent: NBD programs that are not ours, straight at a target and at an attachment.

use std::str::FromStr as _;
use std::thread::JoinHandle;
use std::time::Duration;

use lull_admin::Access;
use lull_e2e::tools::{qemu_io, run, start};
use lull_e2e::{PROMPT, Running, Target, Use, World, wait_for, wait_until};
use lull_frontend::nbd::Uri;
use lull_frontend::nbd::client::{Connection, RequestError};
use tokio::sync::oneshot;

/// How long a tool may take for a disk of some megabytes.
const TOOL: Duration = Duration::from_secs(60);

/// A client of ours that stays connected until this is dropped.
struct Client {
    leave: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    fn connect(uri: &str) -> Self {
        let uri = Uri::from_str(uri).expect("an NBD URI");
        let (leave, told) = oneshot::channel::<()>();
        let (connected, is_connected) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            in_runtime(async move {
                let connection = Connection::<Vec<u8>>::connect(&uri).await.expect("a connection");
                connected.send(()).expect("a test that waits");
                // Dropped is as good as sent.
                let _ = told.await;
                connection.disconnect().await;
            });
        });
        is_connected.recv_timeout(PROMPT).expect("a connection");
        Self { leave: Some(leave), thread: Some(thread) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave.take();
        if let Some(thread) = self.thread.take() {
            // What it met is the test's failure already.
            let _ = thread.join();
        }
    }
}

fn in_runtime<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), body)
}

/// [SAFE-9] The field's tools use a target's disk directly, and the operator sees them as what cannot be paused.
#[test]
fn a_client_at_the_target_is_served_and_listed() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").nbd().start();
    let uri = target.nbd_uri("db1");
    let said = run("nbdinfo", &["--no-content", &uri]).ok().stdout;
    assert!(said.contains("export-size: 16777216"), "{said}");
    qemu_io(&uri, &[], &["write -P 0x5a 64k 64k", "flush", "read -P 0x5a 64k 64k"]).ok();
    let client = Client::connect(&uri);
    let listed = wait_for("the client is listed", PROMPT, || target.status().agentless.pop());
    assert_eq!((listed.resource.as_str(), listed.access), ("db1", Access::Rw));
    let shown = target.lull(&["status"]).ok();
    assert!(shown.stdout.contains("CANNOT BE PAUSED"), "{shown:?}");
    assert!(shown.stdout.contains(&listed.peer), "{shown:?}");
    drop(client);
    wait_until("the client is gone", PROMPT, || target.status().agentless.is_empty());
}

/// Whoever orders a pause or a restart reads whom it cuts off, before it does.
#[test]
fn a_client_at_the_target_is_named_before_a_restart() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").nbd().start();
    let client = Client::connect(&target.nbd_uri("db1"));
    let listed = wait_for("the client is listed", PROMPT, || target.status().agentless.pop());
    let named = format!("cannot be paused: {} on db1 (rw)", listed.peer);
    target.lull(&["pause"]).ok().says(&named);
    target.lull(&["resume"]).ok();
    let said = target.lull(&["restart", "--daemon"]).ok().says(&named).stderr;
    assert!(said.starts_with(&named), "it comes first: {said}");
    drop(client);
}

/// [SAFE-9] Who writes without an agent keeps an initiator out that would write too, and is named to it.
#[test]
fn a_writer_without_an_agent_keeps_other_writers_out() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").nbd().start();
    let beside = world.initiator("web2").uses(Use::of(&target, "db1").set("access", "ro"));
    let client = Client::connect(&target.nbd_uri("db1"));
    let listed = wait_for("the client is listed", PROMPT, || target.status().agentless.pop());
    let refused = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    let refused = Running::start(refused.command()).finish(PROMPT).code(1);
    refused.says("\"db1\" is written over NBD").says(&listed.peer).says("--access ro");
    let beside = beside.start();
    drop((client, beside));
    wait_until("the client is gone", PROMPT, || target.status().agentless.is_empty());
    world.initiator("web1").uses(Use::of(&target, "db1")).start();
}

/// [SAFE-9] Where an initiator writes, an NBD client may read.
#[test]
fn beside_a_writing_initiator_a_client_only_reads() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").nbd().start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    qemu_io(&web.nbd(), &[], &["write -P 0x77 0 64k", "flush"]).ok();
    let uri = target.nbd_uri("db1");
    let said = run("nbdinfo", &["--no-content", &uri]).ok().stdout;
    assert!(said.contains("is_read_only: true"), "{said}");
    qemu_io(&uri, &["-r"], &["read -P 0x77 0 64k"]).ok();
    qemu_io(&uri, &[], &["write -P 0x11 0 64k"]).code(1);
    qemu_io(&web.nbd(), &[], &["read -P 0x77 0 64k"]).ok();
}

/// What a client at the target saw of its restart: how its requests failed.
fn errors_through_a_restart(target: &Target) -> Vec<RequestError> {
    let uri = Uri::from_str(&target.nbd_uri("db1")).expect("an NBD URI");
    in_runtime(async {
        let connection = Connection::<Vec<u8>>::connect(&uri).await.expect("a connection");
        let workers: Vec<_> = (0..8u64)
            .map(|number| {
                let connection = connection.clone();
                tokio::task::spawn_local(async move {
                    let mut block = 0;
                    loop {
                        block = (block + 1) % 128;
                        let place = (block * 8 + number) * 4096;
                        if let Err(error) = connection.write(place, vec![7; 4096], false).await {
                            return error;
                        }
                    }
                })
            })
            .collect();
        let command = target.begin(&["restart", "--daemon"]);
        let mut errors = Vec::new();
        for worker in workers {
            errors.push(worker.await.expect("a worker"));
        }
        command.finish(PROMPT).ok();
        errors
    })
}

/// [PAUSE-7] A planned restart ends the connection and answers nothing with an error, ESHUTDOWN least of all: clients
/// that connect again, as many do by themselves, never hear of one.
#[test]
fn a_planned_restart_only_closes_a_clients_connection() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").nbd().start();
    let errors = errors_through_a_restart(&target);
    assert!(errors.iter().all(|error| matches!(error, RequestError::Lost(_))), "{errors:?}");
    qemu_io(&target.nbd_uri("db1"), &[], &["write -P 1 0 64k", "read -P 1 0 64k"]).ok();
}

/// The same, as somebody else's client says it.
#[test]
fn libnbds_copy_at_the_target_is_not_told_of_a_shutdown() {
    let world = World::new();
    let target = world.target("stor").file("db1", "64M").nbd().start();
    let uri = target.nbd_uri("db1");
    let copy =
        start("nbdcopy", &["--no-extents", "--request-size=4096", "--requests=1", &uri, "null:"]);
    wait_until("nbdcopy is connected", PROMPT, || !target.status().agentless.is_empty());
    target.restart(&["--daemon"]);
    let said = copy.finish(TOOL).code(1).stderr.to_lowercase();
    assert!(!said.contains("shutdown") && !said.contains("shutting"), "{said}");
    run("nbdcopy", &[&uri, "null:"]).ok();
}
