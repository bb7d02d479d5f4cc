//! The crate against the real kernel, in network namespaces of its own. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod isolation;
mod conntrack;
mod nft;
mod nft_commit;
mod nft_traffic;
mod link;
mod netns;
mod process;
