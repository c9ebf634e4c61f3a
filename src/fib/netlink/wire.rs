//! The netlink wire: framing, attributes, and one socket that asks and waits.
//!
//! Every byte that comes in is checked before it is used; bytes that do not fit are an error and never a
//! shorter answer, because a missing message would read as a missing route.

use std::io;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::fib::FibError;

/// `linux/netlink.h`.
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
/// The two top bits of an attribute's type are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// The kernel never puts more than 32 KiB into one datagram of a dump.
const BUFFER: usize = 32 * 1024;
/// No answer of the kernel takes longer unless something is badly stuck.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests in flight: their answers fit into the smallest default socket buffer.
const WINDOW: usize = 64;

/// What does not fit into the documented form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

impl From<Malformed> for FibError {
    fn from(problem: Malformed) -> Self {
        Self::Malformed(format!("netlink: {}", problem.0))
    }
}

/// An error of the operating system while `what` was being done.
pub(super) fn broken(what: &str, source: io::Error) -> FibError {
    FibError::Io { what: format!("netlink: {what}"), source }
}

/// The native-endian `u16` at `offset`.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The native-endian `u32` at `offset`.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The value of an attribute that holds one `u32`.
pub(super) fn u32_of(value: &[u8]) -> Result<u32, Malformed> {
    u32_at(value, 0).ok_or(Malformed("short number"))
}

/// Lengths in netlink exclude the padding to four bytes that follows.
fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// `nlmsg_type`.
    pub(super) kind: u16,
    /// `nlmsg_flags`.
    pub(super) flags: u16,
    /// `nlmsg_seq`.
    pub(super) seq: u32,
    /// What follows the header.
    pub(super) body: &'a [u8],
}

/// The messages of one datagram; ends after the first malformed one.
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = split_message(self.0);
        self.0 = match message {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(message.map(|(message, _)| message))
    }
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let short = Malformed("truncated message");
    let length = usize::try_from(u32_at(bytes, 0).ok_or(short)?).map_err(|_| short)?;
    let body = bytes.get(HEADER..length).ok_or(short)?;
    let message = Message {
        kind: u16_at(bytes, 4).ok_or(short)?,
        flags: u16_at(bytes, 6).ok_or(short)?,
        seq: u32_at(bytes, 8).ok_or(short)?,
        body,
    };
    Ok((message, bytes.get(padded(length)..).unwrap_or_default()))
}

/// The attributes of a message as `(type, value)`; ends after the first malformed one.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = std::mem::take(&mut self.0);
        let Some((length, kind)) = u16_at(bytes, 0).zip(u16_at(bytes, 2)) else {
            return Some(Err(Malformed("truncated attribute")));
        };
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else {
            return Some(Err(Malformed("attribute longer than its message")));
        };
        self.0 = bytes.get(padded(length)..).unwrap_or_default();
        Some(Ok((kind & NLA_TYPE_MASK, value)))
    }
}

/// Appends one attribute.
pub(super) fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(padded(out.len()), 0);
}

fn put_message(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, body: &[u8]) {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    out.extend_from_slice(body);
    out.resize(padded(out.len()), 0);
}

/// The kernel's answer to one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply<'a> {
    /// What follows the netlink header.
    Body(&'a [u8]),
    /// It refused, with this (positive) `errno`.
    Refused(i32),
}

/// How a dump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All of it came.
    Complete,
    /// `NLM_F_DUMP_INTR`: the table changed meanwhile, so something may be missing or doubled.
    Interrupted,
    /// The kernel refused or broke off, with this (positive) `errno`.
    Refused(i32),
}

/// One request socket of the routing family, blocking, with a limit to every wait.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    seq: u32,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Answers to a request that was given up may still arrive.
    dirty: bool,
}

