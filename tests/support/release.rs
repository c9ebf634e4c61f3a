//! The releases of FRR that the tests run with, and a test for each of them.

#![allow(dead_code)]

/// A release of FRR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Debian 12's, the machine's own.
    V8_4,
    /// Debian 13's, in a root file system of its own (`tests/lab/frr/root.sh`).
    V10_3,
}

impl Release {
    /// As `show version` has it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V8_4 => "8.4",
            Self::V10_3 => "10.3",
        }
    }
}

/// Makes of each named function two tests, one for each release; a failing test's name tells which.
#[macro_export]
macro_rules! on_each_frr {
    ($($test:ident),+ $(,)?) => {
        mod frr_8_4 {
            $(#[test] fn $test() { super::$test($crate::release::Release::V8_4); })+
        }
        mod frr_10_3 {
            $(#[test] fn $test() { super::$test($crate::release::Release::V10_3); })+
        }
    };
}
