//! Requests of virtio-blk: what their bytes ask for, and what makes one acceptable.

use super::chain::Chain;
use super::memory::{Fault, Memory};
use crate::device::Op;
use crate::nbd::Geometry;

/// The unit of offsets in bytes, whatever the size of a block.
pub const SECTOR: u64 = 512;
/// Length of a request's header in bytes.
pub const HEADER: usize = 16;
/// Length of the name that a disk tells.
pub const SERIAL: usize = 20;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const MAY_UNMAP: u32 = 1;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done, or nobody knows.
    Failed,
    /// Nothing that this disk does.
    Unsupported,
}

impl Status {
    /// The byte that says so.
    pub fn byte(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::Failed => 1,
            Status::Unsupported => 2,
        }
    }
}

/// What to do about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the device: a range in bytes.
    Do {
        /// What.
        op: Op,
        /// From where on.
        offset: u64,
        /// How much.
        length: u64,
    },
    /// Answer with the disk's name.
    Name,
    /// Answer at once.
    Answer(Status),
}

/// Judges a request. `durable`: its guest does not flush, or has chosen not to have to.
///
/// # Errors
/// It lacks a header, or a place for its status: there is no way to answer it.
pub fn judge(
    chain: &Chain,
    memory: &Memory,
    geometry: &Geometry,
    durable: bool,
) -> Result<Verdict, Fault> {
    if chain.answer.is_empty() {
        return Err(Fault::Ring("a request without a place for its status"));
    }
    let mut header = [0; HEADER];
    chain.said.read(memory, 0, &mut header)?;
    let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    let data = chain.said.len() - HEADER as u64;
    Ok(match u32::from_le_bytes([k0, k1, k2, k3]) {
        IN => ranged(Op::Read, sector, chain.answer.len() - 1, geometry),
        OUT => ranged(Op::Write { fua: durable }, sector, data, geometry),
        FLUSH => Verdict::Do { op: Op::Flush, offset: 0, length: 0 },
        GET_ID => Verdict::Name,
        kind @ (DISCARD | WRITE_ZEROES) => {
            // One range is all that a request may name here.
            let mut range = [0; 16];
            if data != range.len() as u64 {
                return Ok(Verdict::Answer(Status::Failed));
            }
            chain.said.read(memory, HEADER as u64, &mut range)?;
            let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = range;
            let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            let length = u64::from(u32::from_le_bytes([n0, n1, n2, n3])) * SECTOR;
            erase(kind, sector, length, u32::from_le_bytes(flags), geometry, durable)
        }
        _ => Verdict::Answer(Status::Unsupported),
    })
}

fn erase(
    kind: u32,
    sector: u64,
    length: u64,
    flags: u32,
    geometry: &Geometry,
    durable: bool,
) -> Verdict {
    let (there, allowed) = match kind {
        DISCARD => (geometry.discard, 0),
        _ => (geometry.write_zeroes, MAY_UNMAP),
    };
    if !there || flags & !allowed != 0 {
        return Verdict::Answer(Status::Unsupported);
    }
    let op = match kind {
        DISCARD => Op::Discard,
        _ => Op::WriteZeroes { fua: durable, keep_allocated: flags & MAY_UNMAP == 0, fast: false },
    };
    ranged(op, sector, length, geometry)
}

fn ranged(op: Op, sector: u64, length: u64, geometry: &Geometry) -> Verdict {
    let block = u64::from(geometry.block).max(SECTOR);
    let end = sector.checked_mul(SECTOR).and_then(|offset| offset.checked_add(length));
    let inside = end.is_some_and(|end| end <= geometry.size);
    let offset = sector.wrapping_mul(SECTOR);
    let whole = offset.is_multiple_of(block) && length.is_multiple_of(block);
    let refused = op.is_change() && geometry.read_only;
    match inside && whole && !refused {
        true if length == 0 => Verdict::Answer(Status::Ok),
        true => Verdict::Do { op, offset, length },
        false => Verdict::Answer(Status::Failed),
    }
}
