//! Payloads that take longer on their way than a peer may be silent, which is 2 s here on both sides.

use std::thread::JoinHandle;
use std::time::Duration;

use lull_admin::{AttachmentPhase, SessionPhase};
use lull_e2e::{Consumer, Initiator, Narrow, PROMPT, Target, Use, World, wait_until};

/// Bytes that pass in a second.
const WIDTH: u32 = 1 << 20;
/// How long what is asked for here may take.
const LONG: Duration = Duration::from_secs(60);
/// Blocks of a payload of 4 MiB.
const LARGE: u64 = (4 << 20) / Consumer::BLOCK;
/// Blocks of one that takes no long time, and how many of them are asked for together.
const SMALL: u64 = (512 << 10) / Consumer::BLOCK;
const MANY: u64 = 24;

/// A target whose medium is written, and an initiator that has a narrow way to it.
struct Scene {
    target: Target,
    way: Narrow,
    web: Initiator,
    _world: World,
}

impl Scene {
    fn start(backend: &str) -> Self {
        let world = World::new();
        let target = world.target("stor").nbd().backend("db1", backend).start();
        Consumer::connect(&target.nbd_uri("db1")).write_pieces(MANY, SMALL);
        let way = Narrow::start(world.path("way.sock"), target.listen(), WIDTH);
        let web = world.initiator("web1").uses(Use::at(&way.addr(), "db1")).start();
        Self { target, way, web, _world: world }
    }

    /// A consumer does this.
    fn begin(&self, work: impl FnOnce(&Consumer) + Send + 'static) -> JoinHandle<()> {
        let nbd = self.web.nbd();
        std::thread::spawn(move || work(&Consumer::connect(&nbd)))
    }

    /// And nobody is taken for lost meanwhile.
    #[track_caller]
    fn takes_its_time(&self, work: impl FnOnce(&Consumer) + Send + 'static) {
        let work = self.begin(work);
        wait_until("it is answered", LONG, || {
            assert_eq!(self.way.connections(), 1, "nobody was lost");
            work.is_finished()
        });
        work.join().expect("answered well");
    }

    /// The way is blocked in the middle of this: each side finds that, and all is done later.
    #[track_caller]
    fn is_blocked_in(&self, work: impl FnOnce(&Consumer) + Send + 'static) {
        let (work, before) = (self.begin(work), self.way.passed());
        wait_until("the payload is on its way", LONG, || self.way.passed() > before + (1 << 20));
        self.way.block(true);
        self.target.wait_session("web1", SessionPhase::Lost);
        wait_until("the initiator finds it too", PROMPT, || {
            self.web.attachment().phase == AttachmentPhase::Away
        });
        assert!(!work.is_finished());
        self.way.block(false);
        wait_until("it is answered", LONG, || work.is_finished());
        work.join().expect("answered well");
    }
}

/// [CONN-2] Each byte of a payload is a sign of life.
#[test]
fn a_large_read_may_take_longer_than_a_silence() {
    let scene = Scene::start("mem:16M");
    scene.takes_its_time(|consumer| assert_eq!(consumer.lost_in_pieces(1, LARGE), 0));
}

/// [CONN-2] Whose payload is received for long hears meanwhile that it is.
#[test]
fn a_large_write_may_take_longer_than_a_silence() {
    let scene = Scene::start("mem:16M");
    scene.takes_its_time(|consumer| consumer.write_pieces(1, LARGE));
}

/// [CONN-2] [SEC-4] An initiator is not read while too many answers wait for it; that it takes them is a sign of life.
#[test]
fn many_reads_may_take_longer_than_a_silence() {
    let scene = Scene::start("mem:16M");
    scene.takes_its_time(|consumer| assert_eq!(consumer.lost_in_pieces(MANY, SMALL), 0));
}

/// [CONN-2] The medium is slow: the first is answered when many have come, and PING stands behind all of them.
#[test]
fn many_writes_to_a_slow_medium_may_take_longer_than_a_silence() {
    let scene = Scene::start("faulty:delay=3s:mem:16M");
    scene.takes_its_time(|consumer| consumer.write_pieces(MANY / 2, SMALL));
}

/// [CONN-2] In the middle of a payload, too, silence is found.
#[test]
fn a_silence_in_the_middle_of_a_read_is_a_loss() {
    let scene = Scene::start("mem:16M");
    scene.is_blocked_in(|consumer| assert_eq!(consumer.lost_in_pieces(1, LARGE), 0));
}

/// [CONN-2]
#[test]
fn a_silence_in_the_middle_of_a_write_is_a_loss() {
    let scene = Scene::start("mem:16M");
    scene.is_blocked_in(|consumer| consumer.write_pieces(1, LARGE));
}

/// [CONN-2] [SEC-4]
#[test]
fn a_silence_in_the_middle_of_many_answers_is_a_loss() {
    let scene = Scene::start("mem:16M");
    scene.is_blocked_in(|consumer| assert_eq!(consumer.lost_in_pieces(MANY, SMALL), 0));
}
