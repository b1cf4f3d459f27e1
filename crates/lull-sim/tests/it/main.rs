//! The simulator's own tests: claims about the machines, each a schedule by hand; worlds of chance, a few of each
//! preset; and what must be found.

mod canaries;
mod claims;
mod model;
mod presets;
mod scene;
