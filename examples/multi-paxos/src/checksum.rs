//! A 64-bit checksum over words (the multiply and rotate of FxHash, finished as in SplitMix64). Finds
//! damage and divergence; it does not stop a forger: frames have tags for that.

const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

/// The checksum of `bytes`, chained onto `seed`.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let mut sum = seed ^ (bytes.len() as u64).wrapping_mul(FACTOR);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(FACTOR);
    }
    sum ^= sum >> 30;
    sum = sum.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    sum ^ (sum >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let bytes = [7; 40];
        let sum = checksum(1, &bytes);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(1, &other), sum);
        }
        assert_ne!(checksum(1, &bytes[..39]), sum);
        assert_ne!(checksum(2, &bytes), sum);
    }
}
