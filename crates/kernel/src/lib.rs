//! kernel
pub mod link;
pub mod netns;
pub mod process;
pub mod sysctl;
pub mod conntrack;
pub mod nft;

mod nfnetlink;
