//! The bytes of the kernel's `ublk_cmd.h`: numbers in the machine's own order.

use crate::nbd::Geometry;

/// Commands as ioctl numbers have them: direction, size of the argument, the letter u, number.
const fn encoded(direction: u32, size: u32, number: u32) -> u32 {
    direction << 30 | size << 16 | (b'u' as u32) << 8 | number
}

const READ: u32 = 2;
const READ_WRITE: u32 = 3;

/// Commands to the control device.
pub(super) mod control {
    use super::{READ, READ_WRITE, encoded};
    pub const GET_INFO: u32 = encoded(READ, 32, 0x02);
    pub const ADD: u32 = encoded(READ_WRITE, 32, 0x04);
    pub const DELETE: u32 = encoded(READ_WRITE, 32, 0x05);
    pub const START: u32 = encoded(READ_WRITE, 32, 0x06);
    pub const STOP: u32 = encoded(READ_WRITE, 32, 0x07);
    pub const SET_PARAMETERS: u32 = encoded(READ_WRITE, 32, 0x08);
    pub const START_RECOVERY: u32 = encoded(READ_WRITE, 32, 0x10);
    pub const END_RECOVERY: u32 = encoded(READ_WRITE, 32, 0x11);
}

/// Commands to a device's queue.
pub(super) mod queue {
    use super::{READ_WRITE, encoded};
    pub const FETCH: u32 = encoded(READ_WRITE, 16, 0x20);
    pub const COMMIT_AND_FETCH: u32 = encoded(READ_WRITE, 16, 0x21);
}

/// Features of a device: it outlives its server, requests that the server had come again, data is fetched and brought
/// by read and write on its queue.
const FLAGS: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;

/// Any number for a new device.
pub(super) const ANY: u32 = u32::MAX;

/// The longest block that the kernel can have, in bytes.
pub(super) const MOST_BLOCK: u32 = 4096;

/// Requests that a queue has.
pub(super) const DEPTH: u16 = 128;

/// Bytes of a request's description.
pub(super) const DESCRIPTION: usize = 24;

/// Length of [`Info`]'s bytes.
pub(super) const INFO: usize = 64;

/// The header of a command to the control device, with a buffer of so many bytes there.
pub(super) fn header(device: u32, buffer: u64, length: usize, data: u64) -> [u8; 80] {
    let mut out = [0; 80];
    out[0..4].copy_from_slice(&device.to_ne_bytes());
    // No queue in particular.
    out[4..6].copy_from_slice(&u16::MAX.to_ne_bytes());
    out[6..8].copy_from_slice(&(length as u16).to_ne_bytes());
    out[8..16].copy_from_slice(&buffer.to_ne_bytes());
    out[16..24].copy_from_slice(&data.to_ne_bytes());
    out
}

/// A command to the one queue of a device.
pub(super) fn entry(tag: u16, result: i32) -> [u8; 16] {
    let mut out = [0; 16];
    out[2..4].copy_from_slice(&tag.to_ne_bytes());
    out[4..8].copy_from_slice(&result.to_ne_bytes());
    out
}

/// Where the data of a request is read and written on the queue's descriptor.
pub(super) fn data_at(tag: u16) -> u64 {
    0x8000_0000 + (u64::from(tag) << 25)
}

/// How far a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never started, or stopped.
    Dead,
    /// Served, or its server has died just now.
    Live,
    /// It waits for another server.
    Waits,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    pub device: u32,
    /// The longest read or write in bytes.
    pub longest: u32,
    pub state: State,
    pub pid: i32,
    /// A number of ours, which the kernel only keeps.
    pub mark: u64,
}

impl Info {
    pub(super) fn encode(&self) -> [u8; INFO] {
        let mut out = [0; INFO];
        out[0..2].copy_from_slice(&1u16.to_ne_bytes());
        out[2..4].copy_from_slice(&DEPTH.to_ne_bytes());
        out[8..12].copy_from_slice(&self.longest.to_ne_bytes());
        out[12..16].copy_from_slice(&self.device.to_ne_bytes());
        out[16..20].copy_from_slice(&self.pid.to_ne_bytes());
        out[24..32].copy_from_slice(&FLAGS.to_ne_bytes());
        out[32..40].copy_from_slice(&self.mark.to_ne_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; INFO]) -> Info {
        let u32_at = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        Info {
            device: u32_at(12),
            longest: u32_at(8),
            state: match u16::from_ne_bytes([bytes[4], bytes[5]]) {
                0 => State::Dead,
                1 => State::Live,
                _ => State::Waits,
            },
            pid: u32_at(16) as i32,
            mark: u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[32 + i])),
        }
    }
}

