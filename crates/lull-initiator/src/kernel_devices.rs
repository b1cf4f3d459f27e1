//! An attachment's devices in this host's kernel, of whichever driver.

use std::path::PathBuf;
use std::rc::Rc;

use lull_frontend::nbd::Resumed;
use lull_proto::geometry::Geometry;

use crate::attachment::Attachment;
use crate::block_device::{Block, BlockError, Parked};
use crate::buffer::Bytes;
use crate::kernel_nbd::{KernelNbd, KernelNbdError};
use crate::missing_place::had;

/// All of them; connected, and not served yet.
#[derive(Default)]
pub struct Devices {
    nbd: Option<KernelNbd>,
    block: Option<Block>,
}

/// Why one is not there.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// Of the kernel's NBD.
    #[error(transparent)]
    Nbd(#[from] KernelNbdError),
    /// Of ublk.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Devices {
    /// Adds those that were configured, new or as an earlier life of this attachment has left them; `kernel`: the connection
    /// by which it has served the kernel's NBD, if it has handed that over; `parked`: the device of ublk's, if that life was this
    /// process's; `go_on`: consumers of that life wait.
    ///
    /// # Errors
    /// What stands in the way of the first that cannot be had.
    pub async fn open(
        &mut self,
        attachment: &Rc<Attachment>,
        geometry: Geometry,
        kernel: Option<Resumed<Bytes>>,
        parked: Option<Parked>,
        go_on: bool,
    ) -> Result<(), DevicesError> {
        let config = attachment.config();
        if let Some(path) = &config.nbd_device {
            let nbd = KernelNbd::new(path, attachment, geometry, kernel).await;
            self.nbd = had(attachment, go_on, nbd)?;
        }
        if let Some(number) = config.ublk {
            let block = Block::new(number, attachment, geometry, parked).await;
            self.block = had(attachment, go_on, block)?;
        }
        Ok(())
    }

    /// Takes them away unserved.
    pub async fn drop_unused(self, attachment: &Attachment) {
        let Self { nbd, block } = self;
        if let Some(nbd) = nbd {
            nbd.drop_unused().await;
        }
        if let Some(block) = block {
            // Nobody has used it.
            let _ = block.remove(attachment).await;
        }
    }

    /// Where they are.
    pub fn paths(&self) -> Vec<PathBuf> {
        let nbd = self.nbd.iter().map(|nbd| nbd.path().to_owned());
        nbd.chain(self.block.iter().map(|block| block.path().to_owned())).collect()
    }

    /// Serves them from now on.
    pub fn begin(self, attachment: &Rc<Attachment>, geometry: Geometry) {
        let Self { nbd, block } = self;
        let found = nbd.as_ref().and_then(KernelNbd::found);
        for text in found.into_iter().chain(block.as_ref().and_then(Block::found)) {
            attachment.tell("device_found", text);
        }
        if let Some(nbd) = nbd {
            let attachment = Rc::clone(attachment);
            attachment.face.kernel_came();
            tokio::task::spawn_local(async move {
                let path = nbd.path().to_owned();
                nbd.serve(&attachment, geometry).await;
                attachment.face.kernel_left(&path);
            });
        }
        if let Some(block) = block {
            let attachment = Rc::clone(attachment);
            attachment.face.kernel_came();
            tokio::task::spawn_local(async move {
                let path = block.path().to_owned();
                block.serve(&attachment).await;
                attachment.face.kernel_left(&path);
            });
        }
    }
}
