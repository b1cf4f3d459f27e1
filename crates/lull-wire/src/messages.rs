//! The one table of messages: enumeration, codec, bounds and the specification's table all come from here.
//!
//! A new message takes a number that was never used; a changed one takes a new number and a new
//! [`VERSION`](crate::VERSION). What is not in the first version says `since` which one it is. HELLO and REFUSED are read before a version is agreed on: their fields are never
//! changed, only added to, and a receiver passes over what follows the fields that it knows.

use crate::codes::{
    Access, DisconnectCode, Features, OpCode, RefusalCode, RequestFlags, Retry, StatusCode,
};
use crate::error::DecodeError;
use crate::field::{Fault, Field, List, Reader, Text};
use crate::frame::{self, Digest};
use crate::ident::{
    AttachmentId, Epoch, Incarnation, InstanceId, RequestNumber, ResourceId, RestartId, Tenure,
};
use crate::table::messages;
pub use crate::table::{FieldInfo, MessageInfo, Payload, Sender};
use alloc::{boxed::Box, vec::Vec};
use core::fmt;

/// The longest name of a node or a resource, in bytes.
pub const NAME_LIMIT: usize = 64;
/// The longest text that only people read.
pub const PROSE_LIMIT: usize = 512;
/// The longest address.
pub const ADDRESS_LIMIT: usize = 256;
/// The most nodes that a path may lead through: a longer chain is refused as if it were a cycle.
pub const PATH_LIMIT: usize = 16;

/// A node's or a resource's name.
pub type Name = Text<NAME_LIMIT>;
/// Words for people.
pub type Prose = Text<PROSE_LIMIT>;
/// Where a node listens, in the form of the command line.
pub type Address = Text<ADDRESS_LIMIT>;
/// The nodes that a resource leads through, the asked one first, each `node/resource`.
pub type Path = List<Text<{ 2 * NAME_LIMIT + 1 }>, PATH_LIMIT>;

/// How many bytes of later versions may follow the known fields of HELLO and REFUSED.
const TAIL_LIMIT: usize = 1024;

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.info().name)
    }
}

