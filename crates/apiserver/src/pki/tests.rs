use std::os::unix::fs::PermissionsExt;

use super::*;

fn open(directory: &Path) -> Pki {
    Pki::open(directory).unwrap()
}

#[test]
fn a_second_start_uses_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let names = [ServerName::Dns("localhost".to_owned()), ServerName::Address([127, 0, 0, 1].into())];
    let first = open(folder.path());
    let (server, admin) =
        (first.api_server(&names).unwrap(), first.client("admin", "admin", "system:masters").unwrap());
    let second = open(folder.path());
    assert_eq!(first.authority(), second.authority());
    assert_eq!(second.api_server(&names[..1]).unwrap(), server);
    assert_eq!(second.client("admin", "admin", "system:masters").unwrap(), admin);
    let mode = std::fs::metadata(folder.path().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_certificate_that_no_longer_fits_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let pki = open(folder.path());
    let narrow = pki.api_server(&[ServerName::Dns("localhost".to_owned())]).unwrap();
    let wide = pki.api_server(&[ServerName::Address([10, 96, 0, 1].into())]).unwrap();
    assert_ne!(narrow, wide);
    let other_authority = tempfile::tempdir().unwrap();
    let other = open(other_authority.path());
    std::fs::copy(other.directory().join("ca.crt"), folder.path().join("ca.crt")).unwrap();
    std::fs::copy(other.directory().join("ca.key"), folder.path().join("ca.key")).unwrap();
    let replaced = open(folder.path()).api_server(&[ServerName::Address([10, 96, 0, 1].into())]).unwrap();
    assert_ne!(replaced, wide, "it was signed by an authority that is no more");
}

#[test]
fn a_damaged_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    std::fs::write(folder.path().join("ca.key"), "nonsense").unwrap();
    let error = Pki::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("remove the folder"), "{error}");
}

#[test]
fn the_kubeconfig_is_read_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let pki = open(folder.path());
    let credentials = pki.client("admin", "admin", "system:masters").unwrap();
    let config = Kubeconfig {
        cluster: "lab",
        user: "admin",
        server: "https://127.0.0.1:6443",
        authority: pki.authority(),
        credentials: &credentials,
    };
    let read = kube::config::Kubeconfig::from_yaml(&config.to_yaml()).unwrap();
    assert_eq!(read.current_context.as_deref(), Some("lab"));
    assert_eq!(read.clusters[0].cluster.as_ref().unwrap().server.as_deref(), Some("https://127.0.0.1:6443"));
}
