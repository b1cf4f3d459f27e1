//! The consumer beside the crowd: one read of 4 KiB at a time, and how long the longest took.

use super::board::now_us;
use super::session::{attach, first, hello, put};
use anyhow::{Context, Result, bail};
use lull_wire::frame::{Digest, FrameHeader};
use lull_wire::messages::{Detach, Ready, Request, Sender};
use lull_wire::{Access, Epoch, Message, OpCode, RequestFlags, RequestNumber};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Its number among the sessions: none of theirs.
const NUMBER: usize = 1 << 40;
const LENGTH: usize = 4096;
/// A read that takes longer has failed.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// What it saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub reads: u64,
    pub longest_us: u64,
}

/// It reads until it is told to stop.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Reader {
    /// Attaches a resource that nobody else writes, and begins to read.
    pub fn start(listen: &Path, resource: &str) -> Result<Self> {
        let mut line = Line::attach(listen, resource)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !told.load(Ordering::Relaxed) {
                let begun = now_us();
                line.read(seen.reads + 1)?;
                seen.reads += 1;
                seen.longest_us = seen.longest_us.max(now_us().saturating_sub(begun));
            }
            line.detach()?;
            Ok(seen)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_) => bail!("the reader's thread panicked"),
        }
    }
}

struct Line {
    stream: UnixStream,
    inbox: Vec<u8>,
}

impl Line {
    fn attach(listen: &Path, resource: &str) -> Result<Self> {
        let stream = UnixStream::connect(listen)?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        let mut line = Self { stream, inbox: Vec::new() };
        line.say(&hello(NUMBER).into())?;
        line.wait_for(|message| matches!(message, Message::Connect(_)))?;
        line.say(&attach(NUMBER, resource, Access::ReadWrite, Epoch(1)).into())?;
        line.wait_for(|message| matches!(message, Message::Attached(_)))?;
        line.say(&Ready { replayed: 0, replayed_bytes: 0 }.into())?;
        line.wait_for(|message| matches!(message, Message::Resume(_)))?;
        Ok(line)
    }

    fn detach(&mut self) -> Result<()> {
        self.say(&Detach { reason: Default::default() }.into())?;
        self.wait_for(|message| matches!(message, Message::Detached(_)))
    }

    fn say(&mut self, message: &Message) -> Result<()> {
        let mut out = Vec::new();
        put(message, &mut out);
        Ok(self.stream.write_all(&out)?)
    }

    fn read(&mut self, number: u64) -> Result<()> {
        let number = RequestNumber(number);
        let request = Request {
            number,
            lowest: number,
            offset: 0,
            length: LENGTH as u32,
            op: OpCode::Read,
            flags: RequestFlags::none(),
        };
        self.say(&request.into())?;
        self.wait_for(|message| matches!(message, Message::Reply(_)))
    }

    fn wait_for(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<()> {
        loop {
            while let Some((message, length)) = first(&self.inbox)? {
                let header = FrameHeader::read(&self.inbox, Sender::Target)?;
                let payload = header.map_or(Digest::NONE, |header| header.payload).length as usize;
                self.more(length + payload)?;
                self.inbox.drain(..length + payload);
                if wanted(&message) {
                    return Ok(());
                }
            }
            let there = self.inbox.len();
            self.more(there + 1)?;
        }
    }

    /// Receives until so many bytes are there.
    fn more(&mut self, wanted: usize) -> Result<()> {
        let mut chunk = [0; 2 * LENGTH];
        while self.inbox.len() < wanted {
            match self.stream.read(&mut chunk).context("the reader's connection")? {
                0 => bail!("the target closed the reader's connection"),
                got => self.inbox.extend_from_slice(&chunk[..got]),
            }
        }
        Ok(())
    }
}
