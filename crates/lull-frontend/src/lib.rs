//! The faces that a consumer sees. A face knows neither what lies behind its device nor how that
//! is shared: it is generic over a small trait that the daemons implement.

#![forbid(unsafe_code)]

pub mod nbd;
