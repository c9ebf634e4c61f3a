//! Folders as inputs, and files that are replaced whole.
//!
//! A folder may be a kubelet volume: then everything is read behind one resolved `..data`, because the links beside it
//! are made after and removed before the content changes. An event is only a hint to read everything again.
#![expect(clippy::disallowed_methods, reason = "shell: files")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::intent::snapshot::{Bundle, Issue};

pub mod objects;
pub mod secret;
#[cfg(test)]
mod tests;
pub mod watch;

/// A ConfigMap holds at most 1 MiB; no text of a bundle can be longer.
const LONGEST_TEXT: u64 = 1 << 20;

/// The folder's content at one moment: itself, or what `..data` points to.
fn resolve(folder: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(folder.join("..data")) {
        Ok(behind) => Ok(behind),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::canonicalize(folder),
        Err(error) => Err(error),
    }
}

/// A volume that changes this often while it is read is not worth waiting for: the next hint comes soon.
const MOST_READINGS: usize = 5;

/// Reads the folder at one moment. A volume's old content is removed file by file as soon as `..data` points elsewhere,
/// so what was read stands only if `..data` still points there afterwards.
fn at_one_moment<T>(folder: &Path, mut read: impl FnMut(&Path) -> io::Result<T>) -> io::Result<T> {
    for _ in 0..MOST_READINGS {
        let behind = resolve(folder)?;
        let result = read(&behind);
        if resolve(folder)? == behind {
            return result;
        }
    }
    Err(io::Error::other("the folder changed whenever it was read"))
}

/// Reads a bundle: every file that is not hidden. A file that is no text of at most 1 MiB is an issue.
pub fn read_bundle(folder: &Path) -> io::Result<(Bundle, Vec<Issue>)> {
    at_one_moment(folder, read_texts)
}

fn read_texts(folder: &Path) -> io::Result<(Bundle, Vec<Issue>)> {
    let mut bundle = Bundle::default();
    let mut issues = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| !name.starts_with('.'))
        else {
            continue;
        };
        if !path.is_file() {
            continue;
        }
        match read_text(&path) {
            Ok(text) => drop(bundle.texts.insert(name.to_owned(), text)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                issues.push(Issue::new(format!("File {name}"), "InvalidObject", error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((bundle, issues))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidData, problem.to_owned());
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(invalid("is longer than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid("is not UTF-8"))?;
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return Err(invalid(&format!("has a NUL byte in line {line}")));
    }
    Ok(text)
}

/// Writes a file that only its owner may read, replacing what is there.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    drop(fs::remove_file(path));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Replaces a file in one step that survives a crash: written beside it, synced, renamed, the folder synced. Owner and
/// mode stay as they were; a new file gets its folder's owner, and no access for others.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, 0o640)
}

/// As [`replace`], but only the owner may read a new file: for what we keep for ourselves.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, 0o600)
}

fn replace_with(path: &Path, bytes: &[u8], mode_of_new: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().and_then(OsStr::to_str).ok_or(io::ErrorKind::InvalidInput)?;
    let (owner, group, mode) = match fs::metadata(path) {
        Ok(old) => (old.uid(), old.gid(), old.mode() & 0o7777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = fs::metadata(folder)?;
            (folder.uid(), folder.gid(), mode_of_new)
        }
        Err(error) => return Err(error),
    };
    let beside = folder.join(format!(".{name}.switchlet"));
    let written = (|| {
        drop(fs::remove_file(&beside));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        let same = file.metadata()?;
        if (same.uid(), same.gid()) != (owner, group) {
            std::os::unix::fs::fchown(&file, Some(owner), Some(group))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        drop(fs::remove_file(&beside));
    }
    written
}

/// Removes a file for good, the folder synced; false if there was none.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()?;
    Ok(true)
}

/// A lock that only one process on this machine can hold; freed when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, not read")] nix::fcntl::Flock<File>);

/// Takes the lock, or says that another process has it (`WouldBlock`).
pub fn lock(path: &Path) -> io::Result<Lock> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map(Lock)
        .map_err(|(_, errno)| io::Error::from(errno))
}
