//! Corefiles: the configuration of CoreDNS, as far as we do the same thing. What is not understood is refused with
//! file, line and reason; nothing is silently left out.
//!
//! ```text
//! text ─lexer─► tokens ─tree─► blocks of directives ─plugins─► Corefile
//!                 └─ imports, snippets, variables: Sources
//! ```
//!
//! Pure but for what [`Sources`] reads.

mod assemble;
mod config;
mod error;
mod lexer;
mod plugins;
mod reader;
mod sources;
mod tree;

pub use assemble::Assembly;
pub use config::{
    Corefile, ForwardConfig, Health, HostsConfig, KubernetesConfig, LogClass, QueryLog, ServerBlock,
    ServerZone,
};
pub use error::CorefileError;
pub use sources::{FileSources, Sources};

use std::path::Path;

impl Corefile {
    /// Reads a Corefile with everything that it imports or names: snippets, other files, hosts files, `resolv.conf`.
    ///
    /// # Errors
    /// [`CorefileError`] for the first thing that cannot be read or understood.
    pub fn load(path: &Path, sources: &dyn Sources) -> Result<Self, CorefileError> {
        let blocks = tree::read(path, sources)?;
        plugins::corefile(path, blocks, sources)
    }
}

#[cfg(test)]
mod tests;
