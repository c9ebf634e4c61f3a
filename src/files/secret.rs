//! Opening a secret that an untrusted text names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

/// TCP-MD5 keys have at most 80 bytes (`TCP_MD5SIG_MAXKEYLEN`, linux/tcp.h).
const LONGEST: usize = 80;

/// Reads the one line of `name` beneath `folder`. Links may lead anywhere inside the folder (kubelet's do), never out of
/// it. No error names the content.
pub fn read(folder: &Path, name: &str) -> io::Result<String> {
    let folder = open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&folder, name, how).map_err(|errno| match errno {
        // What openat2(2) says of a path that leaves the folder.
        Errno::EXDEV => io::Error::new(io::ErrorKind::PermissionDenied, "leads out of the secrets folder"),
        other => io::Error::from(other),
    })?);
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    if !file.metadata()?.is_file() {
        return Err(invalid("is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 3).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| invalid("is not UTF-8"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.len() > LONGEST {
        return Err(invalid("is not one line of 1 to 80 bytes"));
    }
    if line.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("is not one word"));
    }
    Ok(line.to_owned())
}
