//! What is worth being changed: whole and right, so that a change is one step beside it.

use std::fs;
use std::path::Path;

pub use crate::guest::{memories, said};
use lull_wire::{FrameHeader, HEADER_LENGTH, Kind, Sender, TABLE};

/// A folder of this repository.
fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What was found once by target `name`: inputs that have to pass from then on.
pub fn found(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(here("found").join(name))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let bytes = fs::read(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), bytes))
        })
        .collect();
    all.sort();
    all
}

/// The golden frames of every version.
pub fn frames() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for version in 1..=lull_wire::VERSION {
        let folder = here(&format!("../lull-wire/golden/v{version}"));
        let mut files: Vec<_> = fs::read_dir(folder).expect("golden frames").flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let text = fs::read_to_string(file.path()).expect("a golden frame");
            all.push(golden(&text));
        }
    }
    all
}

/// Pairs of hexadecimal digits, `#` before a comment, `5a*512` for a byte many times.
fn golden(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let word = |word: &str| {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let byte = u8::from_str_radix(digits, 16).expect("a byte of a golden frame");
        vec![byte; times.parse().expect("a number in a golden frame")]
    };
    lines.flat_map(str::split_whitespace).flat_map(word).collect()
}

/// The golden frames' bodies, each behind the place of its row.
pub fn bodies() -> Vec<Vec<u8>> {
    let body = |frame: Vec<u8>| {
        let header = [Sender::Initiator, Sender::Target]
            .into_iter()
            .find_map(|sender| FrameHeader::read(&frame, sender).ok().flatten())
            .expect("a golden frame");
        let place = |kind: Kind| TABLE.iter().position(|row| row.kind == kind);
        let row = place(header.kind).expect("a row for each message") as u8;
        [&[row], &frame[HEADER_LENGTH..header.length()]].concat()
    };
    frames().into_iter().map(body).collect()
}

/// Lists of extents behind a block's size and a length.
pub fn lists() -> Vec<Vec<u8>> {
    let list = |lengths: &[u64]| {
        let mut bytes = vec![0, 0, 0, 1, 0];
        for (at, length) in lengths.iter().enumerate() {
            bytes.extend(length.to_le_bytes());
            bytes.extend((at as u32 % 4).to_le_bytes());
            bytes.extend([0; 4]);
        }
        bytes
    };
    vec![list(&[65_536]), list(&[4096, 8192, 512, 1 << 40]), list(&[512; 40])]
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = data.len() as u32;
    [b"IHAVEOPT", &number.to_be_bytes()[..], &length.to_be_bytes()[..], data].concat()
}

const NAME: &[u8] = b"\0\0\0\x04disk";
const CONTEXT: &[u8] = b"\0\0\0\x01\0\0\0\x0fbase:allocation";

/// Ways to transmission, in one dialect each.
fn openings() -> Vec<Vec<u8>> {
    let begin = b"\0\0\0\x03".to_vec();
    let go = option(7, &[NAME, b"\0\x01\0\x03"].concat());
    let context = option(10, &[NAME, CONTEXT].concat());
    vec![
        [begin.clone(), option(1, b"disk")].concat(),
        [begin.clone(), option(8, b""), context.clone(), go.clone()].concat(),
        [begin, option(11, b""), context, go].concat(),
    ]
}

