//! What iptables-save prints.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kernel::fuzzing::iptables_save(bytes));
