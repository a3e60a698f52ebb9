//! Any bytes are a frame or a typed error; a frame, written again, is the same bytes.
#![no_main]

use electrode_transport::wire::{HEADER_LEN, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let decoded = Header::decode(bytes);
    let head = bytes.first_chunk::<HEADER_LEN>().map(Header::decode_head);
    let Ok((header, body)) = decoded else {
        return;
    };
    assert_eq!(head, Some(Ok(header)), "the header alone reads as it does in the frame");
    assert_eq!(body.len(), usize::from(header.body_len));
    let mut again = [0xff; HEADER_LEN];
    header.encode(&mut again);
    assert_eq!([&again, body].concat(), bytes);
});
