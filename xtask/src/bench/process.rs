//! What the kernel says of a process: processor time and memory.

use anyhow::{Context, Result};

/// Processor time used so far, kernel's and its own, of all its threads, in milliseconds.
pub fn busy_ms(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).context(path)?;
    busy_of(&text).with_context(|| format!("what the kernel says of a process: {text}"))
}

/// A line of `/proc/PID/status` that is an amount of memory, as `VmRSS`, in bytes.
pub fn memory(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).context(path)?;
    memory_of(&text, field).with_context(|| format!("no {field} of process {pid}"))
}

/// Fields 14 and 15, in hundredths of a second for everybody who reads them.
fn busy_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 10)
}

fn memory_of(status: &str, field: &str) -> Option<u64> {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.into_iter().find(|(name, _)| *name == field)?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1";
        assert_eq!(busy_of(stat), Some(3000));
        assert_eq!(busy_of("nothing"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tlull\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t1\n";
        assert_eq!(memory_of(status, "VmRSS"), Some(1 << 20));
        assert_eq!(memory_of(status, "Threads"), None);
    }
}
