//! Endpoints that somebody wrote by hand → EndpointSlices, which are all that proxies and the cluster's DNS read
//! (`pkg/controller/endpointslicemirroring`). The Services in question have no selector; those with one are
//! [`crate::endpoints`]'.

mod driver;
mod plan;

pub(crate) use driver::run;
