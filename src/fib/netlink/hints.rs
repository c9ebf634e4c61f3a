//! Hints that something in the kernel's tables may have changed.
//!
//! A hint carries no contents on purpose: the kernel tells of many changes by a link event only, and drops
//! messages when they come too fast. Whoever gets one looks again; whoever gets none looks again by the clock.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::wire::{Messages, broken};
use crate::fib::FibError;

/// Multicast groups of `linux/rtnetlink.h`: `RTNLGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV4_RULE`,
/// `_IPV6_IFADDR`, `_IPV6_ROUTE`, `_IPV6_RULE`.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];
/// `RTNLGRP_NEXTHOP`, unknown to kernels before 5.3.
const GROUP_NEXTHOP: u32 = 32;

/// One route message occupies about 1.2 KiB of it: some thousand changes fit before the kernel drops any.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
const DATAGRAM: usize = 32 * 1024;
/// Datagrams merged into one hint; a storm must not keep the listener from speaking.
const MERGE: usize = 8192;
/// Pause after an error nobody expects, so that it cannot turn into a spin.
const BREATH: Duration = Duration::from_secs(1);

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum HintKind {
    /// A device came, went or changed state.
    Link = 1,
    /// An address came or went.
    Address = 2,
    /// A route came, went or changed.
    Route = 4,
    /// A next-hop object or group came, went or changed.
    NextHop = 8,
    /// A policy rule came or went.
    Rule = 16,
    /// The kernel dropped messages (`ENOBUFS`), or one was cut short: anything may have changed.
    Lost = 32,
}

/// The kinds of change since the last hint; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint(u8);

impl Hint {
    /// True if this kind of change is among them.
    pub fn has(self, kind: HintKind) -> bool {
        self.0 & kind as u8 != 0
    }

    fn add(&mut self, kind: HintKind) {
        self.0 |= kind as u8;
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Listens to the kernel's announcements.
pub struct Hints {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Hints {
    /// Subscribes in the network namespace of the calling thread; needs a tokio runtime with I/O and time.
    pub fn open() -> Result<Self, FibError> {
        let opened = || -> io::Result<TokioSocket> {
            let mut listener = TokioSocket::new(NETLINK_ROUTE)?;
            let socket = listener.socket_mut();
            socket.bind(&SocketAddr::new(0, 0))?;
            // Beyond the system's limit only with CAP_NET_ADMIN; without it as much as the limit allows.
            if setsockopt(&*socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                setsockopt(&*socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            }
            for group in GROUPS {
                socket.add_membership(group)?;
            }
            match socket.add_membership(GROUP_NEXTHOP) {
                Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
                _ => {}
            }
            Ok(listener)
        };
        let socket = opened().map_err(|source| broken("subscribe to changes", source))?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits for the next change. Everything that is pending goes into one answer. Cancel safe.
    pub async fn next(&mut self) -> Hint {
        let mut hint = Hint::default();
        while hint.is_empty() {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => read(&self.buffer, &mut hint),
                Err(error) => {
                    hint.add(HintKind::Lost);
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        tokio::time::sleep(BREATH).await;
                    }
                }
            }
            self.drain(&mut hint);
        }
        hint
    }

    /// Reads what is there already, without waiting.
    fn drain(&mut self, hint: &mut Hint) {
        for _ in 0..MERGE {
            self.buffer.clear();
            match self.socket.socket_ref().recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => read(&self.buffer, hint),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => hint.add(HintKind::Lost),
            }
        }
    }
}

/// `RTM_NEW*` and `RTM_DEL*` of `linux/rtnetlink.h`.
fn read(datagram: &[u8], hint: &mut Hint) {
    for message in Messages(datagram) {
        match message.map(|message| message.kind) {
            Ok(16 | 17) => hint.add(HintKind::Link),
            Ok(20 | 21) => hint.add(HintKind::Address),
            Ok(24 | 25) => hint.add(HintKind::Route),
            Ok(32 | 33) => hint.add(HintKind::Rule),
            Ok(104 | 105) => hint.add(HintKind::NextHop),
            Ok(_) => {}
            Err(_) => hint.add(HintKind::Lost),
        }
    }
}
