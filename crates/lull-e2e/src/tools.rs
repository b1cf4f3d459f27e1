//! Programs that are not ours, and what they work on.

use std::process::Command;
use std::time::Duration;

use crate::command::{Finished, Running};
use crate::target::Target;
use crate::wait::{PROMPT, wait_until};
use crate::world::World;

/// How long a program may take for a disk of some megabytes.
const TOOL: Duration = Duration::from_secs(60);

/// Starts a program.
pub fn start(program: &str, args: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(args).current_dir(std::env::temp_dir());
    Running::start(command)
}

/// Runs a program to its end.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> Finished {
    start(program, args).finish(TOOL)
}

/// The arguments with which `qemu-io` carries out orders on a raw disk.
pub fn qemu_io_args<'a>(disk: &[&'a str], orders: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["-f", "raw"];
    orders.iter().for_each(|order| args.extend(["-c", order]));
    args.extend(disk);
    args
}

/// Has `qemu-io` carry out orders on a disk; it says on its standard output what fails.
#[track_caller]
pub fn qemu_io(uri: &str, options: &[&str], orders: &[&str]) -> Finished {
    let disk: Vec<_> = options.iter().copied().chain([uri]).collect();
    run("qemu-io", &qemu_io_args(&disk, orders))
}

/// A file in the world with as many bytes as said, in which no two sectors are alike and none is
/// zero.
pub fn patterned(world: &World, name: &str, length: usize) -> String {
    let path = world.path(name);
    let word = |at: u64| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = (0..length as u64 / 8).flat_map(|at| word(at).to_le_bytes()).collect();
    std::fs::write(&path, bytes).expect("a file can be written");
    path.display().to_string()
}

/// Restarts the target until as many restarts as said have passed under a program, from beginning
/// to end, and returns how it ended.
///
/// # Panics
/// Where the program ends before, or has no connection to be disturbed.
#[track_caller]
pub fn through_restarts(
    target: &Target,
    mut program: Running,
    is_connected: impl Fn() -> bool,
    count: usize,
) -> Finished {
    wait_until("the program is connected", PROMPT, is_connected);
    for _ in 0..count {
        target.restart(&["--daemon"]);
        assert!(
            !program.has_ended(),
            "it ended before the restart did: {:?}",
            program.finish(TOOL)
        );
    }
    program.finish(TOOL)
}
