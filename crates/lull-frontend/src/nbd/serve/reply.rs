//! The duty to answer one request.

use std::rc::Rc;

use super::connection::Shared;
use crate::nbd::device::Outcome;
use crate::nbd::{Errno, reply};

/// The duty to answer one request. [CONN-3] It is a bug to drop it unanswered, and panics.
#[derive(Debug)]
pub struct Reply<B: AsRef<[u8]>>(Option<Duty<B>>);

#[derive(Debug)]
struct Duty<B: AsRef<[u8]>> {
    shared: Rc<Shared<B>>,
    cookie: u64,
    answer: Answer,
    /// Bytes that count against the connection's limit until it is answered.
    held: usize,
}

/// The form of the answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    /// No data, whatever comes of it.
    Plain,
    /// The data of a read behind a simple reply.
    SimpleData { length: u32 },
    /// The data of a read in one chunk.
    Structured { offset: u64, length: u32 },
}

impl<B: AsRef<[u8]>> Reply<B> {
    pub(super) fn new(shared: &Rc<Shared<B>>, cookie: u64, answer: Answer, held: usize) -> Self {
        shared.begin(held);
        Reply(Some(Duty { shared: Rc::clone(shared), cookie, answer, held }))
    }

    /// Answers. A read is answered with its filled buffer; a buffer that comes with another
    /// answer is dropped. Where the connection is gone, the answer goes nowhere.
    ///
    /// Panics where a read is answered with success and without exactly the bytes it asked for.
    pub fn done(mut self, outcome: Outcome<B>) {
        let Some(duty) = self.0.take() else {
            unreachable!("the duty leaves only here, and here the reply ends");
        };
        let (cookie, outlet) = (duty.cookie, &duty.shared.outlet);
        match (duty.answer, outcome) {
            (Answer::Plain, outcome) => {
                outlet.push_bytes(&reply::simple(cookie, outcome.map(drop)));
            }
            (Answer::SimpleData { length }, Ok(buffer)) => {
                outlet.push_frame(&reply::simple(cookie, Ok(())), filled(buffer, length));
            }
            (Answer::SimpleData { .. }, Err(errno)) => {
                outlet.push_bytes(&reply::simple(cookie, Err(errno)));
            }
            (Answer::Structured { offset, length }, Ok(buffer)) => {
                outlet.push_frame(&reply::data(cookie, offset, length), filled(buffer, length));
            }
            (Answer::Structured { .. }, Err(errno)) => {
                outlet.push_bytes(&reply::error(cookie, errno));
            }
        }
        duty.shared.end(duty.held);
    }

    /// Answers with an error.
    pub fn fail(self, errno: Errno) {
        self.done(Err(errno));
    }

    /// Gives up the duty where it cannot be fulfilled any more, because whoever should answer is
    /// being taken down: the connection is cut, so that the client does not wait for ever.
    pub fn abandon(mut self) {
        if let Some(duty) = self.0.take() {
            duty.shared.outlet.abort();
            duty.shared.end(duty.held);
        }
    }

    /// Whether somebody is left to hear the answer.
    pub fn is_heard(&self) -> bool {
        self.0.as_ref().is_some_and(|duty| duty.shared.outlet.is_open())
    }
}

fn filled<B: AsRef<[u8]>>(buffer: Option<B>, length: u32) -> B {
    match buffer {
        Some(buffer) if buffer.as_ref().len() == length as usize => buffer,
        Some(_) => panic!("a read must be answered with exactly the bytes it asked for"),
        None => panic!("a read that succeeds must be answered with its buffer"),
    }
}

impl<B: AsRef<[u8]>> Drop for Reply<B> {
    fn drop(&mut self) {
        if self.0.is_some() && !std::thread::panicking() {
            panic!("[CONN-3] a request was dropped without an answer");
        }
    }
}
