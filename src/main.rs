//! The binary: see the library's documentation for the architecture.

use std::process::ExitCode;

fn main() -> ExitCode {
    switchlet::cli::run()
}
