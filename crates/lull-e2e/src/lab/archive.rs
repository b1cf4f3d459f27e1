//! An initial RAM disk as the kernel unpacks it: an archive in the format "newc".

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// A file at a path without a leading slash; everybody may run it. Folders on the way come by themselves.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.folders_of(path);
        self.entry(path, PROGRAM, content);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.folders_of(path);
        self.entry(path, LINK, to.as_bytes());
    }

    /// An empty folder.
    pub(super) fn folder(&mut self, path: &str) {
        self.folders_of(&format!("{path}/entry"));
    }

    /// The bytes, complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn folders_of(&mut self, path: &str) {
        let parents: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for folder in parents.into_iter().rev() {
            let folder = folder.to_str().expect("a path of ours");
            if !folder.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(folder, DIRECTORY, &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("a file below 4 GiB");
        let name_length = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, mtime, length, four device numbers, name's length, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0]
            .map(|field| format!("{field:08X}"));
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.concat().bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_its_folders_first_and_once() {
        let mut archive = Archive::default();
        archive.file("a/b/one", b"1");
        archive.file("a/b/two", b"22");
        archive.link("a/c", "b/one");
        archive.folder("d");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).expect("text only");
        let names = ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "a/c\0", "d\0", "TRAILER!!!\0"];
        let heads: Vec<_> = text.split("070701").skip(1).collect();
        assert_eq!(heads.len(), names.len());
        for (head, name) in heads.iter().zip(names) {
            assert!(head[104..].starts_with(name), "{head:?} is not {name:?}");
        }
    }
}
