//! The faces that a consumer sees. A face knows neither what lies behind its device nor how that
//! is shared: it is generic over a small trait, [`Device`](device::Device), that the daemons implement.

#![deny(unsafe_code)]

pub mod device;
pub mod fuse;
pub mod nbd;
#[doc(hidden)]
pub mod outside;
mod turns;
pub mod ublk;
pub mod vhost_user;
