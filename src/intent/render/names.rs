//! Every name in a template must exist, also where the engine would not notice.
//!
//! Tera lets `{% if not vars.typo %}shutdown{% endif %}` pass: an undefined name in a condition is false. So before anything
//! is rendered all dotted paths of all expressions are looked up, step by step, in the *shape* of the context (lists
//! that are empty now have an element in it). What cannot be known is let pass: the value of a call, of an index, of
//! a name that another template sets. `is defined`, `default` and `?.` say that absence is meant.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::intent::yaml::{self, Mistake};

#[cfg(test)]
mod tests;

/// The first name of `templates` (name, text) that `shape` does not have.
pub fn check<'a>(
    templates: impl IntoIterator<Item = (&'a str, &'a str)>,
    shape: &Value,
) -> Result<(), Mistake> {
    match inspect(templates, shape).into_iter().flat_map(|template| template.mistakes).next() {
        Some(mistake) => Err(mistake),
        None => Ok(()),
    }
}

/// What one template says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// Its name.
    pub name: String,
    /// Names that do not exist; one a tag at most.
    pub mistakes: Vec<Mistake>,
    /// Paths of the context that it reads; a path stands for all that is beneath it.
    pub reads: BTreeSet<String>,
    /// Templates that it includes or extends.
    pub uses: BTreeSet<String>,
    /// It defines a component, which any template may use.
    pub defines: bool,
}

/// Reads all `templates` (name, text) against `shape`.
pub fn inspect<'a>(templates: impl IntoIterator<Item = (&'a str, &'a str)>, shape: &Value) -> Vec<Inspected> {
    let templates: Vec<(&str, &str, Vec<Tag<'_>>)> =
        templates.into_iter().map(|(name, text)| (name, text, tags(text))).collect();
    let mut inspected = Vec::new();
    for (name, text, tags) in &templates {
        // An included template sees what the including one has set.
        let others = templates.iter().filter(|(other, ..)| other != name).flat_map(|(.., tags)| tags);
        let assigned: BTreeSet<&str> = others.flat_map(|tag| assigned(&tag.tokens)).collect();
        let mut reader = Reader {
            shape,
            assigned: &assigned,
            scopes: vec![Vec::new()],
            components: 0,
            reads: RefCell::default(),
        };
        let mut found = Inspected { name: (*name).to_owned(), ..Inspected::default() };
        for tag in tags {
            match tag.tokens.as_slice() {
                [(Token::Name("include" | "extends"), _), (Token::Text(used), _), ..] => {
                    found.uses.insert((*used).to_owned());
                }
                [(Token::Name("component"), _), ..] => found.defines = true,
                _ => {}
            }
            if let Err((at, problem)) = reader.tag(tag) {
                found.mistakes.push(Mistake {
                    file: (*name).to_owned(),
                    at: Some(line_and_column(text, at)),
                    field: String::new(),
                    problem,
                });
            }
        }
        found.reads = reader.reads.into_inner();
        inspected.push(found);
    }
    inspected
}

/// Offset in the template, bytes. Lines are counted only where a mistake is to be shown.
type Place = usize;

struct Tag<'a> {
    /// `{% … %}`: its first word is one of the language.
    statement: bool,
    tokens: Vec<(Token<'a>, Place)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Number(&'a str),
    /// One character, or two that belong together: `==`, `?.` …
    Sign(&'a str),
}

/// All tags of a text, comments and raw blocks left out. A text that is not well formed has been refused before.
fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        let inside = match rest.get(..2) {
            Some("{#") => {
                rest = rest.find("#}").map_or("", |end| &rest[end + 2..]);
                continue;
            }
            Some("{{" | "{%") => &rest[2..],
            _ => {
                rest = &rest[1..];
                continue;
            }
        };
        let statement = rest.starts_with("{%");
        let (tokens, after) = tokens(text, inside, if statement { "%}" } else { "}}" });
        let raw = tokens.len() == 1 && tokens[0].0 == Token::Name("raw");
        rest = if raw { after.find("endraw").map_or("", |end| &after[end..]) } else { after };
        if !raw {
            tags.push(Tag { statement, tokens });
        }
    }
    tags
}

