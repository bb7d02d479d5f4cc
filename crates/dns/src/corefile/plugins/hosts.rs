use std::path::Path;
use std::time::Duration;

use super::super::Sources;
use super::super::config::HostsConfig;
use super::super::error::CorefileError;
use super::super::reader::{Arguments, duration, name, number, zones};
use super::super::tree::Directive;
use crate::{HostsTable, Name};

/// CoreDNS's defaults.
const FILE: &str = "/etc/hosts";
const RELOAD: Duration = Duration::from_secs(5);

pub(super) fn config(
    directive: &Directive,
    block: &[Name],
    sources: &dyn Sources,
) -> Result<HostsConfig, CorefileError> {
    let mut arguments = Arguments::new(&directive.name, &directive.arguments);
    let file = arguments.next().map_or(FILE, |token| &token.text);
    let file = arguments.place().file.parent().unwrap_or(Path::new(".")).join(file);
    let mut table = HostsTable::default();
    for token in arguments.rest() {
        table.zones.extend(zones(token)?);
    }
    if table.zones.is_empty() {
        table.zones = block.to_vec();
    }
    let mut inline = String::new();
    let mut reload = Some(RELOAD);
    for line in &directive.body {
        let Some((word, mut arguments)) = Arguments::of_line(line) else { continue };
        match word.text.as_str() {
            "ttl" => table.ttl = number(arguments.required("a number of seconds")?, 1, 65_535)?,
            "no_reverse" => table.reverse = false,
            "reload" => {
                reload = Some(duration(arguments.required("a time")?)?).filter(|time| !time.is_zero());
            }
            "fallthrough" => {
                let given = arguments.rest();
                let zones = given.iter().map(name).collect::<Result<Vec<_>, _>>()?;
                table.fallthrough = if zones.is_empty() { vec![Name::root()] } else { zones };
            }
            text if text.parse::<std::net::IpAddr>().is_ok() => {
                inline.push_str(text);
                for token in arguments.some("a name for the address")? {
                    name(token)?;
                    inline.push(' ');
                    inline.push_str(&token.text);
                }
                inline.push('\n');
            }
            _ => return Err(arguments.unknown("hosts")),
        }
        arguments.end()?;
    }
    let mut config = HostsConfig { file, inline, table, reload };
    config.refresh(sources);
    Ok(config)
}

impl HostsConfig {
    /// Reads the file anew. One that is gone leaves the lines of the Corefile.
    pub fn refresh(&mut self, sources: &dyn Sources) {
        let file = sources.read(&self.file).unwrap_or_default();
        self.table.replace(&[&self.inline, &file]);
    }
}
