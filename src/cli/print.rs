//! Results for people and programs.

use std::fmt::Write;

use serde::Serialize;

use crate::health::{DifferenceKind, Verdict, VipVerdict};
use crate::intent::lint::{Finding, Severity};
use crate::intent::render::context::Explained;
use crate::settings::Output;

pub(super) fn structured(value: &impl Serialize, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Yaml => serde_yaml::to_string(value)?,
        Output::Json | Output::Table => serde_json::to_string_pretty(value)? + "\n",
    })
}

/// Findings of lint: one line each, as compilers print them.
pub fn findings(findings: &[Finding], output: Output) -> anyhow::Result<String> {
    if output != Output::Table {
        return structured(&findings, output);
    }
    let mut text = String::new();
    for Finding { file, line, column, severity, rule, message } in findings {
        let place: String = [line, column]
            .into_iter()
            .flatten()
            .flat_map(|number| [":".to_owned(), number.to_string()])
            .collect();
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(text, "{file}{place}: {severity}: {rule}: {message}")?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let counted = |count, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    writeln!(text, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))?;
    Ok(text)
}

/// The values that templates see.
pub fn explained(values: &[Explained], output: Output) -> anyhow::Result<String> {
    if output != Output::Table {
        return structured(&values, output);
    }
    let mut rows = vec![["NAME", "TYPE", "VALUE"].map(str::to_owned)];
    rows.extend(
        values
            .iter()
            .map(|Explained { path, r#type, value }| [path.clone(), (*r#type).to_owned(), value.to_string()]),
    );
    Ok(columns(&rows))
}

/// A verdict: one row a VIP, and one a difference.
pub fn verdict(verdict: &Verdict, output: Output) -> anyhow::Result<String> {
    if output != Output::Table {
        return structured(verdict, output);
    }
    let mut rows = vec![["PREFIX", "STATE", "RUNG", "EXPECTED", "OBSERVED", "SERVICES"].map(str::to_owned)];
    for vip in &verdict.vips {
        rows.push(row(vip));
        for difference in &vip.differences {
            let kind = match difference.kind {
                DifferenceKind::Missing => "missing",
                DifferenceKind::Unexpected => "unexpected",
            };
            let node = difference.node.as_ref().map(|node| format!(" ({node})")).unwrap_or_default();
            rows.push([
                format!("  {}{node}", difference.next_hop),
                kind.to_owned(),
                format!("{:?}", difference.rung),
                String::new(),
                String::new(),
                String::new(),
            ]);
        }
    }
    let mut text = if verdict.vips.is_empty() { String::new() } else { columns(&rows) };
    for issue in &verdict.issues {
        writeln!(text, "issue: {}: {}: {}", issue.object, issue.reason, issue.message)?;
    }
    let word = serde_json::to_value(verdict.verdict)?;
    let word = word.as_str().unwrap_or_default();
    let count = verdict.vips.len();
    if count == 0 {
        writeln!(text, "{}: {word}: no VIP is expected on this switch", verdict.switch)?;
    } else {
        writeln!(text, "{}: {word}: {count} VIP{}", verdict.switch, if count == 1 { "" } else { "s" })?;
    }
    Ok(text)
}

fn row(vip: &VipVerdict) -> [String; 6] {
    let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(",") };
    let state = serde_json::to_value(vip.state).ok();
    [
        vip.prefix.to_string(),
        state.as_ref().and_then(|state| state.as_str()).unwrap_or_default().to_owned(),
        vip.rung.map_or("-".to_owned(), |rung| format!("{rung:?}")),
        list(vip.expected.iter().map(ToString::to_string).collect()),
        list(vip.observed.iter().map(ToString::to_string).collect()),
        list(vip.services.iter().map(ToString::to_string).collect()),
    ]
}

/// Columns as wide as their widest cell, three spaces apart, as kubectl prints them.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}
