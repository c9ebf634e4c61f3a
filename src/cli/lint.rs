//! `switchlet lint`: everything that can be said about a bundle without a switch, and a little more on one.
#![allow(clippy::print_stderr, reason = "a command prints")]
#![expect(clippy::disallowed_methods, reason = "the edge: clock, kernel")]

use std::path::Path;

use anyhow::Context;

use crate::agent::desired::Deriver;
use crate::agent::inputs::Gathered;
use crate::change::Dialect;
use crate::change::dialect::frr::{Frr, OWNER, lint as dialect};
use crate::change::dialect::srlinux::Srlinux;
use crate::change::diff::{Candidate, Refusal};
use crate::cli::{BAD_INPUT, BLIND, DIFFERS, FINE, print};
use crate::files;
use crate::intent::lint::{self, Finding, Severity};
use crate::intent::snapshot::{Bundle, ClusterFacts, Issue};
use crate::nos::frr::{FrrDriver, Hand, Places};
use crate::nos::{NosDriver, Validator, ValidatorError};
use crate::settings::{LintArgs, Nos};

/// Runs the command.
pub async fn run_lint(args: LintArgs) -> anyhow::Result<u8> {
    let LintArgs {
        beside,
        nos,
        bundle: folder,
        node,
        cluster,
        frr_root,
        frr_instance,
        secrets_dir,
        strict,
        output,
    } = args;
    let (bundle, skipped) =
        files::read_bundle(&folder).with_context(|| format!("--bundle {}", folder.display()))?;
    let mut facts = ClusterFacts::default();
    if let Some(folder) = cluster {
        (facts, _) = files::objects::read_cluster(&folder, &node)
            .with_context(|| format!("--cluster {}", folder.display()))?;
    }
    let mut findings: Vec<Finding> = skipped
        .iter()
        .filter_map(|issue| Some((issue.object.strip_prefix("File ")?, issue)))
        .filter(|(name, _)| Bundle::is_meant(name))
        .map(|(name, issue)| Finding::error("SettingsInvalid", &format!("{name}: {}", issue.message)))
        .collect();
    let mut deriver = Deriver::new(&node, super::kit::language(nos), secrets_dir.clone());
    if secrets_dir.is_none() {
        deriver = deriver.without_secrets();
    }
    let gathered = Gathered { bundle: Ok(bundle.clone()), facts, switch: None, node: None };
    let desired = deriver.derive(&gathered, jiff::Timestamp::now()).await;
    let mut frr = FrrDriver::new(Places { root: frr_root, instance: frr_instance }, Hand::Auto);
    frr.set_secrets(desired.secrets.clone());
    // Settings are known also where a template has a mistake.
    let job = match deriver.job(&desired, &bundle) {
        Some(job) => Some(job),
        None => deriver.job(&desired_settings(&bundle), &bundle),
    };
    if let Some(job) = &job {
        if !bundle.texts.contains_key(super::kit::language(nos).literal) {
            findings.extend(lint::unknown_names(job));
        }
        findings.extend(lint::unused(&bundle, job));
    }
    if let Some(problem) = &desired.problem {
        let finding = Finding::error(&format!("{:?}", problem.reason), &problem.message);
        let known = |other: &Finding| {
            (&other.file, other.line, other.column) == (&finding.file, finding.line, finding.column)
        };
        if !findings.iter().any(known) {
            findings.push(finding);
        }
    }
    let mut blind = false;
    if let Some(candidate) = desired.target.as_ref().map(|target| &target.candidate) {
        let (more, answered) = of_candidate(&frr, candidate).await;
        findings.extend(more);
        blind = !answered;
    }
    if nos != Some(Nos::Srlinux) && frr.is_running() {
        findings.extend(hash_policy().map(|lint| lint::remark("kernel", lint)));
    }
    if nos == Some(Nos::Srlinux) {
        let text =
            desired.target.as_ref().map(|target| Srlinux.remarks(&target.candidate)).unwrap_or_default();
        let of_texts = |issue: &&Issue| {
            ["switch.yaml ", "resilient-hash-prefix "].iter().any(|what| issue.object.starts_with(what))
        };
        let more = desired.expectation.issues.iter().filter(of_texts);
        findings.extend(text.iter().chain(more).map(lint::of_issue));
    }
    if let Some(settings) = &desired.settings {
        let mut others = Vec::new();
        for folder in beside {
            let (other, _) =
                files::read_bundle(&folder).with_context(|| format!("--beside {}", folder.display()))?;
            others
                .extend(desired_settings(&other).settings.map(|other| (folder.display().to_string(), other)));
        }
        findings.extend(lint::shared(settings, &others));
    }
    findings.sort();
    findings.dedup();
    print(&super::print::findings(&findings, output)?)?;
    let has = |severity| findings.iter().any(|finding| finding.severity == severity);
    Ok(match (has(Severity::Error), has(Severity::Warning)) {
        (true, _) => BAD_INPUT,
        _ if blind => BLIND,
        (false, true) if strict => DIFFERS,
        _ => FINE,
    })
}

fn desired_settings(bundle: &Bundle) -> crate::agent::desired::Desired {
    let text = bundle.texts.get(crate::intent::settings::FILE);
    let settings = text.and_then(|text| crate::intent::settings::parse(text).ok());
    crate::agent::desired::Desired { settings, ..Default::default() }
}

/// What is to be said about the text itself; false if FRR was asked and did not answer.
async fn of_candidate(frr: &FrrDriver, candidate: &Candidate) -> (Vec<Finding>, bool) {
    let (file, text) = match (candidate.literal.get(OWNER), candidate.texts.get(OWNER)) {
        (Some(text), _) => ("frr.conf", text),
        (None, Some(text)) => ("rendered", text),
        (None, None) => return (Vec::new(), true),
    };
    let mut findings = lint::of_text(file, text);
    match frr.validator().check(candidate).await {
        Ok(checked) => {
            findings.extend(checked.complaints.iter().map(|complaint| Finding {
                file: file.to_owned(),
                line: Some(complaint.line as u64),
                column: None,
                severity: Severity::Error,
                rule: "CandidateRejected".to_owned(),
                message: format!("`{}` does not take effect: {}", complaint.text, complaint.said),
            }));
            if let Err(refusal @ (Refusal::ForeignLine { .. } | Refusal::NoText(_))) =
                Frr.canonical(candidate, &checked)
            {
                findings.push(Finding::error(refusal.reason(), &refusal.to_string()));
            }
        }
        Err(ValidatorError::Unavailable(why)) => {
            eprintln!("switchlet: FRR has not read the text, only our own rules have: {why}");
            if candidate.literal.is_empty()
                && let Err(refusal) = Frr.canonical(candidate, &own_rules(candidate))
            {
                findings.push(Finding::error(refusal.reason(), &refusal.to_string()));
            }
        }
        Err(ValidatorError::Failed(why)) => {
            eprintln!("switchlet: ValidatorTimeout: {why}");
            return (findings, false);
        }
    }
    (findings, true)
}

/// As if FRR had given the text back as it is.
fn own_rules(candidate: &Candidate) -> crate::change::diff::Checked {
    crate::change::diff::Checked { complaints: Vec::new(), texts: candidate.texts.clone() }
}

fn hash_policy() -> Option<dialect::Lint> {
    let text = std::fs::read_to_string(Path::new("/proc/sys/net/ipv4/fib_multipath_hash_policy")).ok()?;
    dialect::hash_policy(text.trim().parse().ok()?)
}
