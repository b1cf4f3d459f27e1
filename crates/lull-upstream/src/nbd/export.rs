//! What an export is to us, and whether it is still the same after its server was away.

use lull_block::{Geometry, MAX_PAYLOAD};
use lull_frontend::nbd::client::Export;

/// The largest block that resources may have, in bytes.
const MOST_BLOCK: u32 = 65_536;
/// The smallest.
const LEAST_BLOCK: u32 = 512;

/// Why an export cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the export is empty: give it a size, or name another one")]
    Empty,
    #[error(
        "the export has {size} bytes, which is no multiple of {block}: let its server round it (nbdkit \
         --filter=truncate … round-up={block})"
    )]
    Unaligned { size: u64, block: u32 },
    #[error(
        "its server takes at most {most} bytes a request and wants {block} at least: raise its limit"
    )]
    Limits { most: u32, block: u32 },
    #[error("its server's smallest block has {block} bytes: at most {MOST_BLOCK} can be shared")]
    Block { block: u32 },
    #[error(
        "the export shrank from {before} to {now} bytes: requests are held until it is as large again"
    )]
    Shrank { before: u64, now: u64 },
    #[error("its server no longer offers {0}: requests are held until it does")]
    Withdrawn(&'static str),
}

/// What is promised to users while the medium is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) geometry: Geometry,
    pub(super) flush: bool,
}

impl Promise {
    /// What `export` can promise.
    pub(super) fn of(export: &Export, read_only: bool) -> Result<Self, Unfit> {
        let block = export.block.max(LEAST_BLOCK);
        if block > MOST_BLOCK {
            return Err(Unfit::Block { block });
        }
        if export.size == 0 {
            return Err(Unfit::Empty);
        }
        if !export.size.is_multiple_of(u64::from(block)) {
            return Err(Unfit::Unaligned { size: export.size, block });
        }
        let most = export.max_length.min(MAX_PAYLOAD);
        let max_length = most - most % block;
        if max_length == 0 {
            return Err(Unfit::Limits { most, block });
        }
        let geometry = Geometry {
            size: export.size,
            block,
            preferred: export.preferred.clamp(block, MAX_PAYLOAD).next_power_of_two(),
            max_length,
            discard: export.can_trim() && !export.read_only(),
            write_zeroes: export.can_write_zeroes() && !export.read_only(),
            read_only: read_only || export.read_only(),
        };
        Ok(Self { geometry, flush: export.can_flush() })
    }

    /// Whether an export that came back keeps it: larger is as good, less of anything is not.
    pub(super) fn kept_by(&self, export: &Export) -> Result<(), Unfit> {
        let before = &self.geometry;
        if export.read_only() && !before.read_only {
            return Err(Unfit::Withdrawn("writing"));
        }
        if export.size < before.size {
            return Err(Unfit::Shrank { before: before.size, now: export.size });
        }
        let found = Self::of(export, before.read_only)?;
        let now = &found.geometry;
        for (kept, what) in [
            (now.block <= before.block, "blocks as small as before"),
            (now.max_length >= before.max_length, "requests as long as before"),
            (now.discard || !before.discard, "discards"),
            (now.write_zeroes || !before.write_zeroes, "writing zeroes"),
            (found.flush || !self.flush, "flushes"),
        ] {
            if !kept {
                return Err(Unfit::Withdrawn(what));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every flag that there is, and no limits of its own.
    fn export() -> Export {
        Export {
            size: 1 << 20,
            flags: !READ_ONLY,
            block: 1,
            preferred: 4096,
            max_length: MAX_PAYLOAD,
            name: None,
            description: None,
            structured: true,
        }
    }

    const READ_ONLY: u16 = 1 << 1;
    const SEND_FLUSH: u16 = 1 << 2;
    const SEND_TRIM: u16 = 1 << 5;

    #[test]
    fn a_promise_is_within_what_resources_may_have() {
        let small = Export { block: 512, preferred: 3000, max_length: 5000, ..export() };
        let geometry = Promise::of(&small, false).unwrap().geometry;
        assert_eq!((geometry.block, geometry.preferred, geometry.max_length), (512, 4096, 4608));
        let geometry = Promise::of(&export(), true).unwrap().geometry;
        assert_eq!((geometry.block, geometry.max_length), (512, MAX_PAYLOAD));
        assert!(geometry.read_only && geometry.discard);
        let only = Export { flags: 0xffff, ..export() };
        assert!(Promise::of(&only, false).unwrap().geometry.read_only);
    }

    #[test]
    fn exports_that_cannot_be_shared_are_told_what_helps() {
        for (export, hint) in [
            (Export { size: 0, ..export() }, "give it a size"),
            (Export { size: 1000, ..export() }, "round-up=512"),
            (Export { block: 4096, max_length: 4096, size: 6144, ..export() }, "round-up=4096"),
            (Export { max_length: 256, ..export() }, "raise its limit"),
        ] {
            let said = Promise::of(&export, false).unwrap_err().to_string();
            assert!(said.contains(hint), "{said}");
        }
    }

    #[test]
    fn an_export_that_came_back_smaller_or_able_to_less_is_refused() {
        let promise = Promise::of(&export(), false).unwrap();
        let grown = Export { size: 2 << 20, ..export() };
        assert_eq!(promise.kept_by(&grown), Ok(()));
        for (export, hint) in [
            (Export { size: 1 << 19, ..export() }, "shrank from 1048576 to 524288"),
            (Export { flags: 0xffff, ..export() }, "writing"),
            (Export { flags: export().flags & !SEND_FLUSH, ..export() }, "flushes"),
            (Export { flags: export().flags & !SEND_TRIM, ..export() }, "discards"),
            (Export { block: 4096, ..export() }, "blocks"),
            (Export { max_length: 1 << 20, ..export() }, "as long as before"),
        ] {
            let said = promise.kept_by(&export).unwrap_err().to_string();
            assert!(said.contains(hint), "{said}");
        }
    }
}