/// The tokens up to `end`, and what comes after it.
fn tokens<'a>(text: &'a str, inside: &'a str, end: &str) -> (Vec<(Token<'a>, Place)>, &'a str) {
    let mut tokens = Vec::new();
    let mut rest = inside.trim_start_matches('-');
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return (tokens, "") };
        if let Some(after) = rest.strip_prefix(end).or_else(|| rest.strip_prefix('-')?.strip_prefix(end)) {
            return (tokens, after);
        }
        let place = text.len() - rest.len();
        let length = match first {
            '"' | '\'' | '`' => string(rest, first),
            c if c.is_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c if c.is_ascii_digit() => rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()),
            _ if ["==", "!=", ">=", "<=", "?.", "//", "**"].iter().any(|sign| rest.starts_with(sign)) => 2,
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push((
            match first {
                '"' | '\'' | '`' => {
                    Token::Text(token.get(1..token.len().saturating_sub(1)).unwrap_or_default())
                }
                c if c.is_alphabetic() || c == '_' => Token::Name(token),
                c if c.is_ascii_digit() => Token::Number(token),
                _ => Token::Sign(token),
            },
            place,
        ));
        rest = after;
    }
}

/// The length of a quoted string, quotes included.
fn string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Line and column, from 1.
fn line_and_column(text: &str, place: Place) -> (u64, u64) {
    let before = &text[..place];
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() as u64 + 1, before[line..].chars().count() as u64 + 1)
}

/// Names that a tag defines: by `set`, `for`, in a comprehension, as arguments of a component.
fn assigned<'a>(tokens: &[(Token<'a>, Place)]) -> Vec<&'a str> {
    let mut names = Vec::new();
    if let [(Token::Name("set" | "set_global"), _), (Token::Name(name), _), ..] = tokens {
        names.push(*name);
    }
    for (index, (token, _)) in tokens.iter().enumerate() {
        if *token == Token::Name("for") {
            let loop_names = tokens[index + 1..].iter().map_while(|(token, _)| match token {
                Token::Name("in") => None,
                Token::Name(name) => Some(Some(*name)),
                Token::Sign(",") => Some(None),
                _ => None,
            });
            names.extend(loop_names.flatten());
        }
    }
    names
}

/// Words of the language, where a name could stand.
const WORDS: [&str; 17] = [
    "true", "True", "false", "False", "none", "None", "null", "and", "or", "not", "in", "is", "if", "else",
    "for", "loop", "self",
];

/// A name with what is known of its value.
type Known<'a> = (&'a str, Option<&'a Value>);

