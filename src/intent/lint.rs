//! What is not wrong in a bundle and probably not meant: settings and variables that nothing reads, templates that nothing
//! uses, and what the dialect asks about the text itself.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::change::dialect::frr::lint as dialect;
use crate::intent::render::names::{self, Inspected};
use crate::intent::render::{self, Job, context};
use crate::intent::snapshot::Bundle;
use crate::intent::yaml::{self, Mistake};
use crate::intent::{literal, settings};

#[cfg(test)]
mod tests;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The agent refuses the bundle.
    Error,
    /// The agent takes it.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Name of the text.
    pub file: String,
    /// From 1; absent where the text as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// How bad it is.
    pub severity: Severity,
    /// CamelCase; for an error the reason of the condition.
    pub rule: String,
    /// What was found and what was expected.
    pub message: String,
}

impl Finding {
    /// An error whose message may begin with its place: `file:line:column: …` or `file:line: …`.
    pub fn error(reason: &str, message: &str) -> Self {
        let (file, line, column, message) = placed(message);
        Self { file, line, column, severity: Severity::Error, rule: reason.to_owned(), message }
    }

    fn warning(rule: &str, mistake: Mistake) -> Self {
        let Mistake { file, at, field, problem } = mistake;
        let message = if field.is_empty() { problem } else { format!("{field} {problem}") };
        let (line, column) = at.unzip();
        Self { file, line, column, severity: Severity::Warning, rule: rule.to_owned(), message }
    }
}

/// Splits a message into its place and the rest.
fn placed(message: &str) -> (String, Option<u64>, Option<u64>, String) {
    let Some((file, rest)) = message.split_once(':').filter(|(file, _)| !file.contains(' ')) else {
        return ("bundle".to_owned(), None, None, message.to_owned());
    };
    let number =
        |text: &'_ str| text.split_once(':').and_then(|(n, rest)| Some((n.parse().ok()?, rest.to_owned())));
    let (line, rest) = number(rest).map_or((None, rest.to_owned()), |(line, rest)| (Some(line), rest));
    let (column, rest) = match line.and(number(&rest)) {
        Some((column, rest)) => (Some(column), rest),
        None => (None, rest),
    };
    (file.to_owned(), line, column, rest.trim_start().to_owned())
}

/// Settings by the names of the context that carry them.
const CARRIED: [(&str, &[&str]); 13] = [
    ("routerId", &["routerId"]),
    ("preference", &["preference"]),
    ("vips", &["filter", "pools", "guarded"]),
    ("peering.peerAsn", &["peerAsn", "internal", "peerAs", "peerAsRanges"]),
    ("peering.nodes", &["neighbors", "listenRanges", "addressed", "unnumbered"]),
    ("peering.timers", &["timers"]),
    ("peering.bfd", &["bfd"]),
    ("peering.maxPrefixes", &["maxPrefixes"]),
    ("peering.passwordFile", &["password"]),
    ("ecmp", &["maxPaths", "multipath"]),
    ("resilientHash", &["resilientHash"]),
    ("uplinks", &["uplinks"]),
    ("communities", &["communities"]),
];

/// Names that do not exist, in every template of the job.
pub fn unknown_names(job: &Job) -> Vec<Finding> {
    inspected(job)
        .into_iter()
        .flat_map(|template| template.mistakes)
        .map(|mistake| Finding { severity: Severity::Error, ..Finding::warning("RenderFailed", mistake) })
        .collect()
}

fn inspected(job: &Job) -> Vec<Inspected> {
    names::inspect(render::texts_of(&job.templates), &render::shape(&job.context))
}

