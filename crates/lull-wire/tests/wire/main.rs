//! The messages against what the specification and the golden frames say of them.

mod annotated;
mod dialogue;
mod document;
mod golden;
mod golden_values;
mod refusals;
mod round_trip;
mod versions;
