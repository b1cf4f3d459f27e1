//! The two machines against each other on a virtual clock, and each alone against what a peer may send.

mod alone;
mod bring_up;
mod pair;
mod pause;
