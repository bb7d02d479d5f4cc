//! From configuration to what answers. What is said in the same words as before is the same thing: a reload keeps
//! caches and what is known of servers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::config::{HostsConfig, ServerBlock};
use super::{FileSources, Sources};
use crate::{Block, Forward, HostsTable, Metrics, Name, Resolver, SharedHosts, SharedZone};

/// What outlives a reload.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    resolvers: Vec<(Arc<Resolver>, bool)>,
    hosts: Vec<(HostsConfig, SharedHosts)>,
}

impl Assembly {
    /// The block that a configuration describes, for some of its zones. Must be called on a runtime: files are
    /// looked at, and loops looked for, as long as the block lives.
    pub fn block(
        &mut self,
        before: &Self,
        config: &ServerBlock,
        zones: Vec<Name>,
        clusters: Vec<Arc<SharedZone>>,
        metrics: &Arc<Metrics>,
    ) -> Block {
        let forwards = config
            .forwards
            .iter()
            .map(|forward| {
                let known = |(resolver, loops): &&(Arc<Resolver>, bool)| {
                    *resolver.config() == forward.resolver && *loops == config.loop_detection
                };
                let known = self.resolvers.iter().chain(&before.resolvers).find(known).cloned();
                let (resolver, loops) = known.unwrap_or_else(|| {
                    let resolver = Resolver::new(forward.resolver.clone(), metrics.clone());
                    if config.loop_detection {
                        resolver.watch_loops();
                    }
                    (resolver, config.loop_detection)
                });
                self.resolvers.push((resolver.clone(), loops));
                Forward { from: forward.from.clone(), except: forward.except.clone(), resolver }
            })
            .collect();
        Block {
            zones,
            rewrites: config.rewrites.clone(),
            hosts: config.hosts.as_ref().map(|hosts| self.hosts(hosts)),
            clusters,
            forwards,
            log: config.log.clone(),
            errors: config.errors,
        }
    }

    fn hosts(&mut self, config: &HostsConfig) -> SharedHosts {
        if let Some((_, shared)) = self.hosts.iter().find(|(known, _)| known == config) {
            return shared.clone();
        }
        let shared: SharedHosts = Arc::new(RwLock::new(config.table.clone()));
        if let Some(interval) = config.reload {
            tokio::spawn(follow(config.clone(), Arc::downgrade(&shared), interval));
        }
        self.hosts.push((config.clone(), shared.clone()));
        shared
    }

    /// Answers of others that are held: records, and everything else.
    pub fn cached(&self) -> [usize; 2] {
        let mut seen: Vec<&Arc<Resolver>> = Vec::new();
        for (resolver, _) in &self.resolvers {
            if !seen.iter().any(|other| Arc::ptr_eq(other, resolver)) {
                seen.push(resolver);
            }
        }
        seen.iter().fold([0, 0], |[records, others], resolver| {
            let [more_records, more_others] = resolver.cached();
            [records + more_records, others + more_others]
        })
    }

    /// Names held from hosts files.
    pub fn host_entries(&self) -> usize {
        self.hosts.iter().map(|(_, table)| table.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

/// Reads the file again and again for as long as somebody uses the table.
async fn follow(mut config: HostsConfig, table: std::sync::Weak<RwLock<HostsTable>>, interval: Duration) {
    let sources: &(dyn Sources + Sync) = &FileSources;
    loop {
        tokio::time::sleep(interval).await;
        let Some(table) = table.upgrade() else { return };
        let before = config.table.clone();
        config.refresh(sources);
        if config.table != before {
            tracing::info!(file = %config.file.display(), names = config.table.len(), "hosts changed");
            // Assignment leaves it whole.
            *table.write().unwrap_or_else(PoisonError::into_inner) = config.table.clone();
        }
    }
}
