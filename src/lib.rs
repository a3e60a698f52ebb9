//! Electrode.
