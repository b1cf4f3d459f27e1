//! What a kernel says when something below a file system has failed.

/// Parts of lines that no kernel of a host with healthy disks prints.
const COMPLAINTS: [&str; 14] = [
    "I/O error",
    "Aborting journal",
    "blocked for more than",
    "BUG:",
    "Buffer I/O",
    "call trace",
    "corrupt",
    "EXT4-fs error",
    "EXT4-fs warning",
    "Internal error",
    "Kernel panic",
    "nbd: Connection timed out",
    "Remounting filesystem read-only",
    "shutting down filesystem",
];

/// The lines of a kernel's log that complain.
pub(super) fn complaints(log: &str) -> Vec<String> {
    let lower: Vec<_> = COMPLAINTS.iter().map(|complaint| complaint.to_lowercase()).collect();
    let complains = |line: &&str| {
        let line = line.to_lowercase();
        lower.iter().any(|complaint| line.contains(complaint))
    };
    log.lines().filter(complains).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_is_a_complaint_and_a_mount_is_none() {
        let log = "[1.0] EXT4-fs (nbd0): mounted filesystem with ordered data mode\n\
                   [9.0] blk_update_request: I/O error, dev nbd0, sector 8\n\
                   [9.1] EXT4-fs (nbd0): Remounting filesystem read-only\n";
        assert_eq!(complaints(log).len(), 2);
    }
}
