//! A target, an initiator behind a proxy and its consumer, and the kill of one of them.

use lull_admin::AttachmentPhase;
use lull_e2e::{
    Initiator, Load, Mark, PROMPT, Proxy, Running, Shape, Signal, Target, Use, World, send,
    wait_for, wait_until,
};
use lull_wire::{Kind, OpCode};

use crate::phase::{Phase, Point, Reach};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The target's processes; what they gave to the kernel stays.
    Process,
    /// The target's system: what was not flushed is gone with it.
    System,
    /// The connection.
    Connection,
    /// The initiator's daemon, and with it its consumer's connection, which the consumer makes anew.
    Initiator,
    /// The target's system and the initiator's daemon at once.
    Both,
}

impl Victim {
    /// The columns of a run that disturbs once, or often.
    pub fn columns(soaks: bool) -> &'static [Self] {
        const ALL: [Victim; 5] =
            [Victim::Process, Victim::System, Victim::Connection, Victim::Initiator, Victim::Both];
        if soaks { &ALL } else { &ALL[..4] }
    }

    /// Whether a new target is started after it.
    fn is_target(self) -> bool {
        matches!(self, Self::Process | Self::System | Self::Both)
    }

    /// Whether its consumer's connection ends with it.
    pub fn is_initiator(self) -> bool {
        matches!(self, Self::Initiator | Self::Both)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "target process",
            Self::System => "target OS",
            Self::Connection => "initiator's connection",
            Self::Initiator => "initiator daemon; its consumer connects again",
            Self::Both => "target OS and initiator daemon",
        }
    }
}

/// What one column of the table is made of.
pub struct Scene {
    victim: Victim,
    load: Load,
    proxy: Proxy,
    web: Initiator,
    target: Target,
    /// Successors that do not run until the kill.
    frozen: Vec<u32>,
    /// How often the initiator's daemon was killed, and its consumer's connection ended with it.
    ends: u64,
    _world: World,
}

impl Scene {
    /// All share, under load. `returns`: its consumer connects again where its connection ends with the daemon.
    pub fn start(victim: Victim, returns: bool, seed: u64) -> Self {
        let world = World::new();
        let file = format!("file:{},size=8M", world.path("db1.img").display());
        let disk = match victim {
            Victim::Process => file,
            Victim::System | Victim::Connection | Victim::Initiator | Victim::Both => {
                format!("faulty:volatile:{file}")
            }
        };
        let target = world.target("stor").backend("db1", &disk).set("pause-timeout", "5s").start();
        let proxy = Proxy::start(world.path("proxy.sock"), target.listen());
        let web = world.initiator("web1").uses(Use::at(&proxy.addr(), "db1")).start();
        let shape = Shape { blocks: 512, seed, returns, ..Shape::default() };
        let load = Load::start(&web.nbd(), shape);
        Self { victim, load, proxy, web, target, frozen: Vec::new(), ends: 0, _world: world }
    }

    /// A kill in this phase, after which everybody shares and every block is read. What came of it, in words.
    pub fn cell(&mut self, phase: &Phase) -> String {
        let (replayed, ends) = (self.replayed(), self.ends);
        self.load.take_window();
        let restart = self.reach(phase.reach);
        let log = self.strike();
        if let Some(restart) = restart {
            // How it ends is a matter of who was killed: completed, given up, or nobody is there to tell.
            restart.finish(PROMPT);
        }
        if matches!(phase.reach, Reach::Pause) && !self.victim.is_target() {
            self.target.lull(&["resume"]).ok();
        }
        self.target.wait_all_sharing();
        self.web.wait_sharing();
        self.load.wait_progress(8);
        let gap = self.load.take_window().longest_gap.as_millis();
        self.load.judge();
        // A daemon that was killed has begun to count anew.
        let before = if self.ends > ends { 0 } else { replayed };
        let replayed = (self.replayed() - before) / 1024;
        let replays = matches!(phase.reach, Reach::Replay(_) | Reach::Inherited(_));
        assert!(!replays || self.victim.is_initiator() || replayed > 0, "it replayed nothing");
        format!("kept, {gap} ms, {log}replayed {replayed} KiB")
    }

