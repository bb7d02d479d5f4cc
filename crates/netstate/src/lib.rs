//! netstate
pub mod conntrack;
pub mod nft;
