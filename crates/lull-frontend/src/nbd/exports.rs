//! What the server's half can be asked for.

use std::future::Future;
use std::rc::Rc;

use super::Geometry;
use crate::device::Device;

/// The names under which devices are found. Given to each connection, so that an implementation
/// knows whom it serves.
pub trait Exports {
    /// What a name opens.
    type Device: Device + 'static;

    /// Every name that this client may see.
    fn list(&self) -> Vec<String>;

    /// Opens the export `name` for transmission. "" is the default export, which exists where there
    /// is exactly one. The device is dropped when its connection ends.
    fn open(&self, name: &str) -> impl Future<Output = Result<Rc<Self::Device>, OpenRefused>>;

    /// Looks at an export without using it. To be overridden where opening means taking.
    fn describe(&self, name: &str) -> impl Future<Output = Result<Geometry, OpenRefused>> {
        async move { self.open(name).await.map(|device| device.geometry()) }
    }
}

/// Why an export cannot be opened. The text goes to the client's user: it names the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefused {
    /// There is no export of that name.
    #[error("{0}")]
    Unknown(String),
    /// This client may not, or not now because of others.
    #[error("{0}")]
    Policy(String),
    /// The server is about to stop or not ready yet.
    #[error("{0}")]
    Shutdown(String),
}