    /// Ends the load with a last look at every block, after one more death of the target.
    pub fn finish(mut self) {
        self.target.kill();
        self.target.start();
        let returns = self.load.finish().clean().returns;
        assert!(returns <= self.ends, "{returns} connections ended, and {} daemons", self.ends);
    }

    /// Bytes that the present life of the daemon has replayed.
    fn replayed(&self) -> u64 {
        self.web.attachment().retaining.replayed_bytes
    }

    /// Brings it into the phase, in which it stays; the restart that is under way.
    fn reach(&mut self, reach: Reach) -> Option<Running> {
        let restart = || self.target.begin(&["restart", "--daemon"]);
        match reach {
            Reach::Load(mark) => {
                self.stop_at(mark);
                None
            }
            Reach::Restart(mark) => {
                self.proxy.stop_at(mark);
                let running = restart();
                self.proxy.wait_stopped();
                Some(running)
            }
            Reach::Pause => {
                self.target.lull(&["pause"]).ok();
                None
            }
            Reach::Down => {
                self.proxy.stop_at(Mark::before(Kind::Pause));
                let running = restart();
                self.proxy.wait_stopped();
                self.frozen = self.target.children();
                assert!(!self.frozen.is_empty(), "a successor waits");
                self.frozen.iter().for_each(|child| send(*child, Signal::STOP));
                self.proxy.go_on();
                self.proxy.stop_at(Mark::before(Kind::Hello));
                self.proxy.wait_stopped();
                Some(running)
            }
            Reach::Replay(point) => {
                self.begin_replay(point, false);
                None
            }
            Reach::Inherited(point) => {
                self.begin_replay(point, true);
                None
            }
        }
    }

    fn stop_at(&self, mark: Mark) {
        self.proxy.stop_at(mark);
        self.proxy.wait_stopped();
    }

    /// The target dies while a flush is unanswered, with or without the initiator's daemon, and the replay of what was
    /// retained stops at this point.
    fn begin_replay(&mut self, point: Point, inherited: bool) {
        // The load's workers flush at about the same time: the first of these flushes is the one that covers much.
        wait_until("a flush that covers much is stopped", PROMPT, || {
            self.stop_at(Mark::before_request(OpCode::Flush));
            let enough = self.web.attachment().retaining.changes >= 64;
            if !enough {
                self.proxy.go_on();
            }
            enough
        });
        self.target.kill();
        if inherited {
            self.kill_initiator();
        }
        self.proxy.go_on();
        if inherited {
            self.web.spawn();
        }
        let away = |phase| matches!(phase, AttachmentPhase::Dialling | AttachmentPhase::Away);
        let changes = wait_for("the loss is noticed", PROMPT, || {
            let attachment = self.web.attachment();
            away(attachment.phase).then_some(attachment.retaining.changes)
        });
        assert!(changes > 1, "there is nothing to replay");
        self.proxy.stop_at(point.mark(changes));
        self.target.start();
        self.proxy.wait_stopped();
        let half = matches!(point, Point::HalfWay);
        assert!(!half || self.web.attachment().phase == AttachmentPhase::Replaying);
    }

    /// The kill, and the return of who was killed. What it found in its log, in words.
    fn strike(&mut self) -> String {
        let frozen = std::mem::take(&mut self.frozen);
        match self.victim {
            Victim::Process | Victim::System => {
                self.target.kill();
                self.proxy.go_on();
                self.target.start();
                String::new()
            }
            Victim::Connection => {
                self.proxy.cut_all();
                frozen.into_iter().for_each(|child| send(child, Signal::CONT));
                String::new()
            }
            Victim::Initiator => {
                self.kill_initiator();
                self.proxy.go_on();
                frozen.into_iter().for_each(|child| send(child, Signal::CONT));
                self.web.spawn();
                self.found()
            }
            Victim::Both => {
                self.target.kill();
                self.kill_initiator();
                self.proxy.go_on();
                self.web.spawn();
                let found = self.found();
                self.target.start();
                found
            }
        }
    }

    fn kill_initiator(&mut self) {
        self.ends += 1;
        self.web.kill();
    }

    /// What a daemon that has just been started found in its log, in words.
    fn found(&self) -> String {
        let found = self.web.attachment().unflushed / 1024;
        format!("log of {found} KiB found, ")
    }
}
