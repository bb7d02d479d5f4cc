//! The kernel's lists of ipsets.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kernel::fuzzing::ipset_reply(bytes));
