//! Fuzz target: a client that has never seen a key shakes hands with nobody, and breaks nothing.

#![no_main]

#[path = "../terms.rs"]
mod terms;

libfuzzer_sys::fuzz_target!(|data: &[u8]| roadstead::tls::fuzz_handshake(&terms::TERMS, data));
