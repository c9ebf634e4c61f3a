//! Whether MetalLB is there, over time: its CRDs come and go while the agent runs.
//!
//! Before they were ever seen, every Service is announced by the plain rule. From the first complete reading on MetalLB's
//! rule holds. When the CRDs go, the speakers go on with what they have: the last reading stays, marked as one that nothing
//! can be said by.

use std::sync::Arc;

use super::MetalLb;

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// No CRD, or not all that are needed.
    Absent,
    /// They are there, and not everything has been read.
    Reading,
    /// All of it.
    Complete(Arc<MetalLb>),
}

/// What holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// MetalLB was never there.
    #[default]
    Never,
    /// MetalLB is there.
    There(Arc<MetalLb>),
    /// It was.
    Gone(Arc<MetalLb>),
}

impl Standing {
    /// Takes in what is there now; false if nothing can be said yet: it is there, and has not been read for a first time.
    pub fn follow(&mut self, now: Presence) -> bool {
        *self = match (std::mem::take(self), now) {
            (_, Presence::Complete(all)) => Self::There(all),
            (Self::Never, Presence::Reading) => return false,
            (Self::Never, Presence::Absent) => Self::Never,
            // CRDs that are there anew and unread are not yet back.
            (same, Presence::Reading) => same,
            (Self::There(last), Presence::Absent) => {
                Self::Gone(Arc::new(MetalLb { vanished: true, ..MetalLb::clone(&last) }))
            }
            (gone @ Self::Gone(_), Presence::Absent) => gone,
        };
        true
    }

    /// The facts.
    pub fn facts(&self) -> Option<Arc<MetalLb>> {
        match self {
            Self::Never => None,
            Self::There(all) | Self::Gone(all) => Some(Arc::clone(all)),
        }
    }
}
