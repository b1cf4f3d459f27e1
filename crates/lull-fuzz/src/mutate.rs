//! Changes to seeds, the same ones for the same number: what libFuzzer does without knowing what is covered.

/// Chance that a number repeats (xorshift64*).
pub struct Chance(u64);

/// Numbers at whose edges lengths and counts go wrong.
const EDGES: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// No input grows longer by mutation.
const LONGEST: usize = 4096;

impl Chance {
    /// That of this number.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

/// An input made of the seeds.
pub fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds.get(chance.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.below(6) {
        change(&mut bytes, seeds, chance);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let length = chance.below(17).min(bytes.len() - at);
    match chance.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        1 if at < bytes.len() => bytes[at] = chance.next() as u8,
        2 => drop(bytes.drain(at..at + length)),
        3 => {
            let more: Vec<u8> = (0..chance.below(17)).map(|_| chance.next() as u8).collect();
            bytes.splice(at..at, more);
        }
        4 => bytes.truncate(at),
        5 => {
            let edge = EDGES[chance.below(EDGES.len())];
            let edge = if chance.below(2) == 0 { edge.to_le_bytes() } else { edge.to_be_bytes() };
            let width = 1 << chance.below(4);
            let part = if edge[0] == 0 { &edge[8 - width..] } else { &edge[..width] };
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, part.iter().copied());
        }
        6 => {
            let again = bytes[at..at + length].to_vec();
            let to = chance.below(bytes.len() + 1);
            bytes.splice(to..to, again);
        }
        7 => {
            let other = seeds.get(chance.below(seeds.len())).map_or(&[][..], Vec::as_slice);
            let from = chance.below(other.len() + 1);
            let end = (from + chance.below(200)).min(other.len());
            bytes.splice(at..at, other[from..end].iter().copied());
        }
        // Digits, signs and separators, for what is text.
        _ => {
            let sign = b"0123456789-+*/.:,?#%=&\"[]{} \n"[chance.below(29)];
            bytes.insert(at, sign);
        }
    }
}
