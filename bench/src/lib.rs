//! The benchmarks: rules, codec, and propose-to-quorum beside the raw C floor.
