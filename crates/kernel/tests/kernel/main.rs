//! The crate against the real kernel, in network namespaces of its own. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conntrack;
mod ipset;
mod iptables;
mod ipvs;
mod isolation;
mod link;
mod netns;
mod nft;
mod nft_commit;
mod nft_events;
mod nft_traffic;
mod process;
