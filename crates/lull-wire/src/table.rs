//! The machinery behind [`crate::messages`]: what a row says, and the macro that makes a message of it.

use crate::messages::Kind;

/// Which side sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The initiator only.
    Initiator,
    /// The target only.
    Target,
    /// Either.
    Both,
}

impl Sender {
    /// Whether `who` (one side, not [`Sender::Both`]) may send it.
    pub fn allows(self, who: Self) -> bool {
        self == Self::Both || self == who
    }
}

/// Whether data follows the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Never.
    None,
    /// Up to [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) bytes.
    Data,
}

/// One row of the table.
#[derive(Debug)]
pub struct MessageInfo {
    /// Which message.
    pub kind: Kind,
    /// Its name, as the specification writes it.
    pub name: &'static str,
    /// Who sends it.
    pub from: Sender,
    /// The first version that has it.
    pub since: u16,
    /// What it says.
    pub doc: &'static str,
    /// Its fields in their order on the wire.
    pub fields: &'static [FieldInfo],
    /// The fewest bytes of a body.
    pub min_body: usize,
    /// The most bytes of a body.
    pub max_body: usize,
    /// Whether data follows.
    pub payload: Payload,
}

/// One field of a row.
#[derive(Debug)]
pub struct FieldInfo {
    /// Its name.
    pub name: &'static str,
    /// Its type, as written in the table.
    pub type_name: &'static str,
    /// The fewest and the most bytes that it takes.
    pub size: (usize, usize),
    /// What it says.
    pub doc: &'static str,
}

macro_rules! messages {
    ($(
        $(#[doc = $doc:literal])+
        $kind:ident = $number:literal $name:literal from $from:ident payload $payload:ident tail $tail:literal
        $(since $since:literal)? {
            $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)*
        }
    )*) => {
        /// Which message a frame holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[doc = $doc])+ $kind,)* }

        impl Kind {
            /// The number in the header.
            #[inline]
            pub fn number(self) -> u16 {
                match self { $(Self::$kind => $number,)* }
            }

            /// The message with this number.
            #[inline]
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)* _ => None }
            }

            /// Its row of the table.
            #[inline]
            pub fn info(self) -> &'static MessageInfo {
                &TABLE[self as usize]
            }
        }

        /// The table.
        pub static TABLE: &[MessageInfo] = &[$(MessageInfo {
            kind: Kind::$kind,
            name: $name,
            from: Sender::$from,
            since: crate::code::since!($($since)?),
            doc: concat!($($doc),+),
            fields: &[$(FieldInfo {
                name: stringify!($field),
                type_name: stringify!($type),
                size: (<$type as Field>::MIN, <$type as Field>::MAX),
                doc: concat!($($field_doc),+),
            },)*],
            min_body: 0 $(+ <$type as Field>::MIN)*,
            max_body: (0 $(+ <$type as Field>::MAX)*) + if $tail { TAIL_LIMIT } else { 0 },
            payload: Payload::$payload,
        },)*];

        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, PartialEq, Eq, Hash)]
            pub struct $kind { $($(#[doc = $field_doc])+ pub $field: $type,)* }

            impl $kind {
                /// The first version in which this may be sent as it is [CONN-8].
                #[inline]
                pub fn since(&self) -> u16 {
                    crate::code::since!($($since)?)$(.max(Field::since(&self.$field)))*
                }

                /// Appends header and body; `payload` describes what the caller sends behind them.
                #[inline]
                pub fn encode(&self, payload: Digest, out: &mut Vec<u8>) {
                    frame::write(Kind::$kind, payload, out, |_out| { $(self.$field.put(_out);)* });
                }

                /// Reads a body whose checksum was found right.
                ///
                /// # Errors
                /// What in it is not as the table says.
                #[inline]
                pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
                    let mut from = Reader::new(body);
                    let fault = |fault: Fault| match fault {
                        Fault::Short => DecodeError::BodyLength(Kind::$kind, body.len() as u32),
                        Fault::Text => DecodeError::Text(Kind::$kind),
                        Fault::Bound => DecodeError::Bound(Kind::$kind),
                        Fault::Reserved => DecodeError::Reserved,
                    };
                    let message = Self { $($field: <$type as Field>::take(&mut from).map_err(fault)?,)* };
                    if from.is_empty() || $tail {
                        Ok(message)
                    } else {
                        Err(DecodeError::BodyLength(Kind::$kind, body.len() as u32))
                    }
                }
            }

            impl From<$kind> for Message {
                fn from(message: $kind) -> Self { Self::$kind(Box::new(message)) }
            }
        )*

        /// Any message. Boxed inside, so that it is small to move; the data path uses [`Request`] and [`Reply`]
        /// themselves.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Message { $($(#[doc = $doc])+ $kind(Box<$kind>),)* }

        impl Message {
            /// Which message.
            pub fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)* }
            }

            /// The first version in which this may be sent as it is [CONN-8].
            pub fn since(&self) -> u16 {
                match self { $(Self::$kind(message) => message.since(),)* }
            }

            /// Appends header and body; `payload` describes what the caller sends behind them.
            pub fn encode(&self, payload: Digest, out: &mut Vec<u8>) {
                match self { $(Self::$kind(message) => message.encode(payload, out),)* }
            }

            /// Reads a body whose checksum was found right.
            ///
            /// # Errors
            /// What in it is not as the table says.
            pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, DecodeError> {
                match kind { $(Kind::$kind => $kind::decode(body).map(Self::from),)* }
            }
        }
    };
}

pub(crate) use messages;
