//! What a driver says of its device: its name, its queues, its offloads (ethtool(8), by ioctl).

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::{mem, ptr};

/// `include/uapi/linux/sockios.h`; not in every libc.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

// `include/uapi/linux/ethtool.h`. Commands are spoken as arrays of 32-bit words, because every field
// of theirs that is used here is one, or a string that begins at one.
const GDRVINFO: u32 = 0x03;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const GCHANNELS: u32 = 0x3c;
const SET_FEATURES: u32 = 4;
const STRING_LEN: usize = 32;
/// More features than any kernel has (64 in 6.18): bounds what is allocated on its word.
const FEATURES_MAX: usize = 1_024;

/// One device's driver, asked through any socket of its network namespace.
#[derive(Debug)]
pub(crate) struct Ethtool<'a, S> {
    pub(crate) socket: &'a S,
    pub(crate) interface: &'a str,
}

/// An offload that the driver or the stack knows by this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) active: bool,
}

impl<S: AsFd> Ethtool<'_, S> {
    /// The driver's name; `None` where the device has no driver that tells.
    pub(crate) fn driver(&self) -> Option<String> {
        let mut command = [0; 49];
        command[0] = GDRVINFO;
        self.run(&mut command).ok()?;
        Some(text(&bytes(&command[1..9]))).filter(|name| !name.is_empty())
    }

    /// How many queues receive; `None` where the driver does not say.
    pub(crate) fn receive_queues(&self) -> Option<u32> {
        let mut command = [0; 9];
        command[0] = GCHANNELS;
        self.run(&mut command).ok()?;
        let [_, _, _, _, _, rx, _, _, combined] = command;
        Some(rx + combined).filter(|count| *count != 0)
    }

    /// All offloads and whether each is on.
    pub(crate) fn features(&self) -> io::Result<Vec<Feature>> {
        let count = self.feature_count()?;
        let mut names = vec![0; 3 + count * STRING_LEN / 4];
        names[..3].copy_from_slice(&[GSTRINGS, SET_FEATURES, count as u32]);
        self.run(&mut names)?;
        let blocks = count.div_ceil(32);
        let mut states = vec![0; 2 + 4 * blocks];
        states[..2].copy_from_slice(&[GFEATURES, blocks as u32]);
        self.run(&mut states)?;
        let names = bytes(&names[3..]);
        let features = names.chunks_exact(STRING_LEN).enumerate().map(|(index, name)| Feature {
            name: text(name),
            // A block is four words: available, requested, active, never changed.
            active: states[2 + index / 32 * 4 + 2] >> (index % 32) & 1 == 1,
        });
        Ok(features.collect())
    }

    fn feature_count(&self) -> io::Result<usize> {
        let mut command = [GSSET_INFO, 0, 0, 0, 0];
        let mask = 1u64 << SET_FEATURES;
        for (word, half) in command[2..4].iter_mut().zip(mask.to_ne_bytes().chunks_exact(4)) {
            *word = u32::from_ne_bytes([half[0], half[1], half[2], half[3]]);
        }
        self.run(&mut command)?;
        let count = command[4] as usize;
        if count > FEATURES_MAX {
            return Err(io::Error::other("the kernel claims more offloads than there can be"));
        }
        Ok(count)
    }

    /// The first word says which command it is; the kernel writes its answer over the rest, never
    /// more than the lengths in the command allow.
    fn run(&self, command: &mut [u32]) -> io::Result<()> {
        // SAFETY: an `ifreq` is integers, bytes and pointers, for all of which zero is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        if self.interface.len() >= request.ifr_name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(self.interface.bytes()) {
            *to = from as c_char;
        }
        request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
        let fd = self.socket.as_fd().as_raw_fd();
        // SAFETY: the request and the command it points to outlive the call, and every command's
        // buffer has the length that the command's own fields announce.
        let done = unsafe { libc::ioctl(fd, SIOCETHTOOL as _, ptr::from_mut(&mut request)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
