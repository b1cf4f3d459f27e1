//! Where requests are executed: a lane for each session, one medium for each resource.

use lull_proto::ConnId;
use lull_proto::target::ResourceIndex;
use lull_wire::messages::Request;
use lull_wire::{OpCode, RequestFlags, StatusCode};
use std::collections::{BTreeMap, BTreeSet};

pub const BLOCK: u64 = 4096;
pub const BLOCKS: usize = 32;

/// The blocks that a request is about.
pub fn blocks(offset: u64, length: u32) -> core::ops::Range<usize> {
    let first = (offset / BLOCK) as usize;
    first..first + (u64::from(length) / BLOCK) as usize
}

/// One session's requests.
#[derive(Clone, Debug)]
pub struct Lane {
    pub resource: ResourceIndex,
    pub read_only: bool,
    /// Others write as well.
    pub shared: bool,
    pub closed: bool,
    pub muted: bool,
    /// Under way, by the order of arrival, with the value to write.
    pub running: BTreeMap<u64, (Request, u64)>,
    lowest: u64,
}

/// All lanes and media of one target.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub lanes: BTreeMap<ConnId, Lane>,
    pub media: Vec<Vec<u64>>,
    /// What of the media survives a power cut for sure.
    durable: Vec<Vec<u64>>,
    arrivals: u64,
    /// Flushes that fail from now on, each the first of its medium's life.
    pub failing: u32,
    /// Media whose flush failed: no later one of that life succeeds.
    pub failed: BTreeSet<ResourceIndex>,
}

impl Lanes {
    pub fn new(resources: usize) -> Self {
        let media = vec![vec![0; BLOCKS]; resources];
        Self {
            lanes: BTreeMap::new(),
            durable: media.clone(),
            media,
            arrivals: 0,
            failing: 0,
            failed: BTreeSet::new(),
        }
    }

    pub fn open(&mut self, conn: ConnId, resource: ResourceIndex, read_only: bool, shared: bool) {
        // [SAFE-5] [SAFE-7] Whoever wrote here before can no longer reach the medium.
        let rival = self.lanes.values().find(|lane| {
            let writers = !lane.read_only && !read_only;
            let both = lane.shared && shared;
            lane.resource == resource && writers && !both && !lane.running.is_empty()
        });
        assert!(rival.is_none(), "a writer is let in while another's requests run: {rival:?}");
        let running = BTreeMap::new();
        let lane =
            Lane { resource, read_only, shared, closed: false, muted: false, running, lowest: 0 };
        assert!(self.lanes.insert(conn, lane).is_none(), "a lane is opened twice");
    }

    /// A request came; its place in the lane, where it is taken.
    pub fn arrive(&mut self, conn: ConnId, request: &Request, value: u64) -> Option<u64> {
        let lane = self.lanes.get_mut(&conn).filter(|lane| !lane.closed)?;
        let range = |request: &Request| {
            let changes =
                matches!(request.op, OpCode::Write | OpCode::WriteZeroes | OpCode::Discard);
            changes.then(|| request.offset..request.offset + u64::from(request.length))
        };
        for (other, _) in lane.running.values() {
            assert_ne!(other.number, request.number, "a number is outstanding twice");
            if let (Some(a), Some(b)) = (range(other), range(request)) {
                let apart = a.end <= b.start || b.end <= a.start;
                assert!(apart, "[SAFE-3] overlapping changes are outstanding: {a:?} {b:?}");
            }
        }
        let lowest = request.lowest.0;
        assert!(lowest >= lane.lowest && lowest <= request.number.0, "`lowest` fell: {request:?}");
        assert!(request.number.0 - lowest < 4096, "[SAFE-11] beyond the window: {request:?}");
        lane.lowest = lowest;
        self.arrivals += 1;
        lane.running.insert(self.arrivals, (request.clone(), value));
        Some(self.arrivals)
    }

