/// Charged for each record beside its body, as the log of every backend does.
pub const RECORD_CHARGE: u64 = 48;

/// The largest record, head and body: a jumbo frame's.
pub const RECORD_LEN_MAX: u32 = 9_024;

/// The longest body that a record holds.
pub const BODY_LEN_MAX: u32 = RECORD_LEN_MAX - size_of::<Record>() as u32;

/// The head of a record in a log ring. The body follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Record {
    /// The record's number in its group, from 1: user space merges the CPUs' rings by it.
    pub sequence: u64,
    /// At which ballot it was stored.
    pub ballot: u64,
    /// Its first slot.
    pub first: u64,
    /// Its last slot.
    pub last: u64,
    /// The place of its group in the maps.
    pub place: u32,
    /// Bytes of body.
    pub len: u32,
}

/// A record of the notice ring: something has come about in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Notice {
    /// The place of the group in the maps.
    pub place: u32,
    /// Bits of [`news`].
    pub news: u32,
}

/// What a notice tells of.
pub mod news {
    /// The quorum's watermark rose.
    pub const QUORUM: u32 = 1;
    /// A probe has its quorum.
    pub const PROBE: u32 = 2;
    /// The follower's commit slot rose without a new entry.
    pub const COMMIT: u32 = 4;
}

const _: () = assert!(size_of::<Record>() == 40 && size_of::<Notice>() == 8);
