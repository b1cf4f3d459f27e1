//! Planned restarts under load: nobody notices more than a lull.

use lull_e2e::{Load, Shape, Use, World};

/// [PAUSE-7]
#[test]
fn a_restart_to_a_successor_fails_nothing() {
    let world = World::new();
    let target = world.target("stor").file("db1", "64M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let load = Load::start(&web.nbd(), Shape::default());
    let record = target.restart(&["--daemon"]);
    eprintln!("{record:#?}");
    load.wait_progress(100);
    eprintln!("{:?}", load.finish().clean());
}