    /// Executes a request that is under way.
    pub fn execute(&mut self, conn: ConnId, at: u64) -> Option<(Request, StatusCode, Vec<u64>)> {
        let lane = self.lanes.get_mut(&conn)?;
        let (request, value) = lane.running.remove(&at)?;
        let medium = &mut self.media[lane.resource.0];
        let range = blocks(request.offset, request.length);
        let (status, data) = match request.op {
            OpCode::Read => (StatusCode::Done, medium[range].to_vec()),
            OpCode::Flush => {
                self.durable[lane.resource.0].clone_from(medium);
                (StatusCode::Done, Vec::new())
            }
            OpCode::Extents | OpCode::ReadAhead => (StatusCode::Done, Vec::new()),
            OpCode::Write | OpCode::Discard | OpCode::WriteZeroes if lane.read_only => {
                (StatusCode::ReadOnly, Vec::new())
            }
            OpCode::Write | OpCode::WriteZeroes | OpCode::Discard => {
                medium[range.clone()].fill(value);
                if request.flags.has(RequestFlags::FUA) {
                    self.durable[lane.resource.0][range].fill(value);
                }
                (StatusCode::Done, Vec::new())
            }
            OpCode::Unknown(_) => (StatusCode::NotSupported, Vec::new()),
        };
        Some((request, status, data))
    }

    /// Whether this is a flush that fails.
    pub fn loses(&self, conn: ConnId, at: u64) -> bool {
        let Some(lane) = self.lanes.get(&conn) else { return false };
        let syncs =
            |request: &Request| request.op == OpCode::Flush || request.flags.has(RequestFlags::FUA);
        (self.failing > 0 || self.failed.contains(&lane.resource))
            && lane.running.get(&at).is_some_and(|(request, _)| syncs(request))
    }

    /// It fails: whatever its medium had not stored is gone, and nothing of this life is answered any more.
    pub fn lose(&mut self, conn: ConnId, at: u64) -> ResourceIndex {
        let lane = self.lanes.get_mut(&conn).expect("a lane");
        lane.running.remove(&at);
        let resource = lane.resource;
        if self.failed.insert(resource) {
            self.failing -= 1;
        }
        for lane in self.lanes.values_mut().filter(|lane| lane.resource == resource) {
            lane.muted = true;
        }
        self.media[resource.0].clone_from(&self.durable[resource.0]);
        resource
    }

    /// Whether a lane leads to it.
    pub fn is_used(&self, resource: ResourceIndex) -> bool {
        let open = |lane: &Lane| !(lane.closed && lane.running.is_empty());
        self.lanes.values().any(|lane| lane.resource == resource && open(lane))
    }

    /// Closes a lane; whether it is drained already.
    pub fn close(&mut self, conn: ConnId) -> bool {
        let lane = self.lanes.get_mut(&conn).expect("a lane is closed that was never opened");
        assert!(!lane.closed, "a lane is closed twice");
        lane.closed = true;
        lane.running.is_empty()
    }

    /// Whether a closed lane has just run dry.
    pub fn ran_dry(&self, conn: ConnId) -> bool {
        self.lanes.get(&conn).is_some_and(|lane| lane.closed && lane.running.is_empty())
    }

    /// Everything that was executed is on stable storage.
    pub fn make_durable(&mut self) {
        self.durable.clone_from(&self.media);
    }

    /// The power is cut: what is under way is executed or not, and of what was executed and not flushed any part is
    /// gone.
    pub fn crash(&mut self, mut lucky: impl FnMut() -> bool) {
        let under_way: Vec<(ConnId, u64)> = self
            .lanes
            .iter()
            .flat_map(|(&conn, lane)| lane.running.keys().map(move |&at| (conn, at)))
            .collect();
        for (conn, at) in under_way {
            if lucky() {
                self.execute(conn, at);
            }
        }
        for (medium, durable) in self.media.iter_mut().zip(&mut self.durable) {
            for (block, durable) in medium.iter_mut().zip(durable) {
                if block != durable && !lucky() {
                    *block = *durable;
                }
                *durable = *block;
            }
        }
        self.lanes.clear();
        self.failed.clear();
    }
}
