//! Claims, each with a schedule of faults by hand. What worlds of chance found is here as well, cut down to what it
//! takes.

mod chains;
mod crash;
mod fencing;
mod knocks;
mod leaving;
mod lives;
mod logs;
mod overlaps;
mod pause;
mod successors;
mod timers;
