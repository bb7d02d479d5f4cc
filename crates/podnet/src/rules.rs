//! The node's nftables, brought in line and kept so.

use netstate::conntrack::ConntrackPort;
use netstate::nft::{self, NftPort, Ruleset};
use netstate::sysctl::{self, SysctlPort};

use crate::PodnetError;
use crate::host_ports::{self, Published};
use crate::plan::{self, Config};

/// What the pod network has in nftables, and how it is written.
pub(crate) struct Rules {
    config: Config,
    nft: Box<dyn NftPort + Send>,
    conntrack: Box<dyn ConntrackPort + Send>,
    published: Published,
    /// How often anybody had committed when our tables were last known to be right.
    generation: Option<u32>,
    /// The kernel has no nftables, which was said.
    is_unsupported: bool,
}

impl Rules {
    pub(crate) fn new(
        config: Config,
        nft: Box<dyn NftPort + Send>,
        conntrack: Box<dyn ConntrackPort + Send>,
    ) -> Self {
        Self { config, nft, conntrack, published: Published::new(), generation: None, is_unsupported: false }
    }

    /// Sees to the masquerade; how many changes that took. Host ports stay as they are.
    ///
    /// A kernel without nftables still has a pod network, from which nothing outside the cluster can be reached.
    pub(crate) fn set_up(&mut self) -> Result<usize, PodnetError> {
        match self.write(&plan::masquerade(&self.config)) {
            Err(PodnetError::Nft(error)) if error.is_unsupported() => {
                if !std::mem::replace(&mut self.is_unsupported, true) {
                    tracing::warn!(%error, "no nftables here: pods keep their addresses when they leave the cluster");
                }
                Ok(0)
            }
            written => written,
        }
    }

    pub(crate) fn published(&self) -> &Published {
        &self.published
    }

    /// Makes these the host ports.
    pub(crate) fn publish(
        &mut self,
        published: Published,
        settings: &dyn SysctlPort,
    ) -> Result<(), PodnetError> {
        let before = std::mem::replace(&mut self.published, published);
        let changes = self.write_host_ports()?;
        if !self.published.is_empty() {
            sysctl::apply(settings, &host_ports::settings())?;
        }
        // Agents that come back find all as it is, and every connection with it.
        let stale = host_ports::stale(&before, &self.published);
        if changes > 0 && !stale.is_empty() {
            self.conntrack.delete(&stale)?;
        }
        Ok(())
    }

    /// Looks whether somebody else has changed our tables, and mends them; how many changes that took. Costs one
    /// question while nobody commits anything in this network namespace.
    pub(crate) fn mend(&mut self) -> Result<usize, PodnetError> {
        let generation = self.nft.generation()?;
        if self.generation == Some(generation) {
            return Ok(0);
        }
        let changes = self.set_up()? + self.write_host_ports()?;
        // Our own commit counts too: then the next look is thorough once more.
        self.generation = Some(generation);
        Ok(changes)
    }

    fn write_host_ports(&mut self) -> Result<usize, PodnetError> {
        if self.published.is_empty() && self.nft.observe(&host_ports::TABLE)?.is_none() {
            return Ok(0);
        }
        self.write(&host_ports::ruleset(&self.config, &self.published))
    }

    fn write(&mut self, wanted: &Ruleset) -> Result<usize, PodnetError> {
        let transaction = nft::diff(self.nft.observe(&wanted.table)?.as_ref(), wanted);
        if !transaction.is_empty() {
            self.nft.commit(&transaction)?;
        }
        Ok(transaction.weight())
    }
}
