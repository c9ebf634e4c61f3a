//! Nokia's own models, read by libyang's `yanglint` in a process of its own.
//!
//! The closures are data of this machine and no part of the repository; where they are not, a test says so loudly.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::disallowed_methods, reason = "a test starts processes and reads files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What kind of document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Config,
    State,
}

/// One release on one platform: `v25.3.1-d2l`.
#[derive(Debug, Clone)]
pub struct Models {
    folder: PathBuf,
    features: String,
}

/// Where the data set is, if it is here.
pub fn data_set() -> Option<PathBuf> {
    let here = std::env::var_os("SRLINUX_TESTDATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/srlinux");
    here.into_iter().chain([beside]).find(|path| path.join("yang").is_dir())
}

/// Which models are here, or a loud word that they are not: Nokia's files are no part of the repository.
pub fn all() -> Option<PathBuf> {
    let runs = |_: &PathBuf| Command::new("yanglint").arg("-v").stdout(Stdio::null()).status().is_ok();
    let found = data_set().filter(runs);
    if found.is_none() {
        eprintln!(
            "SKIPPED: needs yanglint (Debian: libyang2-tools) and SRLINUX_TESTDATA with Nokia's models"
        );
    }
    found
}

impl Models {
    /// The closure `name` of the data set.
    pub fn of(name: &str) -> Option<Self> {
        let root = data_set()?;
        let folder = root.join("yang").join(name);
        let known = fs::read_to_string(folder.join("srl_nokia-features.yang")).ok()?;
        let wanted = fs::read_to_string(root.join("features").join(format!("{name}.txt"))).ok()?;
        let defines = |feature: &&str| {
            let plain = [' ', '{', ';'].iter().any(|end| known.contains(&format!("feature {feature}{end}")));
            plain || known.contains(&format!("feature \"{feature}\""))
        };
        let features: Vec<&str> = wanted.split_whitespace().filter(defines).collect();
        Some(Self { folder, features: features.join(",") })
    }

    /// The first complaint about a document; `Ok` if there is none.
    pub fn validate(&self, document: &str, kind: Kind) -> Result<(), String> {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        fs::write(file.path(), document).unwrap();
        let modules = [
            "features",
            "common",
            "interfaces",
            "if-ip",
            "network-instance",
            "bgp",
            "routing-policy",
            "ip-route-tables",
            "rib-bgp",
        ];
        let output = Command::new("yanglint")
            .current_dir(&self.folder)
            .args(["-Q", "-D", "-p", ".", "-F", &format!("srl_nokia-features:{}", self.features)])
            .args(["-t", if kind == Kind::Config { "config" } else { "get" }, "-f", "json"])
            .args(modules.map(|module| format!("srl_nokia-{module}.yang")))
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let first = said.lines().find(|line| !line.contains("YANGLINT[E]") && !line.contains("warn"));
        Err(first.unwrap_or(&said).to_owned())
    }
}
