//! iptables mode: chains of everybody's tables, named and filled as kube-proxy's.
//!
//! ```text
//! nat     PREROUTING, OUTPUT ─► KUBE-SERVICES ─ virtual address ─────────► KUBE-SVC ─ by chance ─► KUBE-SEP ─► endpoint
//!                                 │   ├─ external address ─► KUBE-EXT ─┬─►  │
//!                                 │   └─ load balancer ─► KUBE-FW ─►   └─► KUBE-SVL: this node's endpoints
//!                                 └─ own address ─► KUBE-NODEPORTS ─► KUBE-EXT
//!         POSTROUTING ─► KUBE-POSTROUTING                     masquerades what KUBE-MARK-MASQ has marked
//! filter  KUBE-SERVICES, KUBE-EXTERNAL-SERVICES, KUBE-PROXY-FIREWALL       refuse and drop
//!         KUBE-FORWARD                                                     let connections of services pass
//! ```
//!
//! A change writes the chains of its services anew, and puts single rules into the long chains or takes them out: the
//! input of `iptables-restore` has a few hundred bytes, whatever the number of services. What the kernel and
//! iptables make of it is another matter: the legacy variant reads and writes the whole table each time.
//!
//! Chains are known as ours by their names, which are kube-proxy's, so that it can be replaced and replace us. An empty
//! chain of our own name says that they are ours: `cleanup` leaves a kube-proxy's alone.

mod driver;
#[cfg(test)]
mod laws;
mod names;
mod plan;
mod skeleton;
#[cfg(test)]
mod tests;
mod view;

pub use driver::IptablesProxy;
