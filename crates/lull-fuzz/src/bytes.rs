//! Bytes as a source of decisions: whatever they are, they mean something.

use lull_wire::{Features, FieldInfo, Message, MessageInfo, RequestFlags};

/// What is left of the input. At its end it gives zeroes.
pub struct Bytes<'a>(&'a [u8]);

/// Names that the machines under test know, and some that they do not.
const WORDS: [&str; 8] = ["disk-a", "disk-b", "a", "b", "c", "target", "", "above/disk"];

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// One in two.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Fewer than `count`, which is from 1 to 256.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// One of them, where there is one.
    pub fn pick<T: Copy>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        let at = self.below(all.len().clamp(1, 256));
        all.get(at).copied()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// So many bytes, or what is left.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// Mostly small, sometimes any, sometimes the greatest.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xb0 => u64::from(small % 8),
            middle @ 0xb0..0xd0 => u64::from(middle) << (self.byte() % 40),
            0xd0..0xf0 => u64::from(u16::from_le_bytes(self.array())),
            0xf0..0xfc => u64::from_le_bytes(self.array()),
            _ => u64::MAX,
        }
    }

    /// A message of this row; `None` where its fields cannot be what was drawn.
    pub fn message(&mut self, row: &MessageInfo) -> Option<Message> {
        let mut body = Vec::new();
        row.fields.iter().for_each(|field| self.field(field, &mut body));
        Message::decode(row.kind, &body).ok()
    }

    fn field(&mut self, field: &FieldInfo, body: &mut Vec<u8>) {
        let (least, most) = field.size;
        match field.type_name {
            "bool" => body.push(self.byte() & 1),
            "RequestFlags" => self.bits(RequestFlags::ALL, least, body),
            "Features" => self.bits(Features::ALL, least, body),
            "Path" | "List<Address, 8>" => {
                let count = self.below(4) as u16;
                body.extend(count.to_le_bytes());
                (0..count).for_each(|_| self.word(body));
            }
            // What an attachment, an instance, a resource is told apart by.
            _ if least == most && least == 16 => body.extend([self.byte() % 5; 16]),
            _ if least == most => {
                let wide = self.number().to_le_bytes();
                body.extend((0..least).map(|at| wide.get(at).copied().unwrap_or(0)));
            }
            _ => self.word(body),
        }
    }

    fn bits(&mut self, known: &[(&str, u32, u16)], size: usize, body: &mut Vec<u8>) {
        let mask = known.iter().fold(0u32, |mask, (_, bit, _)| mask | 1 << bit);
        let bits = u32::from_le_bytes(self.array()) & mask;
        body.extend(&bits.to_le_bytes()[..size]);
    }

    fn word(&mut self, body: &mut Vec<u8>) {
        let word = WORDS[self.below(WORDS.len())];
        body.extend((word.len() as u16).to_le_bytes());
        body.extend(word.as_bytes());
    }
}
