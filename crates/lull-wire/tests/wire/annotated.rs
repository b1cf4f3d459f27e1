//! Frames as text: hexadecimal bytes with comments, for the golden files and the specification.

use lull_wire::{Digest, FrameHeader, HEADER_LENGTH, Message, Sender};
use std::fmt::Write as _;

/// A message with its payload, as one side sends it.
pub fn frame(message: &Message, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(Digest::of(payload), &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// What a receiver makes of a whole frame.
pub fn read(frame: &[u8]) -> (Message, &[u8]) {
    let header = [Sender::Initiator, Sender::Target]
        .into_iter()
        .find_map(|sender| FrameHeader::read(frame, sender).ok())
        .expect("a header that one side may send")
        .expect("a whole header");
    let (body, payload) = frame[HEADER_LENGTH..].split_at(header.body_length as usize);
    header.check_body(body).expect("a body as it was sent");
    header.payload.check(payload).expect("a payload as it was sent");
    (Message::decode(header.kind, body).expect("fields as in the table"), payload)
}

/// The bytes of a text: pairs of hexadecimal digits, `#` before a comment, `5a*512` for a byte many times.
pub fn bytes(text: &str) -> Vec<u8> {
    let words =
        text.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
    words.flat_map(word).collect()
}

fn word(word: &str) -> Vec<u8> {
    let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
    let byte = u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("no byte: {word}"));
    vec![byte; times.parse().unwrap_or_else(|_| panic!("no number: {word}"))]
}

/// The text of a frame, field by field; [`bytes`] of it is the frame.
pub fn text(frame: &[u8]) -> String {
    let (message, payload) = read(frame);
    let info = message.kind().info();
    let mut rest = Rest { bytes: frame, text: String::new() };
    rest.line(4, "magic \"LULL\"");
    rest.line(2, &format!("kind {}", info.name));
    rest.line(2, "flags");
    rest.number(4, "body length");
    rest.number(4, "payload length");
    rest.line(4, "CRC-32C of the body");
    rest.line(4, "CRC-32C of the payload");
    rest.line(4, "reserved");
    rest.line(4, "CRC-32C of the 28 bytes above");
    for field in info.fields {
        match field.type_name {
            "Name" | "Prose" | "Address" => rest.text(field.name),
            "Path" | "List<Address, 8>" => {
                let count = rest.number(2, &format!("{}: items", field.name));
                (0..count).for_each(|_| rest.text(field.name));
            }
            _ if field.size.0 > 8 => rest.line(field.size.0, field.name),
            _ => drop(rest.number(field.size.0, field.name)),
        }
    }
    rest.payload(payload);
    rest.text
}

struct Rest<'a> {
    bytes: &'a [u8],
    text: String,
}

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        head
    }

    fn line(&mut self, length: usize, comment: &str) {
        let hex = hex(self.take(length));
        writeln!(self.text, "{hex:<48}# {comment}").expect("a string takes all");
    }

    fn number(&mut self, length: usize, comment: &str) -> u64 {
        let mut value = [0; 8];
        value[..length].copy_from_slice(&self.bytes[..length]);
        let value = u64::from_le_bytes(value);
        self.line(length, &format!("{comment}: {value}"));
        value
    }

    fn text(&mut self, comment: &str) {
        let length = self.number(2, &format!("{comment}: bytes")) as usize;
        for chunk in self.take(length).chunks(16) {
            writeln!(self.text, "{:<48}#   \"{}\"", hex(chunk), chunk.escape_ascii())
                .expect("a string takes all");
        }
    }

    fn payload(&mut self, payload: &[u8]) {
        assert_eq!(self.bytes, payload, "the fields end where the payload begins");
        let Some(first) = payload.first() else { return };
        if payload.iter().all(|byte| byte == first) {
            let many = format!("{first:02x}*{}", payload.len());
            writeln!(self.text, "{many:<48}# payload").expect("a string takes all");
        } else {
            writeln!(self.text, "# payload").expect("a string takes all");
            payload.chunks(32).for_each(|chunk| self.text += &(hex(chunk) + "\n"));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
