//! One initiator with its consumers.

use super::History;
use super::lanes::{BLOCK, BLOCKS, blocks};
use lull_proto::Geometry;
use lull_proto::initiator::{Ask, Config, Initiator, Memory, Policy, Report, Retain, Slot, Timer};
use lull_wire::messages::{Address, Name};
use lull_wire::{Access, AttachmentId, InstanceId, OpCode, RequestFlags, StatusCode};
use std::collections::BTreeMap;
use std::time::Duration;

/// A request that a consumer waits for.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub ask: Ask,
    pub value: u64,
    asked: u64,
    write: Option<usize>,
}

/// One initiator.
pub struct Node {
    pub machine: Initiator,
    pub config: Config,
    pub place: usize,
    pub frozen: bool,
    /// What it was told while frozen.
    pub backlog: std::collections::VecDeque<super::Later>,
    /// The network between it and the target swallows everything.
    pub mute: bool,
    pub waiting: BTreeMap<Slot, Waiting>,
    /// What is retained: the value under each place.
    pub retained: BTreeMap<u64, u64>,
    pub answers: Vec<(Slot, StatusCode)>,
    pub reports: Vec<Report>,
    pub hooks: Vec<Timer>,
    /// Shutdowns that are being prepared, were cancelled, and have begun.
    pub shutdowns: [usize; 3],
    pub memory: Memory,
    pub geometry: Option<Geometry>,
    /// How many requests its consumers keep going.
    pub load: usize,
    slots: u32,
}

/// An attachment as tests begin it.
pub fn config(at: usize, resource: &str) -> Config {
    let at = at as u8 + 1;
    Config {
        node: Name::new(&format!("node-{at}")).unwrap(),
        instance: InstanceId([at; 16]),
        predecessors: Vec::new(),
        software: Name::default(),
        callback: Address::default(),
        attachment: AttachmentId([at; 16]),
        resource: Name::new(resource).unwrap(),
        access: Access::ReadWrite,
        take_over: false,
        policy: Policy::Wait,
        restart_timeout: Duration::from_secs(600),
        resume_timeout: Duration::from_secs(60),
        hold: Duration::MAX,
        retain: Retain::UpTo(1 << 20),
        memory: Memory::default(),
        seed: u64::from(at) * 77,
    }
}

impl Node {
    pub fn new(config: Config, place: usize) -> Self {
        Self {
            machine: Initiator::new(config.clone()),
            config,
            place,
            frozen: false,
            backlog: std::collections::VecDeque::new(),
            mute: false,
            waiting: BTreeMap::new(),
            retained: BTreeMap::new(),
            answers: Vec::new(),
            reports: Vec::new(),
            hooks: Vec::new(),
            shutdowns: [0; 3],
            memory: Memory::default(),
            geometry: None,
            load: 0,
            slots: 0,
        }
    }

    /// A consumer asks; what to submit.
    pub fn ask(&mut self, history: &mut History, ask: Ask) -> Slot {
        self.slots += 1;
        let slot = Slot(self.slots);
        let range = blocks(ask.offset, ask.length);
        let (value, write) = match ask.op {
            OpCode::Write => {
                let value = history.fresh_value();
                (value, Some(history.write(range, value)))
            }
            OpCode::WriteZeroes | OpCode::Discard => (0, Some(history.write(range, 0))),
            OpCode::Read
            | OpCode::Flush
            | OpCode::Extents
            | OpCode::ReadAhead
            | OpCode::Unknown(_) => (0, None),
        };
        let asked = history.instant();
        self.waiting.insert(slot, Waiting { ask, value, asked, write });
        slot
    }

    /// Anything, anywhere.
    pub fn any_ask(mut chance: impl FnMut(u64) -> u64) -> Ask {
        let count = 1 + chance(4);
        let offset = chance(BLOCKS as u64 - count) * BLOCK;
        let length = (count * BLOCK) as u32;
        let fua = RequestFlags::none().with_if(chance(8) == 0, RequestFlags::FUA);
        let ask = |op, flags| Ask { op, flags, offset, length };
        match chance(16) {
            0 => Ask::FLUSH,
            1 => ask(OpCode::WriteZeroes, fua),
            2 => ask(OpCode::Extents, RequestFlags::none()),
            3 => ask(OpCode::ReadAhead, RequestFlags::none()),
            4..=8 => ask(OpCode::Write, fua),
            _ => ask(OpCode::Read, RequestFlags::none()),
        }
    }

    /// [CONN-3] A consumer is answered, exactly once; what it read is explained.
    pub fn answered(
        &mut self,
        history: &mut History,
        slot: Slot,
        status: StatusCode,
        data: Option<&[u64]>,
    ) {
        let waiting = self.waiting.remove(&slot).expect("[CONN-3] answered exactly once");
        if let Some(write) = waiting.write {
            history.written(write, status);
        }
        if waiting.ask.op == OpCode::Read && status == StatusCode::Done {
            let range = blocks(waiting.ask.offset, waiting.ask.length);
            let data = data.expect("a read is answered by a reply");
            assert_eq!(range.len(), data.len());
            for (block, value) in range.zip(data) {
                history.check(block, *value, waiting.asked);
            }
        }
        // [CONN-7] Extents are advice, of which a target may have none.
        let no_advice = waiting.ask.op == OpCode::Extents && status == StatusCode::NotSupported;
        self.answers.push((slot, if no_advice { StatusCode::Done } else { status }));
    }

    /// How many were answered with anything but success.
    pub fn errors(&self) -> usize {
        self.answers.iter().filter(|(_, status)| *status != StatusCode::Done).count()
    }
}
