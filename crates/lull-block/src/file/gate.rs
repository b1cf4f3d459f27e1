//! Whether a buffered write can be made on an event loop's own thread without being put to sleep.
//!
//! File systems such as ext4 and buffered block devices refuse `RWF_NOWAIT` for writes, so the
//! kernel cannot be asked per write. What puts a page-aligned buffered write to sleep is, in the
//! first place, the throttling of whoever dirties pages while there are too many of them. The
//! kernel starts that at the middle between its two thresholds, all of which it publishes; below,
//! a write is a copy.
//!
//! Measured on ext4 (random 4 KiB, 32 outstanding): 2.0 s of processor time per million writes
//! here against 9.3 s by way of a worker, at 2.6 times the rate; where the page cache holds the
//! file in large folios the kernel's own cost leads and the ratio is 1 to 2. The price is the
//! journal: with a flush every 2,000 writes one write in 3,000 took over 1 ms, the longest 5 ms.
//!
//! Not seen here: a memory limit of this process's own control group. Whoever sets one far below
//! the machine's thresholds gets the throttling on the loop, as every other server does.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How many bytes are written between two looks: the most by which one resource overshoots.
const LOOK_EVERY: u64 = 16 << 20;

/// Kept free below the kernel's limit for what others write between two looks, in pages.
const MARGIN: u64 = (256 << 20) / 4096;

/// The gate of one resource.
pub(super) struct Gate {
    open: AtomicBool,
    since_look: AtomicU64,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { open: AtomicBool::new(false), since_look: AtomicU64::new(LOOK_EVERY) }
    }

    /// Whether a write of `length` bytes may go ahead without a worker.
    pub(super) fn admits(&self, length: u64) -> bool {
        let before = self.since_look.fetch_add(length, Ordering::Relaxed);
        if before >= LOOK_EVERY {
            self.since_look.store(0, Ordering::Relaxed);
            let room = fs::read_to_string("/proc/vmstat").is_ok_and(|text| has_room(&text));
            self.open.store(room, Ordering::Relaxed);
        }
        self.open.load(Ordering::Relaxed)
    }
}

/// Whether the dirty pages are well below the point where the kernel begins to throttle. False
/// where the text does not tell.
fn has_room(vmstat: &str) -> bool {
    let value = |name: &str| {
        vmstat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.parse::<u64>().ok())?
        })
    };
    let (Some(dirty), Some(writing), Some(hard), Some(background)) = (
        value("nr_dirty"),
        value("nr_writeback"),
        value("nr_dirty_threshold"),
        value("nr_dirty_background_threshold"),
    ) else {
        return false;
    };
    dirty + writing + MARGIN < (hard + background) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmstat(dirty: u64, writing: u64) -> String {
        format!(
            "nr_free_pages 7\nnr_dirty {dirty}\nnr_writeback {writing}\n\
             nr_dirty_threshold 1200000\nnr_dirty_background_threshold 600000\n"
        )
    }

    #[test]
    fn the_gate_closes_before_the_kernel_throttles() {
        assert!(has_room(&vmstat(1000, 1000)));
        assert!(!has_room(&vmstat(450_000, 450_000)));
        assert!(!has_room(&vmstat(900_000 - MARGIN, 0)));
    }

    #[test]
    fn an_unknown_state_keeps_the_gate_closed() {
        assert!(!has_room(""));
        assert!(!has_room("nr_dirty x\nnr_writeback 0\n"));
    }
}
