//! The `lull` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lull::lull()
}
