//! The kernel's list of connections.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kernel::fuzzing::conntrack_reply(bytes));
