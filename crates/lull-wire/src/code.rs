//! The macros behind [`crate::codes`]: numbers with names, unknown ones kept; each may say since which version it is.

/// The version that a row of a table names; the first where it names none.
macro_rules! since {
    () => {
        1u16
    };
    ($version:literal) => {{
        const { assert!(1 < $version && $version <= $crate::VERSION) };
        $version as u16
    }};
}

/// An enumeration on the wire. A number that this release does not know survives as `Unknown`, so that its
/// receiver decides what to make of it rather than the decoder.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident: $raw:ident { $($(#[$item_doc:meta])* $item:ident = $number:literal $text:literal $(since $since:literal)?,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$item_doc])* $item,)*
            /// A number that this release does not know.
            Unknown($raw),
        }

        impl $name {
            /// Every known code with its number and its name for people.
            pub const ALL: &'static [(Self, u64, &'static str)] = &[$((Self::$item, $number, $text),)*];

            /// The number on the wire.
            pub fn number(self) -> $raw {
                match self {
                    $(Self::$item => $number,)*
                    Self::Unknown(number) => number,
                }
            }

            /// The first version that has it. In a session of an earlier one it is as unknown as any other number,
            /// which makes no message invalid.
            pub fn since(self) -> u16 {
                match self {
                    $(Self::$item => crate::code::since!($($since)?),)*
                    Self::Unknown(_) => 1,
                }
            }
        }

        impl From<$raw> for $name {
            fn from(number: $raw) -> Self {
                match number {
                    $($number => Self::$item,)*
                    other => Self::Unknown(other),
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$item => f.pad($text),)*
                    Self::Unknown(number) => write!(f, "unknown ({number})"),
                }
            }
        }

        impl crate::field::Field for $name {
            const NAME: &'static str = stringify!($name);
            const MIN: usize = size_of::<$raw>();
            const MAX: usize = size_of::<$raw>();
            #[inline]
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                crate::field::Field::put(&self.number(), out);
            }
            #[inline]
            fn take(from: &mut crate::field::Reader<'_>) -> Result<Self, crate::field::Fault> {
                <$raw as crate::field::Field>::take(from).map(Self::from)
            }
        }
    )*};
}

/// A set of bits on the wire. A message with a bit that the session's version does not know is refused as a whole.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident: $raw:ident { $($(#[$item_doc:meta])* $item:ident = $bit:literal $(since $since:literal)?,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct $name($raw);

        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self(1 << $bit);)*

            /// No bit.
            pub const fn none() -> Self {
                Self(0)
            }

            /// Every bit with its name and the first version that has it.
            pub const ALL: &'static [(&'static str, u32, u16)] =
                &[$((stringify!($item), $bit, crate::code::since!($($since)?)),)*];

            /// The bits that a session of this version knows.
            #[must_use]
            pub fn within(self, version: u16) -> Self {
                let known = 0 $(| if crate::code::since!($($since)?) <= version { 1 << $bit } else { 0 })*;
                Self(self.0 & known)
            }

            /// As it is on the wire.
            pub fn bits(self) -> $raw {
                self.0
            }

            /// What is on the wire; `None` where a bit is set that this release does not know.
            pub fn of_bits(bits: $raw) -> Option<Self> {
                Some(Self(bits)).filter(|set| set.is_known())
            }

            /// Whether all bits of `other` are set.
            #[inline]
            pub fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The bits of both.
            #[must_use]
            pub fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The bits that `other` has not.
            #[must_use]
            pub fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// `other`'s bits as well, where `wanted`.
            #[must_use]
            pub fn with_if(self, wanted: bool, other: Self) -> Self {
                if wanted { self.with(other) } else { self }
            }

            /// Whether no bit is set that this release does not know.
            #[inline]
            pub fn is_known(self) -> bool {
                self.0 & !(0 $(| 1 << $bit)*) == 0
            }
        }

        impl crate::field::Field for $name {
            const NAME: &'static str = stringify!($name);
            const MIN: usize = size_of::<$raw>();
            const MAX: usize = size_of::<$raw>();
            #[inline]
            fn put(&self, out: &mut alloc::vec::Vec<u8>) {
                crate::field::Field::put(&self.0, out);
            }
            #[inline]
            fn take(from: &mut crate::field::Reader<'_>) -> Result<Self, crate::field::Fault> {
                let set = <$raw as crate::field::Field>::take(from).map(Self)?;
                if set.is_known() { Ok(set) } else { Err(crate::field::Fault::Reserved) }
            }
            #[inline]
            fn since(&self) -> u16 {
                1 $(.max(if self.has(Self::$item) { crate::code::since!($($since)?) } else { 1 }))*
            }
        }
    )*};
}

pub(crate) use codes;
pub(crate) use flags;
pub(crate) use since;
