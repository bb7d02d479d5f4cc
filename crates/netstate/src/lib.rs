//! netstate
pub mod conntrack;
pub mod nft;
pub mod link;
pub mod namespace;
pub mod route;
pub mod sysctl;
