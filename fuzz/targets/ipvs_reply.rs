//! The kernel's lists of IPVS services and destinations.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kernel::fuzzing::ipvs_reply(bytes));
