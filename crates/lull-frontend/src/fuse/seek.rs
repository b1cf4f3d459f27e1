//! lseek(2) for data and holes, from the device's lists of extents.

use super::abi::errno;
use super::odd::ask;
use super::reply::number;
use crate::device::{Device, Op};
use crate::nbd::{Extent, Geometry, MAX_EXTENTS};

const DATA: u32 = 3;
const HOLE: u32 = 4;

/// Where the next data, or the next hole, at or after `offset` begins. Every file ends with a hole. `None`: the device
/// was taken down.
pub(super) async fn seek<D: Device>(
    device: &D,
    geometry: &Geometry,
    offset: u64,
    whence: u32,
) -> Option<Result<u64, i32>> {
    let wants_hole = match whence {
        DATA => false,
        HOLE => true,
        _ => return Some(Err(errno::INVALID)),
    };
    let (size, block) = (geometry.size, u64::from(geometry.block));
    if offset >= size {
        return Some(Err(errno::NO_DEVICE_ADDRESS));
    }
    let mut at = offset - offset % block;
    while at < size {
        let list = match list(device, geometry, at).await? {
            Ok(list) => list,
            Err(errno) => return Some(Err(errno)),
        };
        let before = at;
        for extent in list.as_chunks::<{ Extent::BYTES }>().0.iter().map(Extent::decode) {
            // Zeroes that are allocated are data for those who ask about space.
            if extent.hole == wants_hole {
                return Some(Ok(at.max(offset)));
            }
            at = at.saturating_add(extent.length);
            if extent.length == 0 || at >= size {
                break;
            }
        }
        // A device that tells nothing: all of it counts as data.
        if at == before {
            return Some(Ok(if wants_hole { size } else { at.max(offset) }));
        }
    }
    Some(if wants_hole { Ok(size) } else { Err(errno::NO_DEVICE_ADDRESS) })
}

async fn list<D: Device>(device: &D, geometry: &Geometry, at: u64) -> Option<Result<Vec<u8>, i32>> {
    if !geometry.extents {
        return Some(Ok(Vec::new()));
    }
    let length = (MAX_EXTENTS * Extent::BYTES) as u32;
    let buffer = device.some_buffer(length).await;
    let outcome = ask(device, Op::Extents, at, geometry.size - at, Some(buffer)).await?;
    Some(match outcome {
        Ok(list) => Ok(list.map_or_else(Vec::new, |list| list.as_ref().to_vec())),
        Err(errno) => Err(number(errno)),
    })
}
