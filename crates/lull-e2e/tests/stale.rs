//! Writes of a connection that its initiator has lost come to the target when newer ones to the same blocks have been
//! acknowledged.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lull_e2e::{
    Consumer, Initiator, Load, Mark, PROMPT, Proxy, Shape, Target, Use, Versions, World, rounds,
    wait_until,
};
use lull_wire::OpCode;

/// Blocks that are written twice: fewer than a socket has room for.
const BLOCKS: usize = 16;

/// A target, and an initiator that reaches it through a proxy only.
fn scene(world: &World) -> (Target, Proxy, Initiator) {
    let target = world.target("stor").file("db1", "8M").start();
    let proxy = Proxy::start(world.path("proxy.sock"), target.listen());
    let web = world.initiator("web1").uses(Use::at(&proxy.addr(), "db1")).start();
    (target, proxy, web)
}

/// The blocks of the medium itself that do not hold this version.
fn others_than(version: u64, medium: &Path) -> Vec<usize> {
    let medium = std::fs::File::open(medium).expect("the medium");
    let differs = |number: &usize| {
        let mut block = vec![0; Consumer::BLOCK as usize];
        medium.read_exact_at(&mut block, *number as u64 * Consumer::BLOCK).expect("a block");
        block != Versions::content(*number, version)
    };
    (0..BLOCKS).filter(differs).collect()
}

/// What was held back comes to the target, which has then answered something that came later.
fn let_go(proxy: &Proxy, target: &Target) -> bool {
    let taken = proxy.go_on();
    target.wait_all_sharing();
    taken
}

/// [SAFE-5] The initiator has come again by another connection, all was sent again there, and overwritten.
#[test]
fn writes_of_a_lost_connection_do_not_come_back_over_newer_ones() {
    let world = World::new();
    let (mut target, proxy, web) = scene(&world);
    let (nbd, medium) = (web.nbd(), world.path("db1.img"));
    proxy.stop_at(Mark::before_request(OpCode::Write));
    let consumer = std::thread::spawn(move || {
        let consumer = Consumer::connect(&nbd);
        // Answered on the second connection only.
        assert!(consumer.put(BLOCKS, 1));
        assert!(consumer.put(BLOCKS, 2));
        consumer.flush();
    });
    proxy.wait_stopped();
    wait_until("all are sent", PROMPT, || web.attachment().in_flight == BLOCKS as u64);
    assert_eq!(others_than(0, &medium), [0; 0], "nothing of it has come to the medium");
    proxy.lose_stopped();
    consumer.join().expect("the newer ones are acknowledged");
    assert_eq!(others_than(2, &medium), [0; 0]);
    let taken = let_go(&proxy, &target);
    eprintln!(
        "the old writes {}",
        if taken { "went into a closed session" } else { "were refused" }
    );
    assert_eq!(others_than(2, &medium), [0; 0], "a block was taken back");
    target.restart(&["--daemon"]);
    target.kill();
    assert_eq!(others_than(2, &medium), [0; 0], "a block was taken back later");
}

/// [SAFE-5] [SAFE-10] The same where it is the daemon that has died: nothing that it had sent overtakes its heir.
#[test]
fn writes_of_a_killed_daemon_do_not_come_back_over_its_heirs() {
    let world = World::new();
    let (target, proxy, mut web) = scene(&world);
    let (nbd, medium) = (web.nbd(), world.path("db1.img"));
    proxy.stop_at(Mark::before_request(OpCode::Write));
    let consumer = std::thread::spawn(move || Consumer::connect(&nbd).put(BLOCKS, 1));
    proxy.wait_stopped();
    wait_until("all are sent", PROMPT, || web.attachment().in_flight == BLOCKS as u64);
    web.freeze();
    proxy.lose_stopped();
    web.kill();
    assert!(!consumer.join().expect("a consumer"), "its connection ends with it");
    web.start();
    let consumer = Consumer::connect(&web.nbd());
    assert!(consumer.put(BLOCKS, 2));
    assert_eq!(others_than(2, &medium), [0; 0]);
    let_go(&proxy, &target);
    consumer.flush();
    assert_eq!(others_than(2, &medium), [0; 0], "a block was taken back");
}

/// [SAFE-5] [CONN-3] Let go at any moment of the return and after it, under load: each block holds what was acknowledged
/// last.
#[test]
fn writes_of_a_lost_connection_that_come_at_any_moment_change_nothing() {
    let world = World::new();
    let (target, proxy, web) = scene(&world);
    // So few blocks that each is written again at once.
    let load = Load::start(&web.nbd(), Shape { depth: 16, blocks: 32, ..Shape::default() });
    for round in 0..rounds(24) {
        proxy.stop_at(Mark::before_request(OpCode::Write));
        proxy.wait_stopped();
        wait_until("they wait", PROMPT, || web.attachment().in_flight > 8);
        let epoch = web.attachment().epoch;
        proxy.lose_stopped();
        match round % 4 {
            0 => {}
            1 => wait_until("it has come again", PROMPT, || web.attachment().epoch > epoch),
            later => load.wait_progress(later as u64 * 40),
        }
        let_go(&proxy, &target);
        load.wait_progress(16);
        load.judge();
    }
    web.wait_sharing();
    load.finish().clean();
}
