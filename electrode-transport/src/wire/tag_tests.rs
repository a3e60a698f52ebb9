//! The tag against the paper's vector and against another implementation.

use std::hash::Hasher;

use proptest::prelude::*;
use siphasher::sip::SipHasher24;

use super::*;

fn reference(key: &Key, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&key.0);
    hasher.write(bytes);
    hasher.finish()
}

/// SipHash paper, appendix A: key 00..0f, input 00..0e.
#[test]
fn the_papers_vector() {
    let key = Key(core::array::from_fn(|index| index as u8));
    let mut tagger = Tagger::new(&key);
    tagger.word(0x0706_0504_0302_0100);
    assert_eq!(tagger.finish(0x000e_0d0c_0b0a_0908, 15), 0xa129_ca61_49be_45e5);
}

#[test]
fn a_key_never_shows_itself() {
    assert_eq!(format!("{:?}", Key([0xab; 16])), "Key(..)");
}

proptest! {
    #[test]
    fn agrees_with_siphasher(
        key: [u8; 16],
        head in proptest::collection::vec(any::<u8>(), HEADER_LEN),
        body in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let key = Key(key);
        let mut head: [u8; HEADER_LEN] = head.try_into().unwrap();
        let tag = tag_frame(&key, &head, &body);
        head[HEADER_LEN - 8..].fill(0);
        prop_assert_eq!(tag, reference(&key, &[&head[..], &body].concat()));
    }

    #[test]
    fn any_flipped_bit_changes_it(
        key: [u8; 16],
        body in proptest::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let key = Key(key);
        let mut frame = [&[7; HEADER_LEN][..], &body].concat();
        let tag = |frame: &[u8]| {
            let (head, body) = frame.split_first_chunk().unwrap();
            tag_frame(&key, head, body)
        };
        let before = tag(&frame);
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        let in_tag = (HEADER_LEN - 8..HEADER_LEN).contains(&at);
        prop_assert_eq!(tag(&frame) == before, in_tag, "only the tag itself is left out");
    }
}
