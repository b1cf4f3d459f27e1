//! Two nodes that use each other's disks: each is a target for the other.

use lull_admin::OutcomeKind;
use lull_e2e::{Initiator, Load, PROMPT, Shape, Target, Use, World};

/// Restarts of each node.
const ROUNDS: usize = 3;

/// Two nodes, each with a daemon for its own disk and one for the other's, and a consumer at work on each.
struct Ring {
    targets: [Target; 2],
    initiators: [Initiator; 2],
    loads: [Load; 2],
    _world: World,
}

impl Ring {
    fn start() -> Self {
        let world = World::new();
        let targets = ["east", "west"].map(|node| {
            let target = world.target(node).file(&format!("of-{node}"), "16M");
            target.start()
        });
        let [east, west] = &targets;
        let using = |node: &str, other: &Target| {
            let resource = format!("of-{}", other.name());
            let place = format!("{node}-using");
            world.initiator(node).place(&place).uses(Use::of(other, &resource)).start()
        };
        let initiators = [using("east", west), using("west", east)];
        let loads = [0, 1].map(|n| {
            let shape = Shape { seed: n as u64 + 1, ..Shape::default() };
            Load::start(&initiators[n].nbd(), shape)
        });
        Self { targets, initiators, loads, _world: world }
    }

    /// Everybody shares and both consumers go on.
    fn goes_on(&self) {
        self.targets.iter().for_each(Target::wait_all_sharing);
        self.initiators.iter().for_each(Initiator::wait_sharing);
        self.loads.iter().for_each(|load| load.wait_progress(100));
    }

    fn finish(self) {
        for load in self.loads {
            load.finish().clean();
        }
    }
}

/// [PAUSE-7] Each node is restarted in turn while the other works on its disk, and works on the other's meanwhile.
#[test]
fn nodes_that_use_each_other_restart_in_turn() {
    let ring = Ring::start();
    for _ in 0..ROUNDS {
        for target in &ring.targets {
            target.restart(&["--daemon"]);
            ring.goes_on();
        }
    }
    ring.finish();
}

/// [PAUSE-3] Both restart at the same time: neither pause waits for the other for ever.
#[test]
fn nodes_that_use_each_other_restart_together() {
    let ring = Ring::start();
    for _ in 0..ROUNDS {
        let both = ring.targets.each_ref().map(|target| target.begin(&["restart", "--daemon"]));
        for command in both {
            command.finish(PROMPT).ok();
        }
        ring.goes_on();
    }
    for target in &ring.targets {
        let kinds: Vec<_> = target
            .history()
            .into_iter()
            .filter_map(|record| record.outcome.map(|outcome| outcome.kind))
            .collect();
        assert_eq!(kinds, [OutcomeKind::Completed; ROUNDS], "{}", target.name());
    }
    ring.finish();
}

/// [CONN-2] One node's target is killed under load and comes back: the other's consumer waits and goes on, and this
/// node's own consumer is not touched meanwhile.
#[test]
fn a_killed_target_of_a_ring_comes_back_to_both() {
    let mut ring = Ring::start();
    let [east, _] = &mut ring.targets;
    east.kill();
    ring.loads[0].wait_progress(100);
    ring.targets[0].start();
    ring.goes_on();
    ring.finish();
}
