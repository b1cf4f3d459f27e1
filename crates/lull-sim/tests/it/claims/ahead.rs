//! What is not promised yet, each as the schedule that shows it. A test here fails when its promise is kept: then it
//! turns round and moves to its place among the others, and the preset's excuse goes.

use crate::scene::Scene;
use lull_proto::initiator::Phase;
use std::time::Duration;

/// What a scene's judges find within a minute.
fn found(scene: &mut Scene) -> &'static str {
    scene.0.until(Duration::from_secs(60), |world| world.finding.is_some());
    let finding = scene.finding.as_ref();
    finding.map_or("nothing", |finding| finding.rule)
}

/// [SAFE-5] A daemon that was let in and dies before it has noted so has no heir.
#[test]
fn the_heir_of_a_daemon_that_could_not_note_itself_is_refused() {
    let mut scene = Scene::new(1);
    scene.pass(Duration::from_secs(1));
    scene.kill_node(0);
    scene.attachments[0].keeping = Duration::from_secs(1000);
    scene.until_phase(0, Phase::Ready);
    scene.kill_node(0);
    assert_eq!(found(&mut scene), "SAFE-5");
}