/// Openings and other options, behind a portion's length.
pub fn options() -> Vec<Vec<u8>> {
    let mut all = openings();
    let info = option(6, &[NAME, b"\0\x02\0\x01\0\x02"].concat());
    let list = option(9, &[NAME, b"\0\0\0\0"].concat());
    all.push([&b"\0\0\0\x01"[..], &option(3, b""), &info, &list, &option(2, b"")].concat());
    all.push([&b"\0\0\0\x01"[..], &option(5, b""), &option(7, &[0xff; 40])].concat());
    all.into_iter().map(|said| [&[6], &said[..]].concat()).collect()
}

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
    bytes.extend(option.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// What a new server says to a client that wants `disk`.
fn welcome() -> Vec<u8> {
    let export = [&[0, 0][..], &crate::nbd::SIZE.to_be_bytes(), &[0x0f, 0xff]].concat();
    let blocks = [&[0, 3][..], &[0, 0, 2, 0], &[0, 0, 0x10, 0], &[0, 0x10, 0, 0]].concat();
    [
        b"NBDMAGICIHAVEOPT\0\x03".to_vec(),
        option_reply(8, 1, b""),
        option_reply(7, 3, &export),
        option_reply(7, 3, &blocks),
        option_reply(7, 1, b""),
    ]
    .concat()
}

/// Greetings and answers to options, behind a portion's length.
pub fn option_replies() -> Vec<Vec<u8>> {
    let refused = option_reply(7, 0x8000_0006, b"no such export");
    let names = option_reply(3, 2, b"\0\0\0\x04disk");
    let all = [
        welcome(),
        [b"NBDMAGICIHAVEOPT\0\x03".to_vec(), option_reply(8, 0x8000_0001, b""), refused].concat(),
        [b"NBDMAGICIHAVEOPT\0\x03".to_vec(), names, option_reply(3, 1, b"")].concat(),
        [&b"NBDMAGICIHAVEOPT\0\x01"[..], &[0; 8], &[0, 1], &[0; 124]].concat(),
    ];
    all.into_iter().map(|said| [&[3], &said[..]].concat()).collect()
}

fn request(is_extended: bool, flags: u16, command: u16, offset: u64, length: u64) -> Vec<u8> {
    let magic = if is_extended { 0x21e4_1c71u32 } else { 0x2560_9513 };
    let mut bytes = magic.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 9]);
    bytes.extend(offset.to_be_bytes());
    if is_extended {
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.extend((length as u32).to_be_bytes());
    }
    if command == 1 {
        bytes.resize(bytes.len() + length as usize, 7);
    }
    bytes
}

fn requests(is_extended: bool) -> Vec<u8> {
    let one = |flags, command, offset, length| request(is_extended, flags, command, offset, length);
    let write = if is_extended { 32 } else { 0 };
    [
        one(0, 0, 4096, 4096),
        one(write, 1, 512, 512),
        one(0, 3, 0, 0),
        one(0, 4, 0, 4096),
        one(0, 5, 4096, 4096),
        one(2, 6, 0, 8192),
        one(0, 7, 0, 65_536),
        one(0, 2, 0, 0),
    ]
    .concat()
}

/// Single requests, heads of replies and pieces of information, behind a dialect.
pub fn messages() -> Vec<Vec<u8>> {
    let commands = [(0u16, 0u16), (0, 1), (0, 3), (1, 4), (0, 5), (19, 6), (8, 7)];
    let mut all = Vec::new();
    for (flags, command) in commands {
        let length = if command == 3 { 0 } else { 4096 };
        for (dialect, is_extended) in [(0x41u8, false), (0x42, true)] {
            let mut bytes = vec![dialect];
            bytes.extend(&request(is_extended, flags, command, 8192, length)[..28]);
            bytes.extend(&length.to_be_bytes()[4 - if is_extended { 4 } else { 0 }..]);
            all.push(bytes);
        }
    }
    all.push([&[0][..], &0x6744_6698u32.to_be_bytes(), &[0; 12]].concat());
    all.push(
        [&[0][..], &0x668e_33efu32.to_be_bytes(), &[0, 1, 0, 1], &[0; 8], &[0, 0, 2, 8]].concat(),
    );
    all.push([&[0, 0, 0][..], &crate::nbd::SIZE.to_be_bytes(), &[0x0f, 0xff]].concat());
    all
}

/// A client from its first byte to its leave.
pub fn conversations() -> Vec<Vec<u8>> {
    let dialects = [false, false, true];
    openings()
        .into_iter()
        .zip(dialects)
        .map(|(opening, is_extended)| [opening, requests(is_extended)].concat())
        .collect()
}

