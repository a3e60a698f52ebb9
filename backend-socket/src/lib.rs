//! The Electrode transport contract over UDP sockets: any system, no privileges.
