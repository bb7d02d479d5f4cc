//! Entries of managedFields, and an apply onto them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apiserver::fuzzing::managed_fields(bytes));
