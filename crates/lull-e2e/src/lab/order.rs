//! What is said between a test and the agent in a guest: one JSON document per line, each way.

use serde::{Deserialize, Serialize};

/// The virtio port's name under which the guest finds its end.
pub const PORT: &str = "lull.agent";

/// The most bytes of each output that are kept; of what is longer, the end.
pub const MOST_OUTPUT: usize = 1 << 20;

/// From the test.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Who is there? Answered with [`Tell::Here`].
    Who,
    /// Run a shell's line; answered with [`Tell::Ended`] when it has ended.
    Run {
        /// The answer has it too.
        id: u64,
        /// For `sh -c`.
        line: String,
    },
}

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Tell {
    /// The agent of this boot is there.
    Here {
        /// The kernel's name of this boot, another one each time.
        boot: String,
    },
    /// A line has ended.
    Ended {
        /// As in the order.
        id: u64,
        /// Exit status as a shell has it: above 128 for a signal.
        code: i32,
        /// Standard output.
        stdout: String,
        /// Standard error.
        stderr: String,
    },
}
