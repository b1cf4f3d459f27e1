//! What a guest is told of its disk: features, and the configuration space of virtio-blk.

use super::chain::MOST_PIECES;
use super::request::SECTOR;
use crate::nbd::Geometry;

/// The most bytes that the device is asked for at once; a guest that asks for more has it done in parts. Larger buffers
/// are few, and make it no faster.
pub const MOST: u32 = 1 << 20;
/// The most bytes that are discarded or zeroed in one request.
const MOST_ERASED: u64 = 1 << 30;
/// Pieces of memory for data in one request: as many as a ring of the usual size has descriptors, but for header and status.
const SEGMENTS: u32 = 126;

/// Where the byte is in the configuration that says whether the guest has to flush.
pub const WRITEBACK: usize = 32;
/// Length of the configuration; monitors that know more of it read zeroes.
const LENGTH: usize = 60;

mod bit {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const BLOCK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const CONFIG_WCE: u64 = 1 << 11;
    pub const QUEUES: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
    pub const INDIRECT: u64 = 1 << 28;
    pub const EVENT_INDEX: u64 = 1 << 29;
    pub const PROTOCOL: u64 = 1 << 30;
    pub const VERSION_1: u64 = 1 << 32;
}

/// Features of virtio, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(pub u64);

impl Features {
    /// What there is for such a device.
    pub fn of(geometry: &Geometry) -> Features {
        let mut bits = bit::SIZE_MAX | bit::SEG_MAX | bit::BLOCK_SIZE | bit::FLUSH | bit::TOPOLOGY;
        bits |= bit::CONFIG_WCE | bit::QUEUES | bit::INDIRECT | bit::EVENT_INDEX;
        bits |= bit::PROTOCOL | bit::VERSION_1;
        for (there, one) in [
            (geometry.read_only, bit::READ_ONLY),
            (geometry.discard && !geometry.read_only, bit::DISCARD),
            (geometry.write_zeroes && !geometry.read_only, bit::WRITE_ZEROES),
        ] {
            bits |= if there { one } else { 0 };
        }
        Features(bits)
    }

    /// Whether both sides say from which event on they want to hear.
    pub fn event_index(self) -> bool {
        self.0 & bit::EVENT_INDEX != 0
    }

    /// Whether the guest flushes what has to be durable.
    pub fn flushes(self) -> bool {
        self.0 & bit::FLUSH != 0
    }

    /// Whether the monitor says which rings are on; otherwise all of them are.
    pub fn protocol(self) -> bool {
        self.0 & bit::PROTOCOL != 0
    }
}

/// The most bytes of one piece of a request that a guest should make, so that all pieces fit into [`MOST`].
fn size_max(geometry: &Geometry) -> u32 {
    let most = most(geometry) / SEGMENTS;
    (most - most % 4096).max(4096)
}

/// The most bytes of the device's own requests.
pub fn most(geometry: &Geometry) -> u32 {
    let most = geometry.max_length.min(MOST);
    most - most % geometry.block.max(SECTOR as u32)
}

/// The configuration space.
pub fn space(geometry: &Geometry, queues: u16, through: bool) -> [u8; LENGTH] {
    const { assert!(SEGMENTS as usize + 2 <= MOST_PIECES) };
    let block = geometry.block.max(SECTOR as u32);
    let preferred = geometry.preferred.min(1 << 16).max(block);
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX);
    let erased = sectors(MOST_ERASED);
    let mut space = [0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| space[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(geometry.size / SECTOR).to_le_bytes());
    put(8, &size_max(geometry).to_le_bytes());
    put(12, &SEGMENTS.to_le_bytes());
    // Cylinders, heads and sectors are nobody's any more.
    put(20, &block.to_le_bytes());
    put(24, &[(preferred / block).ilog2() as u8, 0]);
    put(26, &((preferred / block) as u16).to_le_bytes());
    put(WRITEBACK, &[u8::from(!through)]);
    put(34, &queues.to_le_bytes());
    let align = sectors(u64::from(block));
    let erasable = [
        (36, if geometry.discard { [erased, 1, align] } else { [0; 3] }),
        (48, if geometry.write_zeroes { [erased, 1, 0] } else { [0; 3] }),
    ];
    for (at, numbers) in erasable {
        for (place, number) in numbers.iter().enumerate() {
            put(at + 4 * place, &number.to_le_bytes());
        }
    }
    // The last of those three is a byte: zeroes may be written by unmapping.
    put(56, &[u8::from(geometry.write_zeroes), 0, 0, 0]);
    space
}
