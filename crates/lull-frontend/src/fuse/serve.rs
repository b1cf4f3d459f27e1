//! The loop: requests from the kernel to the device.

use std::io;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::abi::{self, Ask, Attributes, Change, Request, errno};
use super::channel::Channel;
use super::odd::{Piece, patch};
use super::reply::{Duty, Form};
use super::seek::seek;
use crate::device::{self, Device, Op, Reply};
use crate::nbd::{Closer, Geometry, Stage};
use crate::turns::Turns;

/// The most bytes that the kernel is let ask for in one request. More makes it no faster.
const MOST: u32 = 1 << 20;

/// Who owns the file, and who may open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits, nine of them.
    pub mode: u32,
}

/// Why a mount is no longer served, other than by leave of a [`Closer`].
#[derive(Debug, thiserror::Error)]
pub enum ServeEnd {
    /// Somebody has unmounted the file.
    #[error("the file was unmounted")]
    Unmounted,
    /// The kernel is older than what this needs.
    #[error("the kernel speaks FUSE 7.{0}: Linux 5.4 or later is needed")]
    TooOld(u32),
    /// `/dev/fuse` failed.
    #[error("/dev/fuse failed: {0}")]
    Lost(#[from] io::Error),
}

/// Serves one mounted file until it is unmounted or `closer` closes it. It returns only when every request that was
/// taken is answered by `device`, or when it leaves to another server ([`Closer::part`]): that one finds
/// [`Channel::record`], and what is unanswered is not answered here any more.
///
/// # Errors
/// Why it ended by itself.
pub async fn serve<D: Device + 'static>(
    channel: Rc<Channel>,
    device: Rc<D>,
    closer: Closer,
) -> Result<(), ServeEnd> {
    let geometry = device.geometry();
    let mut file = File { channel: Rc::clone(&channel), device, geometry, closer: closer.clone() };
    let mut buffer = vec![0; 4096 + MOST as usize];
    let mut turns = Turns::default();
    let parting = || closer.when(|stage| stage == Stage::Parting);
    let end = loop {
        let received = match closer.stage() {
            Stage::Open => tokio::select! {
                biased;
                () = closer.when(|stage| stage != Stage::Open) => continue,
                received = file.channel.next(&mut buffer) => received,
            },
            Stage::Quiet => {
                closer.when(|stage| stage != Stage::Quiet).await;
                continue;
            }
            Stage::Parting => return Ok(()),
            Stage::Closed => break Ok(()),
        };
        match received {
            Ok(Some(length)) => {
                if let Some(request) = Request::decode(&buffer[..length]) {
                    // It may be asked for in several steps, or wait for memory.
                    let _taken = (closer.halfway(), channel.taking());
                    let done = tokio::select! {
                        biased;
                        done = file.take(request) => done,
                        () = parting() => return Ok(()),
                    };
                    if let Err(end) = done {
                        break Err(end);
                    }
                }
            }
            Ok(None) => break Err(ServeEnd::Unmounted),
            Err(error) => break Err(ServeEnd::Lost(error)),
        }
        turns.one_more().await;
    };
    tokio::select! {
        () = file.channel.idle() => end,
        () = parting() => Ok(()),
    }
}

/// The longest read or write: a device may be asked for a block more on either side of it.
fn most(geometry: &Geometry) -> u32 {
    let most = geometry.max_length.saturating_sub(2 * geometry.block).min(MOST);
    (most - most % 4096).max(4096)
}

/// The file, as the kernel sees it.
pub(super) struct File<D: Device> {
    pub(super) channel: Rc<Channel>,
    pub(super) device: Rc<D>,
    pub(super) geometry: Geometry,
    closer: Closer,
}