/// A device's parameters: what it is, and what can be discarded or zeroed at once.
pub(super) fn parameters(geometry: &Geometry, longest: u32) -> [u8; 60] {
    const READ_ONLY: u32 = 1;
    const VOLATILE_CACHE: u32 = 1 << 2;
    const FUA: u32 = 1 << 3;
    let block = geometry.block.clamp(512, MOST_BLOCK);
    let shift = block.trailing_zeros() as u8;
    let whole = geometry.preferred.clamp(block, 1 << 16).trailing_zeros() as u8;
    let attributes = VOLATILE_CACHE | FUA | if geometry.read_only { READ_ONLY } else { 0 };
    // Long ranges are asked for piece by piece below.
    let most =
        |able: bool| if able && !geometry.read_only { u32::MAX / block * (block >> 9) } else { 0 };
    let mut out = [0; 60];
    out[0..4].copy_from_slice(&60u32.to_ne_bytes());
    let discards = geometry.discard || geometry.write_zeroes;
    out[4..8].copy_from_slice(&(1u32 | u32::from(discards) << 1).to_ne_bytes());
    out[8..12].copy_from_slice(&attributes.to_ne_bytes());
    out[12..16].copy_from_slice(&[shift, whole.min(12), whole, shift]);
    out[16..20].copy_from_slice(&(longest >> 9).to_ne_bytes());
    let sectors = geometry.size / u64::from(block) * u64::from(block >> 9);
    out[24..32].copy_from_slice(&sectors.to_ne_bytes());
    if discards {
        out[44..48].copy_from_slice(&block.to_ne_bytes());
        out[48..52].copy_from_slice(&most(geometry.discard).to_ne_bytes());
        out[52..56].copy_from_slice(&most(geometry.write_zeroes).to_ne_bytes());
        out[56..58].copy_from_slice(&1u16.to_ne_bytes());
    }
    out
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Read,
    Write { durable: bool },
    Flush,
    Discard,
    Zeroes { durable: bool, keep_allocated: bool },
    Unknown,
}

/// A request's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Description {
    pub want: Want,
    /// In bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u64,
}

impl Description {
    pub(super) fn decode(bytes: &[u8; DESCRIPTION]) -> Description {
        const FUA: u32 = 1 << 13;
        const NO_UNMAP: u32 = 1 << 15;
        let u32_at = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        let what = u32_at(0);
        let durable = what & FUA != 0;
        let start = u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| bytes[8 + i]));
        Description {
            want: match what & 0xff {
                0 => Want::Read,
                1 => Want::Write { durable },
                2 => Want::Flush,
                3 => Want::Discard,
                5 => Want::Zeroes { durable, keep_allocated: what & NO_UNMAP != 0 },
                _ => Want::Unknown,
            },
            offset: start << 9,
            length: u64::from(u32_at(4)) << 9,
        }
    }
}

/// Anything that a kernel may describe, for whoever tries it all.
pub(crate) fn try_reading(bytes: &[u8]) {
    if let Some(bytes) = bytes.first_chunk() {
        let Description { want, offset, length } = Description::decode(bytes);
        assert!(offset.is_multiple_of(512) && length.is_multiple_of(512), "sectors, to {want:?}");
    }
    if let Some(bytes) = bytes.first_chunk() {
        let info = Info::decode(bytes);
        // How far it is the kernel says alone.
        let known = Info { state: State::Dead, ..info };
        assert_eq!(Info::decode(&info.encode()), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_device_is_understood_again() {
        let info = Info { device: 3, longest: 1 << 20, state: State::Dead, pid: 7, mark: 9 << 40 };
        assert_eq!(Info::decode(&info.encode()), info);
        assert_eq!(control::ADD, 0xc020_7504, "as the kernel's headers have it");
        assert_eq!(queue::FETCH, 0xc010_7520);
    }
}
