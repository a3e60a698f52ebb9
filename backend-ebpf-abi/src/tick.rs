macro_rules! ticks {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// What the programs count, each CPU for itself.
        ///
        /// Every frame that the ingress program sees adds to `Seen` and to exactly one of those up to and
        /// including `PassOff`, so they add up. A packet that is no frame counts as one.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Tick { $($(#[$doc])* $name),* }

        impl Tick {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name in metrics and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

ticks! {
    /// Frames and other packets that the ingress program saw.
    Seen = "ebpf_seen",
    /// Consumed: an accept frame stored.
    Stored = "ebpf_stored",
    /// Consumed: stored before.
    Duplicate = "ebpf_duplicate",
    /// Consumed: ahead of a missing one.
    Gap = "ebpf_gap",
    /// Consumed: overlaps what is stored.
    Straddle = "ebpf_straddle",
    /// Consumed: a probe answered.
    Probe = "ebpf_probe",
    /// Consumed: an acknowledgement that brought a quorum.
    AckQuorum = "ebpf_ack_quorum",
    /// Consumed: an acknowledgement counted.
    AckCounted = "ebpf_ack_counted",
    /// Consumed: an acknowledgement that says nothing new.
    AckRepeat = "ebpf_ack_repeat",
    /// Passed: other traffic.
    PassBystander = "ebpf_pass_bystander",
    /// Passed: to our port, but not a frame, or not in a plain packet.
    PassMalformed = "ebpf_pass_malformed",
    /// Passed: a group not open here.
    PassGroup = "ebpf_pass_group",
    /// Passed: admission was refused.
    PassRefused = "ebpf_pass_refused",
    /// Passed: the tag is wrong.
    PassTag = "ebpf_pass_tag",
    /// Passed: a verdict that is for user space (stale, not armed, not the leader, lapsed, full; full is
    /// also that this CPU has no ring).
    PassVerdict = "ebpf_pass_verdict",
    /// Passed: an acknowledgement that user space must look at.
    PassAck = "ebpf_pass_ack",
    /// Passed: messages and notices of promises.
    PassMessage = "ebpf_pass_message",
    /// Passed: that offload is switched off.
    PassOff = "ebpf_pass_off",
    /// Frames settled here that went up the stack all the same, in one piece with one that had to: user
    /// space has counted them once more.
    Again = "ebpf_again",
    /// A reply that could not be made after the frame was judged: the frame's sender asks again.
    ReplyFailed = "ebpf_reply_failed",
    /// A notice for which there was no room: the board tells.
    NoticeLost = "ebpf_notice_lost",
    /// Frames of ours that the egress program saw leave.
    Left = "ebpf_left",
    /// Copies made of them.
    Copies = "ebpf_copies",
    /// Copies that the kernel refused.
    CopyFailed = "ebpf_copy_failed",
}
