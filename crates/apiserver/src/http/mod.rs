//! The HTTP front: sockets, TLS, and how requests and answers look on the wire.

mod answer;
mod body;
mod patience;
mod query;
mod server;
mod slots;

pub use answer::{Answer, BoxError, json, json_bytes, json_stream, status_answer};
pub use body::read_body;
pub use query::{Query, decode};
pub use server::{ConnectionSlots, Listening, Peer, accept, server_tls};
pub use slots::{Slot, Slots};
