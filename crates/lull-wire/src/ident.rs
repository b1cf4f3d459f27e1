//! Identities and numbers that cross the wire, each a type of its own so that none is taken for another.

use crate::field::{Fault, Field, Reader};
use alloc::vec::Vec;
use core::fmt;

macro_rules! identity {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All zero: "none" or "not known".
            pub const NONE: Self = Self([0; 16]);

            /// Whether this is [`Self::NONE`].
            pub fn is_none(self) -> bool {
                self == Self::NONE
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:02x}{:02x}..)", stringify!($name), self.0[0], self.0[1])
            }
        }

        impl core::str::FromStr for $name {
            type Err = NotAnIdentity;
            fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
                let mut bytes = [0; 16];
                if text.len() != 32 || !text.is_ascii() {
                    return Err(NotAnIdentity);
                }
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16)
                        .map_err(|_| NotAnIdentity)?;
                }
                Ok(Self(bytes))
            }
        }

        impl Field for $name {
            const NAME: &'static str = "id";
            const MIN: usize = 16;
            const MAX: usize = 16;
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
                Ok(Self(from.array()?))
            }
        }
    )*};
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this. Numbers start at 1 and cannot run out: 2⁶⁴ at a million a second lasts
            /// 580,000 years.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Field for $name {
            const NAME: &'static str = "u64";
            const MIN: usize = 8;
            const MAX: usize = 8;
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
                u64::take(from).map(Self)
            }
        }
    )*};
}

/// A text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnIdentity;

impl fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an identity: 32 hexadecimal digits expected")
    }
}

impl core::error::Error for NotAnIdentity {}

identity! {
    /// One life of a daemon: random, new at every start. The name stays.
    InstanceId;
    /// One attachment of one initiator, for as long as the attachment exists: random, made once.
    AttachmentId;
    /// What a resource is, wherever and under whichever name it is shared: random, made once.
    ResourceId;
    /// One life of a resource's promise about data that is written and not flushed: random, new at every
    /// start of its target and at every failure to write back.
    Incarnation;
}

number! {
    /// The number of one ATTACH. Higher than any before it for that attachment; what belongs to a lower one is
    /// fenced.
    Epoch;
    /// The number of one writer's, or line of heirs', hold on a resource.
    Tenure;
    /// The number of one request of a session. It goes on over connections: a request that is sent again keeps
    /// its number.
    RequestNumber;
    /// One run of pause and resume at one target; 0 is "none".
    RestartId;
}