impl<D: Device + 'static> File<D> {
    async fn take(&mut self, request: Request<'_>) -> Result<(), ServeEnd> {
        let unique = request.unique;
        let answer = |body: &[u8]| self.channel.answer(unique, body);
        let refuse = |errno| self.channel.refuse(unique, errno);
        match request.ask {
            Ask::Init { major, minor, readahead, flags } => {
                if major < 7 || (major == 7 && minor < abi::OLDEST_MINOR) {
                    refuse(errno::NOT_SUPPORTED);
                    return Err(ServeEnd::TooOld(minor));
                }
                let most = most(&self.geometry);
                answer(&abi::init_out(minor, readahead, flags, most));
                self.channel.update(|record| {
                    (record.most, record.resends) = (most, flags & abi::HAS_RESEND != 0);
                });
            }
            Ask::Attributes => answer(&self.attributes().encode()),
            Ask::Change(change) => match self.change(change) {
                Ok(()) => answer(&self.attributes().encode()),
                Err(errno) => refuse(errno),
            },
            Ask::Open => {
                self.channel.opened();
                answer(&abi::open_out());
            }
            Ask::Release => {
                self.channel.released();
                refuse(0);
            }
            Ask::FileSystem => {
                answer(&abi::statfs_out(self.geometry.size, self.geometry.preferred));
            }
            Ask::Farewell => refuse(0),
            Ask::Unanswered => {}
            Ask::Unknown(_) => refuse(errno::NO_SYSTEM_CALL),
            Ask::Short => refuse(errno::INVALID),
            Ask::Seek { offset, whence } => self.seek(unique, offset, whence),
            Ask::Sync => self.submit(Op::Flush, 0, 0, None, unique, Form::Done),
            Ask::Read { offset, length } => self.read(unique, offset, length).await,
            Ask::Write { offset, durable, data } => self.write(unique, offset, durable, data).await,
            Ask::Allocate { offset, length, mode } => {
                self.allocate(unique, offset, length, mode).await;
            }
        }
        Ok(())
    }

    fn attributes(&self) -> Attributes {
        let Owner { uid, gid, mode } = self.channel.record().owner;
        let size = self.device.geometry().size.max(self.geometry.size);
        let mode = if self.geometry.read_only { mode & !0o222 } else { mode };
        Attributes { size, mode, uid, gid, preferred: self.geometry.preferred }
    }

    /// Owner and mode are the mount's own and end with it. The size is the device's.
    fn change(&self, change: Change) -> Result<(), i32> {
        let mut owner = self.channel.record().owner;
        if change.size.is_some_and(|size| size != self.geometry.size) {
            return Err(errno::PERM);
        }
        owner.mode = change.mode.map_or(owner.mode, |mode| mode & 0o777);
        owner.uid = change.uid.unwrap_or(owner.uid);
        owner.gid = change.gid.unwrap_or(owner.gid);
        self.channel.update(|record| record.owner = owner);
        Ok(())
    }

    /// The part of a range that lies on the device, which may have grown.
    fn within(&mut self, offset: u64, length: u64) -> u64 {
        if offset.saturating_add(length) > self.geometry.size {
            self.geometry.size = self.geometry.size.max(self.device.geometry().size);
        }
        self.geometry.size.saturating_sub(offset).min(length)
    }

    async fn read(&mut self, unique: u64, offset: u64, length: u32) {
        let length = self.within(offset, length.into()) as u32;
        if length == 0 {
            return self.channel.answer(unique, &[]);
        }
        let piece = Piece::around(offset, length.into(), self.geometry.block);
        let buffer = self.device.some_buffer(piece.whole as u32).await;
        let form = Form::Data { skip: piece.skip, length };
        self.submit(Op::Read, piece.start, piece.whole, Some(buffer), unique, form);
    }

    async fn write(&mut self, unique: u64, offset: u64, fua: bool, data: &[u8]) {
        let length = self.within(offset, data.len() as u64) as u32;
        match (self.geometry.read_only, length) {
            (true, _) => return self.channel.refuse(unique, errno::PERM),
            (false, 0) if !data.is_empty() => {
                return self.channel.refuse(unique, errno::NO_SPACE);
            }
            (false, _) => {}
        }
        let data = &data[..length as usize];
        if data.is_empty() {
            return self.channel.answer(unique, &abi::write_out(0));
        }
        let form = Form::Written { length };
        if !Piece::around(offset, length.into(), self.geometry.block).is_even() {
            let reply = self.reply(unique, form);
            return patch(self, offset, data, fua, reply).await;
        }
        // The kernel says how long the data is only with the data itself: one copy, instead of a megabyte kept for
        // every four kilobytes until they are answered.
        let mut buffer = self.device.some_buffer(length).await;
        buffer.as_mut().copy_from_slice(data);
        self.submit(Op::Write { fua }, offset, length.into(), Some(buffer), unique, form);
    }

    /// fallocate(2): holes read as zeroes; space within the device is there already.
    async fn allocate(&mut self, unique: u64, offset: u64, length: u64, mode: u32) {
        const KEEP_SIZE: u32 = 0x01;
        const PUNCH_HOLE: u32 = 0x02;
        const ZERO_RANGE: u32 = 0x10;
        let inside = self.within(offset, length);
        let keep_allocated = match mode & !KEEP_SIZE {
            PUNCH_HOLE => false,
            ZERO_RANGE => true,
            0 if inside == length => return self.channel.refuse(unique, 0),
            0 => return self.channel.refuse(unique, errno::NO_SPACE),
            _ => return self.channel.refuse(unique, errno::NOT_SUPPORTED),
        };
        if self.geometry.read_only {
            return self.channel.refuse(unique, errno::PERM);
        }
        if !self.geometry.write_zeroes {
            return self.channel.refuse(unique, errno::NOT_SUPPORTED);
        }
        let piece = Piece::around(offset, inside, self.geometry.block);
        if inside == 0 {
            self.channel.refuse(unique, 0);
        } else if piece.is_even() {
            let op = Op::WriteZeroes { fua: false, keep_allocated, fast: false };
            self.submit(op, offset, inside, None, unique, Form::Done);
        } else {
            self.zero_odd(unique, offset, inside).await;
        }
    }

    /// Where the data or hole begins that follows, asked beside the other requests: it may take several questions.
    fn seek(&self, unique: u64, offset: u64, whence: u32) {
        let (channel, device) = (Rc::clone(&self.channel), Rc::clone(&self.device));
        let geometry = self.geometry.clone();
        channel.begin();
        let halfway = self.closer.halfway();
        tokio::task::spawn_local(async move {
            match seek(&*device, &geometry, offset, whence).await {
                Some(Ok(found)) => channel.answer(unique, &found.to_ne_bytes()),
                Some(Err(errno)) => channel.refuse(unique, errno),
                None => {}
            }
            channel.end();
            drop(halfway);
        });
    }

    pub(super) fn reply(&self, unique: u64, form: Form) -> Reply<D::Buffer> {
        Reply::new(device::Duty::Fuse(Duty::new(&self.channel, unique, form)))
    }

    fn submit(
        &self,
        op: Op,
        offset: u64,
        length: u64,
        buffer: Option<D::Buffer>,
        unique: u64,
        form: Form,
    ) {
        self.device.submit(op, offset, length, buffer, self.reply(unique, form));
    }
}
