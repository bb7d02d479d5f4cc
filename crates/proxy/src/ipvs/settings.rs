//! Kernel settings that IPVS needs to serve a cluster.

use netstate::sysctl::{SysctlError, SysctlKey, SysctlPort};

/// Makes the settings. Returns how many were changed. One that the kernel does not have is left out, but for those
/// without which nothing works.
pub(super) fn apply(port: &dyn SysctlPort, strict_arp: bool) -> Result<usize, SysctlError> {
    let mut written = 0;
    for (name, value) in wanted(&release(port)?, strict_arp) {
        let key = SysctlKey::new(name);
        match port.read(&key)?.as_deref() {
            Some(found) if found != value => {
                port.write(&key, value)?;
                written += 1;
            }
            Some(_) | None => {}
        }
    }
    Ok(written)
}

/// `major.minor` of the kernel; 0.0 when it does not tell.
fn release(port: &dyn SysctlPort) -> Result<(u32, u32), SysctlError> {
    let text = port.read(&SysctlKey::new("kernel.osrelease"))?.unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    Ok((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)))
}

fn wanted(release: &(u32, u32), strict_arp: bool) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        ("net.ipv4.ip_forward", "1"),
        // Connections of IPVS are tracked, so that iptables can masquerade them.
        ("net.ipv4.vs.conntrack", "1"),
        // A connection whose destination has gone is given up, not left to its client's patience.
        ("net.ipv4.vs.expire_nodest_conn", "1"),
        // Whoever is remembered with a destination that drains is led to another.
        ("net.ipv4.vs.expire_quiescent_template", "1"),
    ];
    // Before 5.9 the kernel lets the first packet of a connection wait for a second when its client uses a port again
    // soon (kubernetes issue 93297).
    if *release < (5, 9) {
        settings.push(("net.ipv4.vs.conn_reuse_mode", "0"));
    }
    if strict_arp {
        settings.extend([("net.ipv4.conf.all.arp_ignore", "1"), ("net.ipv4.conf.all.arp_announce", "2")]);
    }
    settings
}

#[cfg(test)]
mod tests {
    use netstate::sysctl::FakeSysctls;

    use super::*;

    fn kernel(release: &str) -> FakeSysctls {
        let fake = FakeSysctls::default();
        let names = wanted(&(0, 0), true);
        names.iter().for_each(|(name, _)| fake.write(&SysctlKey::new(*name), "x").unwrap());
        fake.write(&SysctlKey::new("kernel.osrelease"), release).unwrap();
        fake
    }

    fn value(fake: &FakeSysctls, name: &str) -> String {
        fake.values()[&SysctlKey::new(name)].clone()
    }

    #[test]
    fn settings_are_made_once_and_for_the_kernel_at_hand() {
        let old = kernel("5.4.0-91-generic");
        assert_eq!(apply(&old, false).unwrap(), 5);
        assert_eq!(apply(&old, false).unwrap(), 0);
        assert_eq!(value(&old, "net.ipv4.vs.conn_reuse_mode"), "0");
        assert_eq!(value(&old, "net.ipv4.conf.all.arp_ignore"), "x");
        let new = kernel("6.1.176");
        assert_eq!(apply(&new, true).unwrap(), 6);
        assert_eq!(value(&new, "net.ipv4.vs.conn_reuse_mode"), "x");
        assert_eq!(value(&new, "net.ipv4.conf.all.arp_announce"), "2");
    }

    #[test]
    fn a_setting_that_the_kernel_does_not_have_is_left_out() {
        let fake = FakeSysctls::default();
        assert_eq!(apply(&fake, true).unwrap(), 0);
        assert!(fake.values().is_empty());
    }
}