/// Settings, variables and templates of the bundle that nothing reads.
pub fn unused(bundle: &Bundle, job: &Job) -> Vec<Finding> {
    let text = bundle.texts.get(settings::FILE).map_or("", String::as_str);
    let literal = [literal::FRR, literal::SRLINUX].into_iter().find(|name| bundle.texts.contains_key(*name));
    let is_literal = literal.is_some();
    let instead = format!("is not used: {} is literal", literal.unwrap_or_default());
    let templates = if is_literal { Vec::new() } else { inspected(job) };
    let mut reached: BTreeSet<&str> = job.roots.values().map(String::as_str).collect();
    reached
        .extend(templates.iter().filter(|template| template.defines).map(|template| template.name.as_str()));
    loop {
        let before = reached.len();
        let used = templates.iter().filter(|template| reached.contains(template.name.as_str()));
        let used: Vec<&str> = used.flat_map(|template| template.uses.iter().map(String::as_str)).collect();
        reached.extend(used);
        if reached.len() == before {
            break;
        }
    }
    let of_file = |file: &str, problem: &str| Mistake {
        file: file.to_owned(),
        at: None,
        field: String::new(),
        problem: problem.to_owned(),
    };
    let mut found: Vec<Finding> = bundle
        .texts
        .keys()
        .filter(|name| name.ends_with(".tera"))
        .filter_map(|name| match (is_literal, reached.contains(name.as_str())) {
            (true, _) => Some(of_file(name, &instead)),
            (false, false) => Some(of_file(name, "is not used: no template includes or extends it")),
            (false, true) => None,
        })
        .map(|mistake| Finding::warning("UnusedTemplate", mistake))
        .collect();
    let read: BTreeSet<&String> = templates
        .iter()
        .filter(|template| reached.contains(template.name.as_str()))
        .flat_map(|template| &template.reads)
        .collect();
    let reads = |path: &str| read.iter().any(|read| within(path, read) || within(read, path));
    let vars = context::explain(&job.context["vars"]);
    for path in vars.into_iter().map(|leaf| leaf.path).filter(|path| !path.is_empty()) {
        if !reads(&format!("vars.{path}")) {
            let mistake =
                yaml::misplaced(settings::FILE, text, &format!("vars.{path}"), "is read by no template");
            found.push(Finding::warning("UnusedVariable", mistake));
        }
    }
    if !is_literal {
        let given: serde_json::Value = yaml::parse(settings::FILE, text).unwrap_or_default();
        for (setting, names) in CARRIED {
            let pointer = format!("/{}", setting.replace('.', "/"));
            if given.pointer(&pointer).is_some() && !names.iter().any(|name| reads(name)) {
                let mistake = yaml::misplaced(settings::FILE, text, setting, "is read by no template");
                found.push(Finding::warning("UnusedSetting", mistake));
            }
        }
    }
    found.sort();
    found
}

/// `path` is `whole`, or lies in it.
fn within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What several switches must not have alike: `beside` are the settings of others, by the name of their folder.
pub fn shared(own: &settings::SwitchSettings, beside: &[(String, settings::SwitchSettings)]) -> Vec<Finding> {
    let same = beside.iter().filter(|(_, other)| own.router_id.is_some() && own.router_id == other.router_id);
    same.map(|(name, _)| Finding {
        file: settings::FILE.to_owned(),
        line: None,
        column: None,
        severity: Severity::Warning,
        rule: "RouterIdShared".to_owned(),
        message: format!(
            "routerId {} is also that of {name}",
            own.router_id.map(|id| id.to_string()).unwrap_or_default()
        ),
    })
    .collect()
}

/// An issue of the text, as a finding.
pub fn of_issue(issue: &crate::intent::snapshot::Issue) -> Finding {
    let crate::intent::snapshot::Issue { object, reason, message } = issue;
    let (file, line) = (object.clone(), None);
    Finding {
        file,
        line,
        column: None,
        severity: Severity::Warning,
        rule: (*reason).to_owned(),
        message: message.clone(),
    }
}

/// What the dialect asks about the text `file`.
pub fn of_text(file: &str, text: &str) -> Vec<Finding> {
    dialect::lint(text).into_iter().map(|lint| remark(file, lint)).collect()
}

/// A remark about `file`.
pub fn remark(file: &str, lint: dialect::Lint) -> Finding {
    let dialect::Lint { line, rule, message } = lint;
    Finding {
        file: file.to_owned(),
        line: line.map(|line| line as u64),
        column: None,
        severity: Severity::Warning,
        rule: rule.name().to_owned(),
        message,
    }
}
