//! A restart of this daemon under its consumers [INIT-1]: what one process leaves ([`parting`]) and the next takes
//! ([`taking`]), in the form of [`estate`]. Where nothing comes of a successor the old process takes its own estate back,
//! by the same road.

pub mod announcement;
pub mod estate;
pub mod face;
pub mod order;
pub mod parting;
pub mod taking;
