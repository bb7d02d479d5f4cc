//! Corefiles.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dns::fuzzing::corefile(bytes));
