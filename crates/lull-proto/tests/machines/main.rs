//! The two machines against each other on a virtual clock, and each alone against what a peer may send.

mod alone;
mod answered;
mod arbitrary;
mod bring_up;
mod chains;
mod cuts;
mod fencing;
mod holding;
mod knocks;
mod leaving;
mod ledger;
mod legacy;
mod lives;
mod pair;
mod pause;
mod pause_end;
mod places;
mod refusing;
mod repeated;
mod retain;
mod settling;
mod sharers;
mod shutdown;
mod succession;
mod timers;
mod versions;
