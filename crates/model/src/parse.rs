/// What is wrong with one field of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not a transport port.
    #[error("{0} is not a port between 1 and 65535")]
    Port(String),
    /// Not a transport protocol that Services know.
    #[error("{0:?} is not TCP, UDP or SCTP")]
    Protocol(String),
    /// Not an IP address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// Not a prefix such as 10.244.1.0/24.
    #[error("{0:?} is not an address prefix such as 10.244.1.0/24")]
    Prefix(String),
    /// An address of the other family than the object says.
    #[error("{address:?} is not of the object's address type {expected}")]
    Family {
        /// The address as written.
        address: String,
        /// What the object says its addresses are.
        expected: String,
    },
    /// An address at which no endpoint can be reached from another machine.
    #[error(
        "{0} is a loopback, link-local, multicast or unspecified address, where no other machine reaches anybody"
    )]
    Unreachable(String),
    /// A duration that cannot be.
    #[error("{0} is not a number of seconds between 1 and 86400")]
    Seconds(i64),
    /// A word the field does not know.
    #[error("{0:?} is not known here")]
    Unknown(String),
    /// The field must be there.
    #[error("it is missing")]
    Missing,
}

/// One part of an object that was skipped, and why.
///
/// The rest of the object works on: one bad port or address never blocks the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ParseError {
    /// Path of the field inside the object, such as `spec.ports[1].nodePort`.
    pub field: String,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// A parsed value beside the parts of its source that had to be skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What could be understood.
    pub value: T,
    /// What could not, in the order of the fields.
    pub errors: Vec<ParseError>,
}