/// A server's answers to the requests of `face::nbd_use`, whose cookies count from 2³².
pub fn replies() -> Vec<Vec<u8>> {
    let simple = |n: u32, data: &[u8]| {
        let cookie = (1u64 << 32) + u64::from(n);
        [&0x6744_6698u32.to_be_bytes()[..], &[0; 4], &cookie.to_be_bytes(), data].concat()
    };
    let chunk = |n: u32, kind: u16, data: &[u8]| {
        let mut bytes = 0x668e_33efu32.to_be_bytes().to_vec();
        bytes.extend([0, 1]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(((1u64 << 32) + u64::from(n)).to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        bytes
    };
    let data = [&[0; 8][..], &[7; 512]].concat();
    vec![
        [&[0][..], &simple(0, b""), &simple(1, &[7; 512]), &simple(2, b""), &simple(3, b"")]
            .concat(),
        [&[1][..], &welcome(), &chunk(0, 0, b""), &chunk(1, 1, &data), &chunk(2, 0, b"")].concat(),
        [&[1][..], &welcome(), &chunk(0, 0x8001, &[0, 0, 0, 5, 0, 0])].concat(),
    ]
}

/// The kernel's messages to a mounted file, each behind its length.
pub fn kernel() -> Vec<Vec<u8>> {
    let message = |code: u32, body: &[u8]| {
        let length = 40 + body.len();
        let mut bytes = (length as u16).to_le_bytes().to_vec();
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(7u64.to_ne_bytes());
        bytes.extend(1u64.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend(body);
        bytes
    };
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_ne_bytes()).collect() };
    let init = words(&[7, 38, 65_536, 0x4070_0fff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let read = words(&[1, 0, 100, 0, 3000, 0, 0, 0, 0, 0]);
    let write = [words(&[1, 0, 1000, 0, 700, 0, 0, 0, 0, 0]), vec![7; 700]].concat();
    let whole = [words(&[1, 0, 4096, 0, 512, 0, 0, 0, 0o10_000, 0]), vec![7; 512]].concat();
    let punch = words(&[1, 0, 5, 0, 9000, 0, 3, 0]);
    let seek = |whence| words(&[1, 0, 4096, 0, whence, 0]);
    let change =
        words(&[9, 0, 0, 0, 1 << 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0o644, 0, 0, 0, 0]);
    let open = [message(26, &init), message(14, &[0; 8])].concat();
    vec![
        [open.clone(), message(15, &read), message(16, &write), message(20, &[0; 16])].concat(),
        [open.clone(), message(16, &whole), message(43, &punch), message(46, &seek(3))].concat(),
        [open, message(46, &seek(4)), message(4, &change), message(3, &[0; 16])].concat(),
        [message(17, b""), message(18, &[0; 24]), message(2, &[0; 8]), message(38, b"")].concat(),
    ]
}

fn all_of(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Addresses and what else is one line.
pub fn texts() -> Vec<Vec<u8>> {
    all_of(&[
        "nbd://[::1]:99/a%20b",
        "nbd+unix:///x?a=b&socket=/run/n%3F.sock",
        "nbd://host/export#part",
        "lull://host:10820/db",
        "lull+unix:///db?socket=/run/lull/target.sock",
        "unix:/run/lull/target.sock",
        "tcp:127.0.0.1:10820",
        "tcp:[fe80::1]:0",
        "file:/srv/a.img,direct=on,engine=uring,size=1G,read-only",
        "mem:64M",
        "null:1G",
        "faulty:mem:1M,fail=write",
        "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1",
    ])
}

/// Histories with every kind of line.
pub fn histories() -> Vec<Vec<u8>> {
    all_of(&[
        "lull-history 1\npromise retained before 0\n0 begin 1 by 7 write 0 8 40\n310 end 1 done\n\
         350 begin 2 by 7 flush\n920 end 2 done\n1000 lost cache\n1400 begin 3 by 7 read 0 10\n\
         1650 end 3 done 40+8 0*2\n",
        "lull-history 1\npromise flushed before unknown\n0 begin 1 by 7 zero 3 2 durable\n\
         1 end 1 unknown\n2 begin 2 by 8 discard 0 4\n3 end 2 failed\n4 settle 1\n5 lost pages\n\
         6 forsaken 7\n7 begin 9 by 8 read 0 4\n8 end 9 done ~8 7/~/9 ? 3\n",
        "lull-history 1\npromise acknowledged before 5\n0 begin 1 by 1 write 0 2 10 durable\n",
    ])
}

/// The example, and a file with mistakes of its own.
pub fn configurations() -> Vec<Vec<u8>> {
    let example = fs::read(here("../../dist/lull.toml")).expect("the example");
    let mut all = all_of(&[
        "[target]\nlisten = [\"tcp:0.0.0.0:10820\"]\n[[resource]]\nname = \"a\"\nbackend = \"mem:1M\"\n",
        "[[attachment]]\nuri = \"lull://h/b\"\nnbd = \"tcp:127.0.0.1:0\"\non-timeout = \"hook:x\"\n\
         hold = \"1h\"\nretain = \"64M\"\n",
        "[initiator]\nkeep-alive = \"5s\"\nname = \"\u{e4}\"\nnmae = 1\n",
    ]);
    all.push(example);
    all
}

/// What daemons and operators tell each other.
pub fn documents() -> Vec<Vec<u8>> {
    let mut all = all_of(&[
        r#"{"kind":"planned","reason":"x","timeout_ms":30000,"on_pause_timeout":"abort"}"#,
        r#"{"timeout_ms":1}"#,
        r#"{"code":"not_ready","message":"m","next_step":"n"}"#,
        ": hello\n\nid: a:1\ndata: {\"seq\":1}\n\nevent: missed\r\ndata: 7\r\n\r\nevent: caught_up\ndata:\n\n",
    ]);
    let status = lull_admin::Status {
        name: "a".into(),
        target: Some(lull_admin::TargetStatus {
            resources: vec![lull_admin::ResourceStatus::default()],
            initiators: vec![lull_admin::SessionStatus::default()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let record = lull_admin::RestartRecord {
        outcome: Some(lull_admin::Outcome::default()),
        rows: vec![lull_admin::RecordRow::default()],
        ..Default::default()
    };
    all.extend(serde_json::to_vec(&status));
    all.extend(serde_json::to_vec(&record));
    all.extend(serde_json::to_vec(&lull_admin::Event::default()));
    all
}

/// Rows of a target's state.
pub fn rows() -> Vec<Vec<u8>> {
    let mut all = all_of(&[
        r#"{"identity":"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1","marked":true,"device":"sda","incarnation":"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1","tenure":3,"backend":"mem:1M","size":1048576}"#,
        r#"{"attachment":"a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7","node":"web-1","resource":"db","access":1,"instance":"17171717171717171717171717171717","epoch":41,"hold_ms":60000,"dirty":true}"#,
        "1 1 lull 0.1.0",
        "9 2 ",
    ]);
    all.extend(serde_json::to_vec(&lull_admin::RestartRecord::default()));
    all
}

/// Files of an initiator's state.
pub fn states() -> Vec<Vec<u8>> {
    all_of(&[
        r#"{"version":1,"node":"web-1","attachment":"a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7","instance":"17171717171717171717171717171717","noted":["18181818181818181818181818181818"],"epoch":41,"identity":"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1","incarnation":"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1","tenure":3,"log":"c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1"}"#,
        r#"{"version":9,"needs":8,"writer":"lull 9.0.0"}"#,
    ])
}

/// Bytes that a machine's world decides by, the same ones each time.
pub fn plans() -> Vec<Vec<u8>> {
    let plan = |seed: u64| {
        let mut chance = crate::mutate::Chance::new(seed);
        (0..700).map(|_| chance.byte()).collect()
    };
    (1..33).map(plan).collect()
}

/// An announcement, and a document with one of everything in it.
pub fn estates() -> Vec<Vec<u8>> {
    let announced = r#"{"format":1,"release":"0.1.0","attachments":[["db1","rw"]]}"#;
    let document = r#"{"clock":7,"restarts":[{"id":1,"node":"web-1"}],"attachments":[{"name":"db1",
        "id":"a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7",
        "promised":{"size":1048576,"block":512,"preferred":4096,"max_length":1048576,"features":3},
        "sent":[{"slot":0,"ask":{"op":2,"flags":0,"offset":512,"length":8},"since":9}],
        "held":[{"slot":1,"ask":{"op":1,"flags":0,"offset":0,"length":512},"since":10}],
        "whole":true,"since":9,"deadline":600,"expired":false,
        "requests":[
        {"slot":0,"ask":{"op":2,"flags":0,"offset":512,"length":8},"rest":0,"payload":{"at":8,"length":8},
        "owed":{"connection":1,"to":{"cookie":5,"offset":512},"answer":"Plain","held":0}},
        {"slot":1,"ask":{"op":1,"flags":0,"offset":0,"length":512},"rest":0,"payload":null,
        "owed":{"connection":1,"to":{"cookie":6,"offset":0},"answer":{"Data":{"length":512}},"held":0}}],
        "clients":[],"mount":null,"log_lost":{"since":1,"why":"gone"}}]}"#;
    vec![announced.into(), document.into()]
}

/// A described device, a request for it, and an answer with a status behind it.
pub fn devices() -> Vec<Vec<u8>> {
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let mut device = words(&[1 | 128 << 16, 0, 1 << 20, 3, 7, 0, 0xd8, 0, 9, 0]);
    device.resize(64, 0);
    let request = words(&[1 | 1 << 13, 8, 64, 0, 0, 0]);
    // Family 16 answers that it has number 27 and is called `nbd`; then all is well.
    let name = words(&[8 | 2 << 16, u32::from_ne_bytes(*b"nbd\0")]);
    let answer = [words(&[36, 16, 0, 0, 1]), words(&[6 | 1 << 16, 27]), name].concat();
    let status = words(&[20, 2, 0, 0, 0]);
    let failed = words(&[20, 2, 0, 0, i32::MIN as u32]);
    vec![device, request, [answer.clone(), status].concat(), [answer, failed].concat()]
}