messages! {
    /// The first message of a connection: who dials, and what it speaks.
    Hello = 0x01 "HELLO" from Initiator payload None tail true {
        /// The lowest version that the initiator speaks.
        min_version: u16,
        /// The highest version that the initiator speaks.
        max_version: u16,
        /// This life of the initiator's daemon.
        instance: InstanceId,
        /// The initiator's name, 1 to 64 bytes, no slash and no control character.
        node: Name,
        /// Program and release, for people.
        software: Name,
        /// Where a started target may knock; empty for nowhere.
        callback: Address,
    }

    /// The target knows the initiator and speaks one of its versions.
    Welcome = 0x02 "WELCOME" from Target payload None tail false {
        /// The version of everything that follows.
        version: u16,
        /// This life of the target's daemon.
        instance: InstanceId,
        /// The target's name.
        node: Name,
        /// Program and release, for people.
        software: Name,
        /// How often the initiator sends PING, in milliseconds; either side takes the fourth such round of silence for a loss.
        keep_alive_ms: u32,
    }

    /// "I'm back": the target serves, ATTACH may come.
    Connect = 0x03 "CONNECT" from Target payload None tail false {
        /// The restart that the target's present life came from; 0 for none.
        restart: RestartId,
        /// How long RESUME may take because others are waited for, in milliseconds.
        barrier_ms: u64,
    }

    /// A HELLO or an ATTACH is not granted; the target closes after it.
    Refused = 0x04 "REFUSED" from Target payload None tail true {
        /// Why.
        code: RefusalCode,
        /// Whether trying again makes sense.
        retry: Retry,
        /// When to try again at the earliest, in milliseconds from now.
        retry_after_ms: u32,
        /// The epoch that the target has for this attachment; 0 for none.
        epoch: Epoch,
        /// The resource's tenure; 0 for none.
        tenure: Tenure,
        /// Who or what is in the way, since when, and the next step, for people.
        detail: Prose,
    }

    /// Asks for a resource.
    Attach = 0x05 "ATTACH" from Initiator payload None tail false {
        /// Which attachment of this initiator.
        attachment: AttachmentId,
        /// The resource's name at the target.
        resource: Name,
        /// What the resource was when it was attached first; zero for the first time.
        identity: ResourceId,
        /// What the initiator wants to do with it.
        access: Access,
        /// Higher than that of any ATTACH of this attachment before.
        epoch: Epoch,
        /// The instance whose state this one found and goes on with; zero for none.
        predecessor: InstanceId,
        /// Let in although another instance owns the attachment, on an operator's word.
        take_over: bool,
        /// Changes were answered that no flush covers yet.
        dirty: bool,
        /// How long a lost session keeps the resource reserved, in milliseconds; all ones for without limit.
        hold_ms: u64,
        /// The incarnation that the initiator knew last; zero for none.
        incarnation: Incarnation,
        /// The tenure that the initiator's log belongs to; 0 for none.
        tenure: Tenure,
        /// The lowest request number that is not answered yet.
        lowest: RequestNumber,
    }

    /// Grants an ATTACH. Requests may be sent; until RESUME only those that are sent again.
    Attached = 0x06 "ATTACHED" from Target payload None tail false {
        /// The epoch that was asked for.
        epoch: Epoch,
        /// What the resource is.
        identity: ResourceId,
        /// The resource's present incarnation.
        incarnation: Incarnation,
        /// The hold that this attachment's log belongs to from now on.
        tenure: Tenure,
        /// Bytes.
        size: u64,
        /// Offsets and lengths are multiples of this many bytes, a power of two of at least 512.
        block: u32,
        /// The length in bytes that suits the medium best, a power of two.
        preferred: u32,
        /// The longest request in bytes; bounds the payload too.
        max_length: u32,
        /// What the resource can do.
        features: Features,
        /// The nodes that the resource leads through, the target first.
        path: Path,
    }

    /// The initiator has sent again what had to be sent again, and all of it is answered.
    Ready = 0x07 "READY" from Initiator payload None tail false {
        /// How many requests were replayed.
        replayed: u64,
        /// How many bytes of changes were replayed; a flush has none.
        replayed_bytes: u64,
    }

    /// "Go ahead and continue sharing"; also ends a pause that was aborted, and a HOLD.
    Resume = 0x08 "RESUME" from Target payload None tail false {
        /// The restart that ends with it; 0 for none.
        restart: RestartId,
    }

    /// "I need to restart": no new requests, finish those that are pending. Sent again it renews the span.
    Pause = 0x09 "PAUSE" from Target payload None tail false {
        /// The restart that begins.
        restart: RestartId,
        /// How long the target waits for PAUSE COMPLETE, in milliseconds from now.
        span_ms: u64,
        /// How long the target expects to be away, in milliseconds; 0 for not known.
        downtime_ms: u64,
        /// Why, for people.
        reason: Prose,
    }

    /// What keeps an initiator from PAUSE COMPLETE; at least once a second until then.
    PauseProgress = 0x0a "PAUSE PROGRESS" from Initiator payload None tail false {
        /// The restart.
        restart: RestartId,
        /// Requests that are sent and not answered.
        in_flight: u32,
        /// The age of the oldest of them in milliseconds.
        oldest_ms: u64,
        /// Bytes of changes that no flush covers yet.
        unflushed: u64,
    }

    /// "Go ahead and restart": nothing is in flight, nothing is unflushed but what is named here.
    PauseComplete = 0x0b "PAUSE COMPLETE" from Initiator payload None tail false {
        /// The restart.
        restart: RestartId,
        /// Requests that were in flight when PAUSE came.
        in_flight_at_pause: u32,
        /// Requests that were answered NOT EXECUTED and are kept to be sent again.
        not_executed: u32,
        /// Changes that are still retained because a flush failed.
        retained: u64,
        /// Their bytes.
        retained_bytes: u64,
        /// From PAUSE to the last answer, in microseconds.
        drain_us: u64,
        /// The flush, in microseconds.
        flush_us: u64,
    }

    /// "I'm going down": the connection ends. For a restart the point of no return.
    Disconnect = 0x0c "DISCONNECT" from Target payload None tail false {
        /// The restart; 0 where there is none.
        restart: RestartId,
        /// Why.
        code: DisconnectCode,
        /// How long the target expects to be away, in milliseconds; 0 for not known.
        downtime_ms: u64,
        /// The resource of a failed write-back; empty otherwise.
        resource: Name,
        /// Where else the target will be back; empty for the same address.
        where_to: List<Address, 8>,
        /// Why, for people.
        detail: Prose,
    }

    /// The attachment ends for good; sent after a flush.
    Detach = 0x0d "DETACH" from Initiator payload None tail false {
        /// Why, for people.
        reason: Prose,
    }

    /// The attachment is off the roster; the target closes after it.
    Detached = 0x0e "DETACHED" from Target payload None tail false {
        /// The epoch that ended with it, for logs.
        epoch: Epoch,
    }

    /// Requests wait because a target further up pauses or is away; renewed while it lasts, ended by RESUME.
    Hold = 0x0f "HOLD" from Target payload None tail false {
        /// How long from now it may last, in milliseconds.
        span_ms: u64,
        /// The nodes from this target to the one that is waited for.
        path: Path,
        /// Why, for people.
        reason: Prose,
    }

    /// Are you there?
    Ping = 0x10 "PING" from Both payload None tail false {
        /// Comes back in the PONG.
        token: u64,
    }

    /// I am.
    Pong = 0x11 "PONG" from Both payload None tail false {
        /// The PING's.
        token: u64,
    }

    /// A started target's hint, sent to a callback address on a connection of its own: dial now. Proves nothing.
    Knock = 0x12 "KNOCK" from Target payload None tail false {
        /// The target's name.
        node: Name,
        /// This life of the target's daemon.
        instance: InstanceId,
    }

    /// The resource has grown.
    Resized = 0x13 "RESIZED" from Target payload None tail false {
        /// Bytes, never less than before.
        size: u64,
    }

    /// After RESUME: what the interruption cost this attachment's consumers.
    Stall = 0x14 "STALL" from Initiator payload None tail false {
        /// The restart that RESUME names; 0 for none.
        restart: RestartId,
        /// The longest that a request of a consumer had waited at RESUME, or until it was answered in the replay, in microseconds.
        longest_us: u64,
        /// How many requests were held and not sent before.
        held: u32,
        /// From DISCONNECT or loss to CONNECT, in microseconds.
        away_us: u64,
        /// From CONNECT to RESUME, in microseconds; 0, like the one before, where only a pause was aborted.
        resume_us: u64,
    }

    /// One request of a consumer.
    Request = 0x20 "REQUEST" from Initiator payload Data tail false {
        /// The request's number; sent again it keeps it.
        number: RequestNumber,
        /// The lowest number that is not answered yet.
        lowest: RequestNumber,
        /// The first byte, a multiple of the block; 0 for a flush.
        offset: u64,
        /// How many bytes, a multiple of the block; 0 for a flush; a write's payload has this length.
        length: u32,
        /// What to do.
        op: OpCode,
        /// How to do it.
        flags: RequestFlags,
    }

    /// How a request ended. The payload is the data of a read that is done, or its list of extents.
    Reply = 0x21 "REPLY" from Target payload Data tail false {
        /// The request's number.
        number: RequestNumber,
        /// How it ended.
        status: StatusCode,
        /// The incarnation that executed it.
        incarnation: Incarnation,
    }
}
