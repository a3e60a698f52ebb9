//! The key-value service.

fn main() {}
