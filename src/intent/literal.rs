//! A text that the bundle brings as it shall be: no template, every line owned.
//!
//! What is checked here is what makes a text a text; what its lines mean is for the NOS's own parser. Passwords
//! are taken out before anything is compared, hashed, shown or kept.

use std::collections::BTreeMap;

use crate::change::dialect::frr::{self, lint, secrets};
use crate::change::dialect::srlinux;
use crate::change::diff::Candidate;
use crate::intent::yaml::Mistake;

/// The name of FRR's literal text in a bundle.
pub const FRR: &str = "frr.conf";

/// The name of SR Linux's literal text in a bundle.
pub const SRLINUX: &str = "srlinux.json";

/// A literal text, and the passwords that stood in it in clear, by the placeholders that stand there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    /// The text as candidate, not yet in canonical form.
    pub candidate: Candidate,
    /// Value by placeholder.
    pub secrets: BTreeMap<String, String>,
}

/// Takes FRR's literal text. `known` are the secrets that it may name by their placeholders; `clear` those that stood in
/// clear in texts before: the same value gets the same placeholder.
pub fn frr(
    text: &str,
    known: &BTreeMap<String, String>,
    clear: &BTreeMap<String, String>,
) -> Result<Literal, Mistake> {
    let mistake = |line: usize, column: usize, problem: String| Mistake {
        file: FRR.to_owned(),
        at: Some((line as u64, column as u64)),
        field: String::new(),
        problem,
    };
    for (line, number) in text.split('\n').zip(1..) {
        let bad = line.chars().zip(1..).find(|(c, _)| c.is_control() && *c != '\t');
        match bad {
            Some(('\r', column)) if column == line.chars().count() => {
                return Err(mistake(number, column, "the line ends in CR LF (expected LF)".to_owned()));
            }
            Some((c, column)) => {
                return Err(mistake(
                    number,
                    column,
                    format!("a control character ({c:?}) in a configuration"),
                ));
            }
            None => {}
        }
    }
    if frr::numbered(text).is_empty() {
        let problem =
            "has no configuration line (expected at least one: an empty text would clear the switch)";
        return Err(mistake(1, 1, problem.to_owned()));
    }
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut unknown = None;
    let concealed = secrets::conceal(text, |value| {
        if known.contains_key(value) {
            return value.to_owned();
        }
        if value.starts_with("<secret:") {
            unknown.get_or_insert_with(|| value.to_owned());
            return value.to_owned();
        }
        let same = known.iter().chain(clear).chain(&found).find(|(_, known)| *known == value);
        if let Some((placeholder, _)) = same {
            return placeholder.clone();
        }
        let placeholder = format!("{}{}>", lint::CLEAR, clear.len() + found.len() + 1);
        found.insert(placeholder.clone(), value.to_owned());
        placeholder
    });
    if let Some(value) = unknown {
        let line = text.lines().position(|line| line.contains(&value)).unwrap_or(0);
        let column = text.lines().nth(line).and_then(|line| line.find(&value)).unwrap_or(0);
        let expected = match known.keys().next() {
            Some(known) => format!("expected {known}"),
            None => "expected peering.passwordFile in switch.yaml".to_owned(),
        };
        return Err(mistake(line + 1, column + 1, format!("{value} stands for no secret ({expected})")));
    }
    let texts = BTreeMap::from([(frr::OWNER.to_owned(), concealed)]);
    Ok(Literal { candidate: Candidate { literal: texts.clone(), texts }, secrets: found })
}

/// Takes SR Linux's literal text: a JSON document of its model. It names no secrets.
pub fn srlinux(
    text: &str,
    _: &BTreeMap<String, String>,
    _: &BTreeMap<String, String>,
) -> Result<Literal, Mistake> {
    let mistake = |at: Option<(u64, u64)>, problem: String| Mistake {
        file: SRLINUX.to_owned(),
        at,
        field: String::new(),
        problem,
    };
    let document: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        mistake(Some((error.line() as u64, error.column() as u64)), format!("is no JSON: {words}"))
    })?;
    let leaves = srlinux::tree::leaves(&document).map_err(|unreadable| {
        let line = srlinux::line_of(text, &unreadable.path);
        mistake(Some((line as u64, 1)), unreadable.to_string())
    })?;
    if leaves.is_empty() {
        let problem = "says nothing (expected at least one node: an empty text would clear what is ours)";
        return Err(mistake(Some((1, 1)), problem.to_owned()));
    }
    let owner = srlinux::OWNER.to_owned();
    let texts = BTreeMap::from([(owner.clone(), srlinux::write(&document))]);
    let literal = BTreeMap::from([(owner, text.to_owned())]);
    Ok(Literal { candidate: Candidate { texts, literal }, secrets: BTreeMap::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeMap<String, String> {
        BTreeMap::from([("<secret:file>".to_owned(), "fromfile".to_owned())])
    }

    #[test]
    fn passwords_are_taken_out_and_can_be_put_back() {
        let text = "router bgp 1\n neighbor a password p1\n neighbor b password p1\n neighbor c password p2\n\
                    \x20neighbor d password <secret:file>\n neighbor e password fromfile\n";
        let literal = frr(text, &known(), &BTreeMap::new()).unwrap();
        let concealed = &literal.candidate.literal["frr"];
        assert!(!["p1", "p2", "fromfile"].iter().any(|secret| concealed.contains(secret)), "{concealed}");
        assert_eq!(literal.secrets.len(), 2, "one placeholder a value");
        let all = literal.secrets.iter().map(|(k, v)| (k.clone(), v.clone())).chain(known());
        let back =
            all.fold(concealed.clone(), |text, (placeholder, value)| text.replace(&placeholder, &value));
        assert_eq!(back, text.replace("<secret:file>", "fromfile"));
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        let refused = |text: &str| frr(text, &BTreeMap::new(), &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(refused("a\r\nb\r\n"), "frr.conf:1:2: the line ends in CR LF (expected LF)");
        assert_eq!(refused("a\nb\0c"), "frr.conf:2:2: a control character ('\\0') in a configuration");
        assert_eq!(refused("a\n b\rc"), "frr.conf:2:3: a control character ('\\r') in a configuration");
        assert!(refused("!\n\nend\n").contains("has no configuration line"));
        assert_eq!(
            refused("router bgp 1\n neighbor x password <secret:speakers>\n"),
            "frr.conf:2:22: <secret:speakers> stands for no secret (expected peering.passwordFile in switch.yaml)"
        );
    }
}
