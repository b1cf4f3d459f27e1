//! How one field of a body is laid out: little-endian, unaligned, in the order of the table, nothing between.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// Why a field could not be read. Its message adds its own name and makes a [`crate::DecodeError`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The body ended inside the field.
    Short,
    /// Not UTF-8.
    Text,
    /// Longer than its bound.
    Bound,
    /// A bit that has no meaning is set.
    Reserved,
}

/// What is left of a body.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Fault::Short)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Fault::Short)?;
        self.0 = rest;
        Ok(*head)
    }
}

/// A type that can be a field of a message.
pub trait Field: Sized {
    /// What the table calls the type.
    const NAME: &'static str;
    /// The fewest bytes it takes.
    const MIN: usize;
    /// The most bytes it takes.
    const MAX: usize;
    /// Appends the field's bytes.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads the field.
    fn take(from: &mut Reader<'_>) -> Result<Self, Fault>;
    /// The first version that knows this value: of a set, the newest bit's. A code makes no message invalid.
    #[inline]
    fn since(&self) -> u16 {
        1
    }
}

macro_rules! integers {
    ($($type:ident $size:literal),*) => {$(
        impl Field for $type {
            const NAME: &'static str = stringify!($type);
            const MIN: usize = $size;
            const MAX: usize = $size;
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
                Ok(Self::from_le_bytes(from.array()?))
            }
        }
    )*};
}

integers!(u8 1, u16 2, u32 4, u64 8);

impl Field for bool {
    const NAME: &'static str = "bool";
    const MIN: usize = 1;
    const MAX: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Fault::Reserved),
        }
    }
}

/// A text of at most `MAX` bytes of UTF-8: a 16-bit length, then the bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text, or nothing where it is too long to be sent whole: for names.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= MAX).then(|| Self(text.into()))
    }

    /// As much of the text as fits: for what only people read.
    pub fn clipped(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(MAX)].into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const LIMIT: usize> Field for Text<LIMIT> {
    const NAME: &'static str = "text";
    const MIN: usize = 2;
    const MAX: usize = 2 + LIMIT;
    fn put(&self, out: &mut Vec<u8>) {
        (self.0.len() as u16).put(out);
        out.extend_from_slice(self.0.as_bytes());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let length = usize::from(u16::take(from)?);
        if length > LIMIT {
            return Err(Fault::Bound);
        }
        let text = core::str::from_utf8(from.bytes(length)?).map_err(|_| Fault::Text)?;
        Ok(Self(text.into()))
    }
}

/// At most `MAX` items of one type: a 16-bit count, then the items.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// The list, or nothing where it has more than `MAX` items.
    pub fn new(items: Vec<T>) -> Option<Self> {
        (items.len() <= MAX).then_some(Self(items))
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T: Field, const LIMIT: usize> Field for List<T, LIMIT> {
    const NAME: &'static str = "list";
    const MIN: usize = 2;
    const MAX: usize = 2 + LIMIT * T::MAX;
    fn put(&self, out: &mut Vec<u8>) {
        (self.0.len() as u16).put(out);
        self.0.iter().for_each(|item| item.put(out));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = usize::from(u16::take(from)?);
        if count > LIMIT {
            return Err(Fault::Bound);
        }
        (0..count).map(|_| T::take(from)).collect::<Result<_, _>>().map(Self)
    }
}
