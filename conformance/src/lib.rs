//! The conformance suite of the Electrode transport contract: any backend, one line to run it.
