//! `roadstead-bench`: the load generator.

fn main() {}
