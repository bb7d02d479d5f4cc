//! One rtnetlink socket: a request and its acknowledgement, or a dump.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// What one `recvmsg` may bring: the kernel fills at most 32 kB when a dump is read with a buffer that large.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// A dump during which something changed is read again, so often at most.
const DUMP_ATTEMPTS: usize = 10;
/// Every netlink message starts with a header of 16 bytes, its own length first.
const HEADER: usize = 16;

/// A blocking rtnetlink socket. It belongs to the namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl RouteSocket {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Acknowledge without sending the request back.
        socket.set_cap_ack(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BUFFER) })
    }

    /// Sends a request and waits for what the kernel says to it.
    pub(super) fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            let mut outcome = None;
            self.receive(|_, payload| {
                if let NetlinkPayload::Error(error) = payload {
                    outcome = Some(match error.code {
                        None => Ok(()),
                        Some(_) => Err(error.to_io()),
                    });
                }
            })?;
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    /// Asks for one object and returns the kernel's answers to it.
    pub(super) fn query(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut answers = Vec::new();
        loop {
            let mut outcome = None;
            self.receive(|_, payload| match payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Error(error) => {
                    outcome = Some(match error.code {
                        None => Ok(()),
                        Some(_) => Err(error.to_io()),
                    });
                }
                _ => {}
            })?;
            match outcome {
                None => {}
                Some(Ok(())) => return Ok(answers),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    /// Reads all objects of a kind, again when one changed meanwhile.
    pub(super) fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(all) = self.dump_once(message.clone())? {
                return Ok(all);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn dump_once(&mut self, message: RouteNetlinkMessage) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut all = Vec::new();
        let mut interrupted = false;
        loop {
            let mut outcome = None;
            self.receive(|header, payload| {
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match payload {
                    NetlinkPayload::InnerMessage(message) => all.push(message),
                    NetlinkPayload::Done(_) => outcome = Some(Ok(())),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        outcome = Some(Err(error.to_io()))
                    }
                    _ => {}
                }
            })?;
            match outcome {
                None => {}
                Some(Ok(())) => return Ok((!interrupted).then_some(all)),
                Some(Err(error)) => return Err(error),
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// Reads one datagram and hands over its messages that answer the current request.
    fn receive(
        &mut self,
        mut take: impl FnMut(&NetlinkHeader, NetlinkPayload<RouteNetlinkMessage>),
    ) -> io::Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        let mut rest = self.buffer.as_slice();
        while let Some(length) = message_length(rest) {
            let (bytes, tail) = rest.split_at(length);
            // Messages start at multiples of four.
            rest = tail.get((length.next_multiple_of(4) - length)..).unwrap_or_default();
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) {
                Ok(message) if message.header.sequence_number == self.sequence => {
                    take(&message.header, message.payload)
                }
                Ok(_) => {}
                // One object that this library cannot read must not hide the others.
                Err(error) => tracing::warn!(%error, "a netlink message could not be read"),
            }
        }
        Ok(())
    }
}

/// The length of the message that a buffer starts with, when it holds it whole.
fn message_length(buffer: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(*buffer.first_chunk()?) as usize;
    (HEADER..=buffer.len()).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_the_buffer_does_not_hold_ends_the_reading() {
        assert_eq!(message_length(&[]), None);
        assert_eq!(message_length(&[16, 0, 0, 0]), None);
        let mut whole = vec![0; 20];
        whole[0] = 20;
        assert_eq!(message_length(&whole), Some(20));
        whole[0] = 15;
        assert_eq!(message_length(&whole), None);
        whole[0] = 21;
        assert_eq!(message_length(&whole), None);
    }
}