impl Wire {
    /// Opens a socket in the network namespace of the calling thread; it stays there.
    pub(super) fn open() -> Result<Self, FibError> {
        let opened = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            // Kernels before 4.20 lack it; they ignore the filters of a dump, and so the reader filters again.
            let _ = socket.set_netlink_get_strict_chk(true);
            let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
            setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
            Ok(socket)
        };
        let socket = opened().map_err(|source| broken("open a socket", source))?;
        Ok(Self { socket, seq: 0, inbox: Vec::with_capacity(BUFFER), outbox: Vec::new(), dirty: false })
    }

    /// Sends `count` requests in windows and hands every answer to `each` with the number of its request, in
    /// no particular order. `body` appends the request of that number, without the netlink header.
    pub(super) fn ask(
        &mut self,
        what: &str,
        kind: u16,
        count: usize,
        body: impl Fn(usize, &mut Vec<u8>),
        mut each: impl FnMut(usize, Reply<'_>) -> Result<(), FibError>,
    ) -> Result<(), FibError> {
        self.clean();
        self.dirty = true;
        let mut scratch = Vec::new();
        for start in (0..count).step_by(WINDOW) {
            let size = WINDOW.min(count - start);
            let base = self.seq.wrapping_add(1);
            self.outbox.clear();
            for number in start..start + size {
                self.seq = self.seq.wrapping_add(1);
                scratch.clear();
                body(number, &mut scratch);
                put_message(&mut self.outbox, kind, 0, self.seq, &scratch);
            }
            self.socket.send(&self.outbox, 0).map_err(|source| broken(what, source))?;
            let mut missing = size;
            while missing > 0 {
                self.receive(what)?;
                for message in Messages(&self.inbox) {
                    let message = message?;
                    let slot = message.seq.wrapping_sub(base) as usize;
                    // Late answers to an abandoned request carry an older number.
                    if slot >= size || message.kind == NLMSG_NOOP {
                        continue;
                    }
                    missing = missing.saturating_sub(1);
                    each(start + slot, reply(&message)?)?;
                }
            }
        }
        self.dirty = false;
        Ok(())
    }

    /// Asks for a whole table and hands each message's body to `each`. `body` is the request without header.
    pub(super) fn dump(
        &mut self,
        what: &str,
        kind: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), FibError>,
    ) -> Result<Ending, FibError> {
        self.clean();
        self.dirty = true;
        self.seq = self.seq.wrapping_add(1);
        self.outbox.clear();
        put_message(&mut self.outbox, kind, NLM_F_DUMP, self.seq, body);
        self.socket.send(&self.outbox, 0).map_err(|source| broken(what, source))?;
        let mut ending = Ending::Complete;
        loop {
            self.receive(what)?;
            for message in Messages(&self.inbox) {
                let message = message?;
                if message.seq != self.seq {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    ending = Ending::Interrupted;
                }
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_DONE | NLMSG_ERROR => {
                        self.dirty = false;
                        // Both carry an error number, and a dump that broke off half-way says so in its DONE.
                        let code = u32_at(message.body, 0).unwrap_or(0).cast_signed();
                        return Ok(if code == 0 { ending } else { Ending::Refused(code.saturating_neg()) });
                    }
                    _ => each(message.body)?,
                }
            }
        }
    }

    fn receive(&mut self, what: &str) -> Result<(), FibError> {
        loop {
            self.inbox.clear();
            match self.socket.recv(&mut self.inbox, libc::MSG_TRUNC) {
                Ok(length) if length > self.inbox.len() => {
                    return Err(FibError::Malformed(format!("netlink: a datagram of {length} bytes")));
                }
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(broken(what, io::ErrorKind::TimedOut.into()));
                }
                Err(error) => return Err(broken(what, error)),
            }
        }
    }

    /// Throws away what an abandoned request left behind: an unfinished dump would block the next one.
    fn clean(&mut self) {
        while self.dirty {
            self.inbox.clear();
            match self.socket.recv(&mut self.inbox, libc::MSG_DONTWAIT | libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.dirty = false,
                // ENOBUFS and the like are reported once and then gone.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn reply<'a>(message: &Message<'a>) -> Result<Reply<'a>, Malformed> {
    if message.kind != NLMSG_ERROR {
        return Ok(Reply::Body(message.body));
    }
    let code = u32_at(message.body, 0).ok_or(Malformed("truncated error"))?.cast_signed();
    Ok(Reply::Refused(code.saturating_neg()))
}
