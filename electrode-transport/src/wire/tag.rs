//! SipHash-2-4 (Aumasson and Bernstein, 2012) over a frame, a word at a time.
//!
//! Our own because the kernel program must run the very same code over packet memory, where a
//! general hasher's buffering does not get past the verifier; a test holds it against `siphasher`.

use super::HEADER_LEN;
use core::fmt;

/// A shared 128-bit key. It authenticates frames among the members that hold it; it hides nothing
/// and does not stop a recorded frame from being replayed (ballots and slots make that harmless).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A SipHash-2-4 in progress. Feed it whole little-endian words, then [`finish`](Self::finish).
#[derive(Clone, Copy, Debug)]
pub struct Tagger {
    v: [u64; 4],
}

impl Tagger {
    /// Starts a hash under `key`.
    #[inline(always)]
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let mut words = [0u64; 2];
        let (low, high) = key.0.split_at(8);
        for (word, half) in words.iter_mut().zip([low, high]) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(half);
            *word = u64::from_le_bytes(bytes);
        }
        let [k0, k1] = words;
        Self {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut v0, mut v1, mut v2, mut v3] = self.v;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        self.v = [v0, v1, v2, v3];
    }

    /// Mixes in the next eight bytes.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        self.v[3] ^= word;
        self.round();
        self.round();
        self.v[0] ^= word;
    }

    /// Ends the hash with the up to seven bytes left over, zero-padded in `rest`, and the length.
    #[inline(always)]
    #[must_use]
    pub fn finish(mut self, rest: u64, total_len: usize) -> u64 {
        self.word((total_len as u64) << 56 | rest & 0x00ff_ffff_ffff_ffff);
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            self.round();
        }
        self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]
    }
}

/// The tag of a frame, whatever its tag field holds now: the header is hashed with that field zero.
#[must_use]
pub fn tag_frame(key: &Key, head: &[u8; HEADER_LEN], body: &[u8]) -> u64 {
    let mut tagger = Tagger::new(key);
    for (index, chunk) in head.chunks_exact(8).enumerate() {
        let mut word = [0; 8];
        if index != HEADER_LEN / 8 - 1 {
            word.copy_from_slice(chunk);
        }
        tagger.word(u64::from_le_bytes(word));
    }
    let mut chunks = body.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        tagger.word(u64::from_le_bytes(word));
    }
    let mut rest = [0; 8];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    tagger.finish(u64::from_le_bytes(rest), HEADER_LEN + body.len())
}

#[cfg(all(test, feature = "std"))]
#[path = "tag_tests.rs"]
mod tests;
