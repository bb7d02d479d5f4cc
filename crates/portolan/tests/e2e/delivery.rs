//! Under load, pods come and go, and no request is lost that a ready pod could have served.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Lab, SetOnDrop, eventually};

/// Pods deleted one after another while clients ask.
const DELETIONS: usize = 10;

#[test]
fn deleting_pods_loses_no_request() {
    let lab = Lab::up(&[]);
    lab.apply_example("myhttpd.yaml");
    lab.wait_available("myhttpd");
    let address = lab.kubectl(&["get", "service", "myhttpd-svc", "-o", "jsonpath={.spec.clusterIP}"]);
    let inside = format!("http://{address}:8080/");
    eventually("the cluster IP answers", || lab.curl("node1", &inside));
    eventually("the node port answers", || lab.curl("outside", "http://10.100.0.3:30000/"));

    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (lab, done, answered) = (&lab, &done, &answered);
        let _end = SetOnDrop(done);
        let clients =
            [("node1", inside.as_str()), ("outside", "http://10.100.0.3:30000/")].map(|(place, url)| {
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        lab.curl(place, url)
                            .unwrap_or_else(|error| panic!("a request from {place} was lost: {error}"));
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
        for _ in 0..DELETIONS {
            let pods = lab.pods("run=myhttpd");
            lab.kubectl(&["delete", "pod", &pods[0].name]);
            lab.wait_available("myhttpd");
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let answered = answered.into_inner();
    assert!(answered > 10 * DELETIONS, "too few requests to mean anything: {answered}");
}
