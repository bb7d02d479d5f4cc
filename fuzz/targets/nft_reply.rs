//! The kernel's lists of nftables' objects.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kernel::fuzzing::nft_reply(bytes));
