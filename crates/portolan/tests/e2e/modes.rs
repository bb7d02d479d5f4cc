//! Without a proxy a Service is only a name for something that nobody does: the question of the AWS article.

use crate::harness::{Lab, eventually};

#[test]
fn a_node_without_proxy_reaches_pods_but_no_service() {
    let lab = Lab::up(&["--proxy-mode", "node3=none"]);
    lab.apply_example("httpd.yaml");
    lab.apply_example("httpd-svc.yaml");
    lab.wait_available("httpd");
    let service = "http://10.96.203.6:8080/";
    eventually("the cluster IP answers where a proxy runs", || lab.curl("node1", service));
    lab.curl("node3", service).expect_err("no proxy runs on node3");
    lab.curl("control-plane", service).expect_err("no proxy runs beside the API server");
    for pod in lab.pods("run=httpd") {
        for place in ["node1", "node3", "control-plane"] {
            lab.curl(place, &format!("http://{}/", pod.address))
                .expect("a pod address is routed, no proxy needed");
        }
    }
}
