//! A connection that is lost at any message of a planned restart.

use std::time::Duration;

use lull_e2e::{Cut, Initiator, Load, Nth, PROMPT, Place, Proxy, Shape, Target, Use, World};
use lull_wire::{Kind, MessageInfo, Sender, TABLE};

/// How many of a kind are cut one by one: of requests and replies thousands pass.
const OF_A_KIND: u32 = 3;

/// Blocks of this load are few and small, so that a hundred restarts are short.
fn shape() -> Shape {
    Shape { depth: 4, blocks: 256, think: Duration::from_millis(2), ..Shape::default() }
}

/// A target with one initiator behind a proxy and one beside it, both at work.
struct Scene {
    target: Target,
    proxy: Proxy,
    webs: [Initiator; 2],
    loads: [Load; 2],
    _world: World,
}

impl Scene {
    fn start() -> Self {
        let world = World::new();
        let target = world.target("stor").file("db1", "8M").file("db2", "8M");
        let target = target.set("pause-timeout", "3s").start();
        let proxy = Proxy::start(world.path("proxy.sock"), target.listen());
        let behind = world.initiator("web1").uses(Use::at(&proxy.addr(), "db1")).start();
        let beside = world.initiator("web2").uses(Use::of(&target, "db2")).start();
        let loads = [&behind, &beside].map(|web| Load::start(&web.nbd(), shape()));
        Self { target, proxy, webs: [behind, beside], loads, _world: world }
    }

    /// A restart with these cuts, after which everybody shares and both consumers go on. Whether it
    /// completed, and whether all cuts found their message.
    fn restart(&self, cuts: &[Cut]) -> (bool, bool) {
        self.proxy.arm(cuts);
        let finished = self.target.begin(&["restart", "--daemon"]).finish(PROMPT);
        // 3: given up because somebody was not ready, which is one of the two ways to end.
        let code = finished.status.code();
        assert!(matches!(code, Some(0 | 3)), "with cuts at {cuts:?}: {finished:?}");
        self.target.wait_all_sharing();
        self.webs.iter().for_each(Initiator::wait_sharing);
        self.loads.iter().for_each(|load| load.wait_progress(8));
        (code == Some(0), self.proxy.has_cut())
    }

    /// One restart for each place in which each message of `list` can be cut, `first` being cut too.
    fn cut_each(&self, first: &[Cut], list: &[Nth]) {
        let (mut completed, mut met) = (0, 0);
        for nth in list {
            for place in [Place::Within, Place::After] {
                let cuts: Vec<Cut> = first.iter().copied().chain([(*nth, place)]).collect();
                let (ended_well, all_met) = self.restart(&cuts);
                completed += usize::from(ended_well);
                met += usize::from(all_met);
            }
        }
        let total = 2 * list.len();
        eprintln!("{total} restarts with a cut at {list:?}: {met} met it, {completed} completed");
        // Whether a message comes in every restart, PAUSE PROGRESS for one, is chance.
        assert!(4 * met >= 3 * total, "{met} of {total} cuts met their message");
    }

    fn finish(self) {
        for load in self.loads {
            load.finish().clean();
        }
    }
}

fn is_sent_by(side: Sender, kind: Kind) -> bool {
    let row = TABLE.iter().find(|row: &&MessageInfo| row.kind == kind);
    row.is_some_and(|row| row.from == side)
}

/// Cuts at every message that one side sends in a restart, as a restart without a cut shows them.
fn cut_at_every_message_of(side: Sender) {
    let scene = Scene::start();
    scene.restart(&[]);
    let mut list = scene.proxy.seen();
    list.retain(|nth| is_sent_by(side, nth.kind) && nth.number <= OF_A_KIND);
    scene.cut_each(&[], &list);
    scene.finish();
}

/// [CONN-2] [PAUSE-8] A loss at any message of the target's: the restart ends, everybody shares, no
/// consumer had an error, and every block is right.
#[test]
fn a_cut_at_any_message_of_the_target_is_survived() {
    cut_at_every_message_of(Sender::Target);
}

/// [CONN-2] [PAUSE-8] A loss at any message of the initiator's.
#[test]
fn a_cut_at_any_message_of_the_initiator_is_survived() {
    cut_at_every_message_of(Sender::Initiator);
}

/// [PAUSE-8] A second loss at any message of the way back in that the first one, at PAUSE, made needed.
#[test]
fn a_second_cut_during_the_pause_is_survived() {
    let scene = Scene::start();
    let first = (Nth { kind: Kind::Pause, number: 1 }, Place::After);
    scene.restart(&[first]);
    let mut list = scene.proxy.seen();
    let bare = |kind: Kind| !matches!(kind, Kind::Request | Kind::Reply);
    list.retain(|nth| *nth != first.0 && (bare(nth.kind) || nth.number == 1));
    scene.cut_each(&[first], &list);
    scene.finish();
}
