//! What does not begin and end at a block: a file's users may write any byte, a device takes whole blocks.

use tokio::sync::oneshot;

use super::reply::Form;
use super::serve::File;
use crate::device::{Device, Duty, Op, Outcome, Reply};
use crate::nbd::Errno;

/// A range of bytes and the blocks that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where the first block begins.
    pub(super) start: u64,
    /// The blocks' length in bytes.
    pub(super) whole: u64,
    /// Bytes of the first block before the range.
    pub(super) skip: u32,
    length: u64,
}

impl Piece {
    pub(super) fn around(offset: u64, length: u64, block: u32) -> Piece {
        let block = u64::from(block);
        let skip = offset % block;
        let whole = (skip + length).next_multiple_of(block);
        Piece { start: offset - skip, whole, skip: skip as u32, length }
    }

    /// Whether the range is made of whole blocks.
    pub(super) fn is_even(&self) -> bool {
        self.whole == self.length
    }
}

/// Asks a device on the face's own behalf. `None`: the device was taken down.
pub(super) async fn ask<D: Device>(
    device: &D,
    op: Op,
    offset: u64,
    length: u64,
    buffer: Option<D::Buffer>,
) -> Option<Outcome<D::Buffer>> {
    let (asker, answer) = oneshot::channel();
    device.submit(op, offset, length, buffer, Reply::new(Duty::Own(asker)));
    answer.await.ok()
}

/// A duty that is given up where nobody comes to fulfil it, because the daemon is taken down meanwhile.
struct Owed<B: AsRef<[u8]>>(Option<Reply<B>>);

impl<B: AsRef<[u8]>> Owed<B> {
    fn done(mut self, outcome: Outcome<B>) {
        if let Some(reply) = self.0.take() {
            reply.done(outcome);
        }
    }
}

impl<B: AsRef<[u8]>> Drop for Owed<B> {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply.abandon();
        }
    }
}

/// Writes bytes that are no whole blocks: reads the blocks, puts the bytes in, writes them. Nothing else is under way
/// meanwhile, or a neighbour's write in the same block would be undone.
pub(super) async fn patch<D: Device + 'static>(
    file: &File<D>,
    offset: u64,
    data: &[u8],
    fua: bool,
    reply: Reply<D::Buffer>,
) {
    let owed = Owed(Some(reply));
    file.channel.others_done().await;
    match file.put(offset, Some(data), data.len() as u64, fua).await {
        Some(Ok(())) => owed.done(Ok(None)),
        Some(Err(errno)) => owed.done(Err(errno)),
        None => {}
    }
}

impl<D: Device + 'static> File<D> {
    /// Writes `data`, or zeroes, over part of its blocks. `None`: the device was taken down.
    async fn put(
        &self,
        offset: u64,
        data: Option<&[u8]>,
        length: u64,
        fua: bool,
    ) -> Option<Result<(), Errno>> {
        let piece = Piece::around(offset, length, self.geometry.block);
        let buffer = self.device.some_buffer(piece.whole as u32).await;
        let mut buffer =
            match ask(&*self.device, Op::Read, piece.start, piece.whole, Some(buffer)).await? {
                Ok(Some(buffer)) => buffer,
                Ok(None) => return Some(Err(Errno::Io)),
                Err(errno) => return Some(Err(errno)),
            };
        let part = &mut buffer.as_mut()[piece.skip as usize..][..length as usize];
        match data {
            Some(data) => part.copy_from_slice(data),
            None => part.fill(0),
        }
        let op = Op::Write { fua };
        let written = ask(&*self.device, op, piece.start, piece.whole, Some(buffer)).await?;
        Some(written.map(drop))
    }

    /// Zeroes bytes that are no whole blocks: both ends by reading and writing, what lies between as zeroes.
    pub(super) async fn zero_odd(&self, unique: u64, offset: u64, length: u64) {
        let owed = Owed(Some(self.reply(unique, Form::Done)));
        self.channel.others_done().await;
        match self.zero_parts(offset, length).await {
            Some(Ok(())) => owed.done(Ok(None)),
            Some(Err(errno)) => owed.done(Err(errno)),
            None => {}
        }
    }

    async fn zero_parts(&self, offset: u64, length: u64) -> Option<Result<(), Errno>> {
        let block = u64::from(self.geometry.block);
        let end = offset + length;
        let (first, last) = (offset.next_multiple_of(block).min(end), end - end % block);
        let middle = last.saturating_sub(first);
        let tail = last.max(first);
        for (from, to) in [(offset, first), (tail, end)] {
            if from < to
                && let Err(errno) = self.put(from, None, to - from, false).await?
            {
                return Some(Err(errno));
            }
        }
        if middle == 0 {
            return Some(Ok(()));
        }
        let op = Op::WriteZeroes { fua: false, keep_allocated: true, fast: false };
        Some(ask(&*self.device, op, first, middle, None).await?.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_in_whole_blocks() {
        let piece = |offset, length| {
            let piece = Piece::around(offset, length, 512);
            (piece.start, piece.whole, piece.skip, piece.is_even())
        };
        assert_eq!(piece(1024, 512), (1024, 512, 0, true));
        assert_eq!(piece(1025, 1), (1024, 512, 1, false));
        assert_eq!(piece(511, 2), (0, 1024, 511, false));
        assert_eq!(piece(512, 513), (512, 1024, 0, false));
    }
}
