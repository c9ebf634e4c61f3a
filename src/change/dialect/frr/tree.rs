//! A configuration text as a list of lines with their blocks.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Path, Writer, context, is_block};

/// Lines that end a block or the text and say nothing themselves.
const CLOSERS: [&str; 4] = ["exit", "exit-address-family", "exit-vrf", "end"];

/// All lines in order, each with the blocks around it (by indentation); comments, closers and FRR's own headers are
/// left out. A block's first line is listed once, however often the text opens it.
pub fn flatten(text: &str) -> Vec<Path> {
    let mut blocks: BTreeSet<Path> = BTreeSet::new();
    numbered(text)
        .into_iter()
        .map(|line| line.path)
        .filter(|path| !is_block(path) || blocks.insert(path.clone()))
        .collect()
}

/// A line of a text, with its blocks and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// From 1.
    pub number: usize,
    /// The blocks around it, outermost first, then the line itself.
    pub path: Path,
}

/// As [`flatten`], with places, and every line as often as it stands there.
pub fn numbered(text: &str) -> Vec<Numbered> {
    // The open blocks by the places of their lines, each with its indentation.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut lines: Vec<Numbered> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = single_spaced(raw);
        if line.is_empty() || line.starts_with(['!', '#']) || CLOSERS.contains(&line.as_ref()) {
            continue;
        }
        let indent = raw.len() - raw.trim_start().len();
        while open.last().is_some_and(|(depth, _)| *depth >= indent) {
            open.pop();
        }
        let around = open.last().map_or(&[][..], |(_, at)| lines[*at].path.as_slice());
        let mut path: Path = Vec::with_capacity(around.len() + 1);
        path.extend_from_slice(around);
        path.push(line.into_owned());
        open.push((indent, lines.len()));
        lines.push(Numbered { number: index + 1, path });
    }
    lines
}

/// The words of a line with one space between them.
fn single_spaced(raw: &str) -> Cow<'_, str> {
    let line = raw.trim();
    let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if line.bytes().all(is_plain) && !line.contains("  ") {
        return Cow::Borrowed(line);
    }
    Cow::Owned(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text of `paths`, in their order. A block that is open already is not opened again.
pub fn write<'a>(paths: impl IntoIterator<Item = &'a Path>) -> String {
    let mut writer = Writer::default();
    for path in paths {
        let depth = path.len() - 1;
        let is_open = writer.open.len() > depth && writer.open[..=depth] == path[..];
        if !is_open {
            writer.write(context(path), &path[depth], is_block(path));
        }
    }
    writer.leave();
    writer.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
