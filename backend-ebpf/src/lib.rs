//! The Electrode transport contract with its fast path in the kernel.