struct Reader<'a> {
    shape: &'a Value,
    assigned: &'a BTreeSet<&'a str>,
    /// Innermost last.
    scopes: Vec<Vec<Known<'a>>>,
    /// Depth of component definitions, whose names are their own.
    components: usize,
    reads: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    fn tag(&mut self, tag: &Tag<'a>) -> Result<(), (Place, String)> {
        let tokens = &tag.tokens;
        let word = match tokens.first() {
            Some((Token::Name(word), _)) if tag.statement => *word,
            _ => "",
        };
        match word {
            "component" => self.components += 1,
            "endcomponent" => {
                self.components = self.components.saturating_sub(1);
                return Ok(());
            }
            _ => {}
        }
        if self.components > 0 {
            return Ok(());
        }
        match word {
            "endfor" => {
                self.scopes.pop();
                Ok(())
            }
            "for" => {
                let Some(within) = tokens.iter().position(|(token, _)| *token == Token::Name("in")) else {
                    return Ok(());
                };
                let value = self.expression(&tokens[within + 1..])?;
                let element = match value {
                    Some(Value::Array(items)) => items.first(),
                    _ => None,
                };
                let names = assigned(&tokens[..within]);
                let scope = match names.as_slice() {
                    [name] => vec![(*name, element)],
                    names => names.iter().map(|name| (*name, None)).collect(),
                };
                self.scopes.push(scope);
                Ok(())
            }
            "set" | "set_global" => {
                let value = tokens.iter().position(|(token, _)| *token == Token::Sign("="));
                let value = value.map_or(Ok(None), |equals| self.expression(&tokens[equals + 1..]))?;
                let scope = if word == "set" { self.scopes.last_mut() } else { self.scopes.first_mut() };
                if let (Some((Token::Name(name), _)), Some(scope)) = (tokens.get(1), scope) {
                    scope.push((name, value));
                }
                Ok(())
            }
            "include" | "extends" | "block" | "endblock" | "filter" | "endfilter" | "endset" | "endif"
            | "break" | "continue" => Ok(()),
            "if" | "elif" | "else" => self.expression(&tokens[1..]).map(drop),
            _ => self.expression(tokens).map(drop),
        }
    }

    /// Looks up all paths of an expression; its value, if it is nothing but one path.
    fn expression(&self, tokens: &[(Token<'a>, Place)]) -> Result<Option<&'a Value>, (Place, String)> {
        let local = assigned(tokens);
        let mut index = 0;
        let mut only = None;
        while index < tokens.len() {
            let before = index.checked_sub(1).map(|before| tokens[before].0);
            let after = tokens.get(index + 1).map(|(token, _)| *token);
            let (Token::Name(name), place) = tokens[index] else {
                index += 1;
                continue;
            };
            let names_no_value = match before {
                // A filter, a test, a component; a field of something that was computed.
                Some(Token::Sign("|" | "<" | "." | "?.") | Token::Name("is")) => true,
                Some(Token::Name("not")) => index >= 2 && tokens[index - 2].0 == Token::Name("is"),
                // A key of a map.
                Some(Token::Sign("," | "{")) if after == Some(Token::Sign(":")) => true,
                // A named argument.
                _ => after == Some(Token::Sign("=")),
            };
            if names_no_value || WORDS.contains(&name) || after == Some(Token::Sign("(")) {
                index += 1;
                // `loop.index` and its like: the engine knows them.
                while matches!(tokens.get(index), Some((Token::Sign("."), _))) {
                    index += 2;
                }
                continue;
            }
            let (end, value) = self.path(tokens, index, &local).map_err(|problem| (place, problem))?;
            only = (index == 0 && end == tokens.len()).then_some(value).flatten();
            index = end;
        }
        Ok(only)
    }

    /// Looks up the path that begins at `start`; where it ends, and its value if that can be known.
    fn path(
        &self,
        tokens: &[(Token<'a>, Place)],
        start: usize,
        local: &[&str],
    ) -> Result<(usize, Option<&'a Value>), String> {
        let mut end = start + 1;
        let mut steps = Vec::new();
        let mut lenient = false;
        loop {
            match tokens.get(end..).unwrap_or_default() {
                [(Token::Sign(dot @ ("." | "?.")), _), (Token::Name(step) | Token::Number(step), _), ..] => {
                    lenient |= *dot == "?.";
                    steps.push(Some(*step));
                    end += 2;
                }
                [
                    (Token::Sign("["), _),
                    (Token::Text(step) | Token::Number(step), _),
                    (Token::Sign("]"), _),
                    ..,
                ] => {
                    steps.push(Some(*step));
                    end += 3;
                }
                // An index that is computed: its own names are read as an expression by the caller.
                [(Token::Sign("["), _), ..] => {
                    steps.push(None);
                    break;
                }
                _ => break,
            }
        }
        lenient |= matches!(
            tokens.get(end..).unwrap_or_default(),
            [(Token::Name("is"), _), (Token::Name("defined" | "undefined"), _), ..]
                | [
                    (Token::Name("is"), _),
                    (Token::Name("not"), _),
                    (Token::Name("defined" | "undefined"), _),
                    ..
                ]
                | [(Token::Sign("|"), _), (Token::Name("default"), _), ..]
        );
        let Token::Name(name) = tokens[start].0 else { return Ok((end, None)) };
        let bound = local.contains(&name) || self.scopes.iter().flatten().any(|(known, _)| *known == name);
        let mut value = if local.contains(&name) { None } else { self.value_of(name, lenient)? };
        if !bound {
            // An element stands for its list.
            let named = steps.iter().map_while(|step| step.filter(|step| step.parse::<usize>().is_err()));
            let path = std::iter::once(name).chain(named).collect::<Vec<_>>().join(".");
            self.reads.borrow_mut().insert(path);
        }
        let mut path = name.to_owned();
        for step in steps {
            let (Some(step), Some(known)) = (step, value) else { return Ok((end, None)) };
            value = match known {
                Value::Object(fields) => match fields.get(step) {
                    Some(field) => Some(field),
                    None if lenient => return Ok((end, None)),
                    None => {
                        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                        return Err(unknown(&format!("{path}.{step}"), step, &known));
                    }
                },
                Value::Array(items) if step.parse::<usize>().is_ok() => items.first(),
                _ if lenient => return Ok((end, None)),
                _ => {
                    return Err(format!(
                        "`{path}` has no fields (expected `{path}` alone, not `{path}.{step}`)"
                    ));
                }
            };
            path = format!("{path}.{step}");
        }
        Ok((end, value))
    }

    fn value_of(&self, name: &str, lenient: bool) -> Result<Option<&'a Value>, String> {
        if let Some((_, value)) = self.scopes.iter().flatten().rev().find(|(known, _)| *known == name) {
            return Ok(*value);
        }
        match self.shape.get(name) {
            Some(value) => Ok(Some(value)),
            None if lenient || self.assigned.contains(name) => Ok(None),
            None => {
                let known: Vec<&str> =
                    self.shape.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                Err(unknown(name, name, &known))
            }
        }
    }
}

fn unknown(path: &str, step: &str, known: &[&str]) -> String {
    match yaml::nearest(step, known) {
        Some(nearest) => format!("`{path}` is not defined (did you mean `{nearest}`?)"),
        None if known.is_empty() => format!("`{path}` is not defined"),
        None => format!("`{path}` is not defined (expected one of {})", known.join(", ")),
    }
}
