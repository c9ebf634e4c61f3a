//! The ladder: the steps between an intent in the cluster and a forwarded packet, in order.
//!
//! A difference is explained by the *first failing rung*. What is absent by intent has a rung too.

use serde::{Deserialize, Serialize};

/// One step of the ladder, or a reason for absence by intent. Closed; each is produced by a test on real parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// No endpoint counts on a node that peers here: the prefix must be absent.
    NoEndpoints,
    /// The nodes carry the exclude label: the prefix must be absent.
    NodeExcluded,
    /// The nodes are `NetworkUnavailable`: the prefix must be absent.
    NodeNetworkUnavailable,
    /// A node announces the prefix but has no peer address of its family.
    NoAddressForFamily,
    /// The NOS has no neighbour for the node.
    PeerNotConfigured,
    /// The BGP session is not Established.
    SessionDown,
    /// The session is up but does not carry the prefix.
    PrefixNotReceived,
    /// BGP has the path but did not choose it for forwarding.
    NotBestPath,
    /// BGP chose the path, the forwarding table does not have the next-hop.
    NotInFib,
    /// The forwarding table has the prefix, but does something else with it than forward.
    WrongRouteKind,
    /// A next-hop that nobody expects.
    UnexpectedNextHop,
}
