//! Named namespaces, judged by `ip netns`; settings inside them.

use std::process::{Command, id};

use netstate::sysctl::{SysctlKey, SysctlPort, apply};
use portolan_kernel::netns::{self, Netns, TemporaryNamespace};
use portolan_kernel::sysctl::Sysctls;

fn ip_netns_list() -> Vec<String> {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_namespace_is_made_entered_listed_and_removed() {
    let before = Netns::current().unwrap().inode().unwrap();
    let name = format!("ptlt-{}-plain", id());
    let made = netns::create(&name).unwrap();
    assert!(netns::create(&name).unwrap_err().is_exists());
    assert_eq!(netns::ensure(&name).unwrap().inode().unwrap(), made.inode().unwrap());
    assert!(ip_netns_list().contains(&name));
    assert_eq!(netns::list(&name).unwrap(), [name.as_str()]);

    let inside = made.run(|| Netns::current().unwrap().inode().unwrap()).unwrap();
    assert_eq!(inside, made.inode().unwrap());
    assert_ne!(inside, before);
    assert_eq!(Netns::current().unwrap().inode().unwrap(), before, "the caller's thread does not move");

    netns::delete(&name).unwrap();
    assert!(!ip_netns_list().contains(&name));
    assert!(netns::open(&name).unwrap_err().is_not_found());
    assert!(netns::delete(&name).unwrap_err().is_not_found());
}

#[test]
fn a_file_without_a_namespace_behind_it_is_replaced() {
    let name = format!("ptlt-{}-stale", id());
    std::fs::create_dir_all(netns::DIRECTORY).unwrap();
    std::fs::write(netns::path_of(&name).unwrap(), "").unwrap();
    let made = netns::ensure(&name).unwrap();
    assert_eq!(made.run(|| Netns::current().unwrap().inode().unwrap()).unwrap(), made.inode().unwrap());
    netns::delete(&name).unwrap();
    // A crash may leave the file of a removal, too.
    std::fs::write(netns::path_of(&name).unwrap(), "").unwrap();
    netns::delete(&name).unwrap();
    assert_eq!(netns::list(&name).unwrap(), Vec::<String>::new());
}

#[test]
fn many_are_made_at_once() {
    let made: Vec<TemporaryNamespace> = std::thread::scope(|scope| {
        let helpers: Vec<_> =
            (0..16).map(|_| scope.spawn(|| TemporaryNamespace::new("many").unwrap())).collect();
        helpers.into_iter().map(|helper| helper.join().unwrap()).collect()
    });
    let listed = ip_netns_list();
    assert!(made.iter().all(|namespace| listed.iter().any(|name| name == namespace.name())));
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    for bad in ["", ".", "..", "a/b", "a b", &"x".repeat(256)] {
        assert!(netns::create(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn settings_are_those_of_the_namespace() {
    let (first, second) = (TemporaryNamespace::new("set").unwrap(), TemporaryNamespace::new("set").unwrap());
    let open = |namespace: &TemporaryNamespace| Sysctls::in_namespace(netns::open(namespace.name()).unwrap());
    let (first, second) = (open(&first), open(&second));
    let key = SysctlKey::new("net.ipv4.ip_forward");
    second.write(&key, "0").unwrap();
    first.write(&key, "0").unwrap();
    assert_eq!(apply(&first, &[(key.clone(), "1")]).unwrap(), 1);
    assert_eq!(apply(&first, &[(key.clone(), "1")]).unwrap(), 0);
    assert_eq!(first.read(&key).unwrap().as_deref(), Some("1"));
    assert_eq!(second.read(&key).unwrap().as_deref(), Some("0"));
    let missing = SysctlKey::ipv4_conf("none", "send_redirects");
    assert_eq!(first.read(&missing).unwrap(), None);
    assert!(
        first.write(&missing, "0").unwrap_err().to_string().contains("net.ipv4.conf.none.send_redirects")
    );
}
