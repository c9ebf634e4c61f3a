//! What of a packet the kernel hashes over, told by files of `/proc/sys/net`: those of the reader's own namespace.
#![expect(clippy::disallowed_methods, reason = "shell: files of the kernel")]

use crate::net::{HashLayer, Hashing};

/// `fib_multipath_hash_fields` (`FIB_MULTIPATH_HASH_FIELD_*` of `net/ip_fib.h`): source and destination port.
const PORTS: u32 = 1 << 4 | 1 << 5;

/// Both families; a file that is missing or says something unheard-of leaves its family out.
pub(super) fn read() -> Hashing {
    let of = |family: &str| {
        let number = |name: &str| -> Option<u32> {
            let path = format!("/proc/sys/net/{family}/fib_multipath_hash_{name}");
            std::fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        match number("policy")? {
            // 2 looks at the addresses of tunnelled packets, and is like 0 for all others.
            0 | 2 => Some(HashLayer::Three),
            1 => Some(HashLayer::Four),
            3 => number("fields").map(|fields| match fields & PORTS {
                0 => HashLayer::Three,
                _ => HashLayer::Four,
            }),
            _ => None,
        }
    };
    Hashing { v4: of("ipv4"), v6: of("ipv6") }
}
