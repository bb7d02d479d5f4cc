//! The cluster as portolan sees it: Services, their endpoints and nodes, parsed once and kept in order.
//!
//! Pure: no clock, no file, no socket. Objects come in through [`Index::apply`] and [`Index::delete`];
//! a [`Snapshot`] goes out, but only once every kind has been listed in full; and
//! [`serving_endpoints`] decides, once for every dataplane, which endpoints serve a service port.
//!
//! ```text
//! Object ──apply/delete──► Index ──► Changes (which services to look at again)
//!                            └─────► Snapshot ──► serving_endpoints(port, slices, place)
//! ```

mod endpoint_slice;
mod index;
mod names;
mod node;
mod parse;
mod port;
mod service;
mod serving;

pub use endpoint_slice::{Endpoint, EndpointAddress, EndpointSlice, Hints, SlicePort};
pub use index::{Changes, Index, Kind, Object, ObjectKey, Snapshot};
pub use names::{NodeName, ServiceKey, ServicePortName, SliceKey};
pub use node::Node;
pub use parse::{ParseError, Parsed, Problem};
pub use port::{AddressFamily, Port, Protocol};
pub use service::{LoadBalancer, Service, ServiceKind, ServicePort, SessionAffinity, TrafficPolicy};
pub use serving::{Place, Serving, serving_endpoints};
