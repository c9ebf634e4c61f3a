//! Reading YAML so that a mistake is found where it was made.
//!
//! Every problem is one [`Mistake`]: file, line, column, field and what was expected. Used for `switch.yaml` and
//! for Kubernetes objects in a folder.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_yaml::{Location, Spanned};

/// One thing wrong with a text that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Mistake {
    /// Name of the text, e.g. `switch.yaml`.
    pub file: String,
    /// 1-based; `None` where the text as a whole is meant.
    pub at: Option<(u64, u64)>,
    /// Path of the field, e.g. `peering.nodes.static[2].address`; empty for the whole document.
    pub field: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Parses one document strictly into `T`.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Mistake> {
    let mut field = String::new();
    let parsed = serde_yaml::with_deserializer_from_str_with_options(text, options(), |de| {
        serde_path_to_error::deserialize::<_, T>(de).map_err(|error| {
            field = error.path().to_string();
            error.into_inner()
        })
    });
    parsed.map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().filter(|at| at.line() > 0);
        if field == "." {
            field.clear();
        }
        // The path ends in `?` where the mistake is the key itself.
        if let Some(parent) = field.strip_suffix('?') {
            field = match error {
                serde_yaml::Error::DuplicateMappingKey { key: Some(key), .. } => format!("{parent}{key}"),
                _ => parent.trim_end_matches('.').to_owned(),
            };
        }
        Mistake { file: file.to_owned(), at: at.map(place), field, problem: explain(error) }
    })
}

/// The mistake of a value that parsed but makes no sense, placed at `field` (as `serde_path_to_error` writes it).
pub fn misplaced(file: &str, text: &str, field: &str, problem: impl Into<String>) -> Mistake {
    Mistake {
        file: file.to_owned(),
        at: locate(text, field),
        field: field.to_owned(),
        problem: problem.into(),
    }
}

fn options() -> serde_yaml::Options {
    let mut options = serde_yaml::Options::default();
    options.with_snippet = false;
    options
}

fn place(at: Location) -> (u64, u64) {
    (at.line(), at.column())
}

/// The parser's words, without the place (we print it ourselves) and with the nearest valid key.
fn explain(error: &serde_yaml::Error) -> String {
    match error {
        serde_yaml::Error::SerdeUnknownField { field, expected, .. } => {
            return unknown("key", field, expected);
        }
        serde_yaml::Error::SerdeUnknownVariant { variant, expected, .. } => {
            return unknown("value", variant, expected);
        }
        serde_yaml::Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("duplicate key `{key}`");
        }
        _ => {}
    }
    let text = error.to_string();
    let mut text = text.lines().next().unwrap_or_default().to_owned();
    if let Some(start) = text.find("line ")
        && text[start..].contains("column ")
    {
        let (head, tail) = text.split_at(start);
        let after = tail.split_once(": ").map(|(_, after)| after.to_owned());
        let head = head
            .trim_end_matches([' ', ':', '('])
            .trim_end_matches(" at")
            .trim_end_matches("error")
            .trim_end();
        text = match (head.is_empty(), after) {
            (true, Some(after)) => after,
            (false, Some(after)) => format!("{head}: {after}"),
            (_, None) => head.to_owned(),
        };
    }
    text
}

/// `unknown key`, with the nearest valid one, or all of them.
fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(nearest) => format!("unknown {what} `{word}` (did you mean `{nearest}`?)"),
        None => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("unknown {what} `{word}` (expected one of {})", known.join(", "))
        }
    }
}

/// The candidate within two typing errors (a third of the word at most), the closest first.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).clamp(1, 3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insert, delete, replace, swap two neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Line and column of a field's value; of the deepest existing parent if the field is absent.
fn locate(text: &str, field: &str) -> Option<(u64, u64)> {
    let steps: Vec<Step> = steps(field);
    let mut found = None;
    let seed = Locate { steps: &steps, found: &mut found };
    let walked =
        serde_yaml::with_deserializer_from_str_with_options(text, options(), |de| seed.deserialize(de));
    // A text that does not parse has been refused before; the place of what was reached still stands.
    drop(walked);
    found.map(place)
}

enum Step {
    Key(String),
    Index(usize),
}

fn steps(field: &str) -> Vec<Step> {
    field
        .split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']').and_then(|number| number.parse().ok()) {
            Some(index) => Step::Index(index),
            None => Step::Key(part.to_owned()),
        })
        .collect()
}

/// Walks down `steps` and notes the place of each value it enters.
struct Locate<'a> {
    steps: &'a [Step],
    found: &'a mut Option<Location>,
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.steps {
            [] => {
                let spanned: Spanned<IgnoredAny> = serde::Deserialize::deserialize(deserializer)?;
                *self.found = Some(spanned.referenced);
                Ok(())
            }
            [_, ..] => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            match self.steps {
                [Step::Key(wanted), rest @ ..] if *wanted == key.value => {
                    *self.found = Some(key.referenced);
                    map.next_value_seed(Locate { steps: rest, found: &mut *self.found })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let entered = match self.steps {
                [Step::Index(wanted), rest @ ..] if *wanted == index => {
                    seq.next_element_seed(Locate { steps: rest, found: &mut *self.found })?.is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !entered {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
