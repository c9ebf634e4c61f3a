//! `switchlet plan`: what would change, what that would do, and whether it would wait.
#![expect(clippy::disallowed_methods, reason = "the edge: files, clock, environment, terminal")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use super::kit::{self, Kit};
use super::{BAD_INPUT, BLIND, DIFFERS, FINE, OVER_BUDGET, REASON, USAGE};
use super::{complain, desired_of, desired_once, open, print};
use crate::agent::Confirmed;
use crate::change::consent::{self, Approver, Cause, Consent, Hold, PeerCount};
use crate::change::dialect::frr::hunks::{Changed, hunks};
use crate::change::dialect::frr::{self, Frr, OWNER};
use crate::change::dialect::srlinux::Srlinux;
use crate::change::diff::{Candidate, Journal, Plan, Running};
use crate::change::impact::Impact;
use crate::change::{Dialect, Known};
use crate::nos::frr::{FrrDriver, Hand};
use crate::nos::{NosDriver, Validator, ValidatorError};
use crate::rib::RibReader;
use crate::rib::frr::FrrRib;
use crate::settings::{Nos, OneShot, Output, PlanArgs, When};

/// A saved running text is not larger than this.
const LARGEST: u64 = 64 << 20;

/// What stands against what, and how it came about.
struct Question {
    running: Running,
    confirmed: Option<Candidate>,
    journal: Journal,
    removal: PeerCount,
    cause: Cause,
    consent: Consent,
    /// Peers whose sessions are up; `None` where nobody could look.
    live: Option<BTreeSet<String>>,
}

/// A plan and what there is to say of it.
struct Answer {
    plan: Plan,
    hold: Option<Hold>,
    revision: String,
}

pub(super) async fn run_plan(args: PlanArgs) -> anyhow::Result<u8> {
    match args.once.inputs.nos {
        Some(Nos::Srlinux) => of_srlinux(args).await,
        Some(Nos::Frr) | None => of_frr(args).await,
    }
}

/// Of a switch that computes with its own running configuration: it must be reachable.
async fn of_srlinux(args: PlanArgs) -> anyhow::Result<u8> {
    let PlanArgs { once: OneShot { inputs, output, timeout }, running, color } = args;
    if running.is_some() {
        eprintln!("switchlet: --running: is for FRR (expected none with --nos srlinux)");
        return Ok(USAGE);
    }
    let mut opened = open(&inputs).await?;
    let Kit { mut driver, mut rib, .. } = kit::srlinux(&inputs, &opened)?;
    let Confirmed { version: _, memory, history, ready: _ } =
        opened.state.confirmed().map_err(anyhow::Error::msg)?;
    let in_force = memory.confirmed.as_ref().map(|target| target.bundle.as_str());
    opened.deriver.resume(opened.state.remembered(), in_force);
    let (desired, switch) = desired_once(&mut opened, timeout.0).await?;
    if let Some(problem) = &desired.problem {
        return Ok(complain(problem));
    }
    let Some(target) = &desired.target else { anyhow::bail!("there is nothing to plan") };
    let spec = switch.map(|switch| switch.spec);
    let consent = Consent {
        approver: if spec.is_some() { Approver::Switch } else { Approver::Folder },
        approved: spec.as_ref().and_then(|spec| spec.approved_plan.clone()),
        proven: history.proves(target, Timestamp::now()),
        budget: spec.map(|spec| spec.budget.at(Timestamp::now())).unwrap_or_default(),
    };
    for candidate in memory.confirmed.iter().map(|target| &target.candidate).chain([&target.candidate]) {
        driver.attend(candidate);
    }
    if let Some(settings) = &desired.settings {
        rib.enter(&settings.network_instance);
    }
    let question = Question {
        running: driver.running().await.context("reading the running configuration")?,
        confirmed: memory.confirmed.as_ref().map(|target| target.candidate.clone()),
        journal: memory.journal.clone(),
        removal: memory.removal(target),
        cause: memory.cause(target),
        consent,
        live: live(&mut rib).await,
    };
    let revision = desired.revision.clone().unwrap_or_default();
    answer(
        &Srlinux,
        &driver.validator(),
        question,
        &target.candidate,
        (&desired.adopt, revision),
        (output, color),
    )
    .await
}

async fn of_frr(args: PlanArgs) -> anyhow::Result<u8> {
    let PlanArgs { once: OneShot { inputs, output, timeout }, running, color } = args;
    let mut opened = open(&inputs).await?;
    let mut driver = FrrDriver::new(opened.places.clone(), Hand::Auto);
    let saved = match running.as_deref().map(read) {
        None => None,
        Some(Ok(text)) => Some(frr::saved(&text)),
        Some(Err(problem)) => {
            eprintln!("switchlet: --running: {problem}");
            return Ok(BAD_INPUT);
        }
    };
    let Confirmed { version: _, memory, history, ready: _ } =
        opened.state.confirmed().map_err(anyhow::Error::msg)?;
    let (desired, switch) = match &saved {
        Some((_, platform)) => desired_of(&mut opened, platform.clone(), timeout.0).await?,
        None => {
            let in_force = memory.confirmed.as_ref().map(|target| target.bundle.as_str());
            opened.deriver.resume(opened.state.remembered(), in_force);
            desired_once(&mut opened, timeout.0).await?
        }
    };
    if let Some(problem) = &desired.problem {
        return Ok(complain(problem));
    }
    let Some(target) = &desired.target else { anyhow::bail!("there is nothing to plan") };
    driver.set_secrets(desired.secrets.clone());
    let now = Timestamp::now();
    let spec = switch.map(|switch| switch.spec);
    let mut consent = Consent {
        approver: if spec.is_some() { Approver::Switch } else { Approver::Folder },
        approved: spec.as_ref().and_then(|spec| spec.approved_plan.clone()),
        proven: history.proves(target, now),
        budget: spec.map(|spec| spec.budget.at(now)).unwrap_or_default(),
    };
    let question = match saved {
        Some((text, _)) => {
            let text = driver.conceal(&text);
            let ours = target.candidate.literal.contains_key(OWNER) || frr::carries_our_name(&text);
            let texts = BTreeMap::from([(OWNER.to_owned(), text)]);
            // Who has only a file asks what a reviewer wants to know: would it wait on a switch that has an approver?
            consent = Consent { approver: Approver::Switch, proven: consent::Proven::No, ..consent };
            Question {
                confirmed: ours.then(|| Candidate::rendered(texts.clone())),
                running: Running { texts },
                journal: Journal::new(),
                removal: PeerCount::default(),
                cause: if ours { Cause::Bundle } else { Cause::FirstContact },
                consent,
                live: None,
            }
        }
        None => Question {
            running: driver.running().await.context("reading the running configuration")?,
            confirmed: memory.confirmed.as_ref().map(|target| target.candidate.clone()),
            journal: memory.journal.clone(),
            removal: memory.removal(target),
            cause: memory.cause(target),
            consent,
            live: {
                let instance = opened.places.instance.clone();
                live(&mut FrrRib::new(opened.places.run(), instance, REASON)).await
            },
        },
    };
    let revision = desired.revision.clone().unwrap_or_default();
    answer(
        &Frr,
        &driver.validator(),
        question,
        &target.candidate,
        (&desired.adopt, revision),
        (output, color),
    )
    .await
}

/// The plan, and what there is to say of it.
async fn answer<D: Dialect, V: Validator>(
    dialect: &D,
    validator: &V,
    question: Question,
    candidate: &Candidate,
    (adopt, revision): (&[String], String),
    (output, color): (Output, When),
) -> anyhow::Result<u8> {
    let candidate = match validated(dialect, validator, candidate).await {
        Ok(candidate) => candidate,
        Err((code, message)) => {
            eprintln!("switchlet: {message}");
            return Ok(code);
        }
    };
    let Question { running, confirmed, journal, removal, cause, consent, live } = question;
    let known = Known { confirmed: confirmed.as_ref(), adopt, journal: &journal };
    let plan = match dialect.plan(&running, &candidate, &known) {
        Ok(plan) => plan,
        Err(refusal) => {
            eprintln!("switchlet: {}: {refusal}", refusal.reason());
            return Ok(BAD_INPUT);
        }
    };
    let hold = consent::hold(&plan, removal, cause, &consent, live.as_ref()).filter(|_| !plan.is_empty());
    let code = match (plan.is_empty(), &hold) {
        (true, _) => FINE,
        (false, None) => DIFFERS,
        (false, Some(_)) => OVER_BUDGET,
    };
    let answer = Answer { plan, hold, revision };
    print(&match output {
        Output::Table => answer.table(paint(color))?,
        Output::Json | Output::Yaml => answer.structured(output)?,
    })?;
    Ok(code)
}

/// A saved text; what is wrong with it, and what was expected.
fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let expected = "expected a running configuration, as `vtysh -c 'show running-config'` prints it";
    let size = fs::metadata(path).map_err(|error| format!("{shown}: {error} ({expected})"))?.len();
    if size > LARGEST {
        return Err(format!("{shown}: is larger than {} MiB ({expected})", LARGEST >> 20));
    }
    let bytes = fs::read(path).map_err(|error| format!("{shown}: {error} ({expected})"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: is not UTF-8 ({expected})"))?;
    let text = text.replace("\r\n", "\n");
    for (line, number) in text.lines().zip(1..) {
        if let Some((character, column)) =
            line.chars().zip(1..).find(|(character, _)| character.is_control() && *character != '\t')
        {
            return Err(format!(
                "{shown}:{number}:{column}: a control character ({character:?}) ({expected})"
            ));
        }
    }
    if frr::numbered(&text).is_empty() {
        return Err(format!("{shown}: has no configuration line ({expected})"));
    }
    Ok(text)
}

/// The peers whose sessions are up, if they can be asked for.
async fn live(rib: &mut impl RibReader) -> Option<BTreeSet<String>> {
    match rib.sessions().await {
        Ok(sessions) => {
            let up = sessions.by_peer.into_iter().filter(|(_, session)| session.is_up());
            Some(up.map(|(peer, _)| peer).collect())
        }
        Err(error) => {
            let why = crate::cluster::chain(&error);
            eprintln!("switchlet: every session counts as live, they could not be asked for: {why}");
            None
        }
    }
}

/// `candidate` in canonical form, if the NOS can be asked; else as it is, where our own rules are enough. The error is what
/// the command ends with.
async fn validated<D: Dialect, V: Validator>(
    dialect: &D,
    validator: &V,
    candidate: &Candidate,
) -> Result<Candidate, (u8, String)> {
    match validator.check(candidate).await {
        Ok(checked) => dialect
            .canonical(candidate, &checked)
            .map_err(|refusal| (BAD_INPUT, format!("{}: {refusal}", refusal.reason()))),
        Err(ValidatorError::Unavailable(why)) if candidate.literal.is_empty() => {
            eprintln!("switchlet: no validator, only our own rules: {why}");
            Ok(candidate.clone())
        }
        Err(ValidatorError::Unavailable(why)) => Err((BLIND, format!("ValidatorUnavailable: {why}"))),
        Err(ValidatorError::Failed(why)) => Err((BLIND, format!("ValidatorTimeout: {why}"))),
    }
}

/// Whether the table has colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Coloured,
}

fn paint(when: When) -> Paint {
    let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match when {
        When::Always => Paint::Coloured,
        When::Auto if std::io::stdout().is_terminal() && !asked_not_to => Paint::Coloured,
        When::Auto | When::Never => Paint::Plain,
    }
}

impl Paint {
    /// SGR codes of ECMA-48, as git uses them in a diff.
    fn line(self, code: &str, line: &str) -> String {
        match self {
            Self::Plain => format!("{line}\n"),
            Self::Coloured => format!("\u{1b}[{code}m{line}\u{1b}[m\n"),
        }
    }
}

const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

impl Answer {
    fn table(&self, paint: Paint) -> anyhow::Result<String> {
        let Self { plan, hold, revision } = self;
        let Some(hash) = plan.hash() else {
            return Ok(format!("nothing to do: revision {revision} runs\n"));
        };
        let mut text = paint.line(BOLD, "--- running") + &paint.line(BOLD, "+++ candidate");
        for hunk in plan.owners.values().flat_map(hunks) {
            let block = if hunk.block.is_empty() { "outside of blocks" } else { &hunk.block };
            text += &paint.line(CYAN, &format!("@@ {block} @@"));
            for line in &hunk.lines {
                text += &match line {
                    Changed::Added(line) => paint.line(GREEN, &format!("+{line}")),
                    Changed::Removed(line) => paint.line(RED, &format!("-{line}")),
                };
            }
        }
        let Impact { class, sessions, ranges, apart: _, gone, instances, prefixes, unknown } = plan.impact();
        writeln!(text, "\nplan {hash} for revision {revision}: {}", class.name())?;
        let stay: BTreeSet<String> = sessions.difference(&gone).cloned().collect();
        let ranges: BTreeSet<String> = ranges.iter().map(ToString::to_string).collect();
        for (what, names) in [
            ("sessions that are reset", &stay),
            ("neighbours that go", &gone),
            ("whoever came by", &ranges),
            ("instances that go", &instances),
            ("prefixes that are withdrawn", &prefixes),
            ("lines that no rule knows", &unknown),
        ] {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                writeln!(text, "{what}: {}", names.join(", "))?;
            }
        }
        if let Some(hold) = hold {
            writeln!(text, "{}: the plan {hold}", hold.reason())?;
            writeln!(text, "it waits for spec.approvedPlan: \"{hash}\"")?;
        }
        Ok(text)
    }

    fn structured(&self, output: Output) -> anyhow::Result<String> {
        let Self { plan, hold, revision } = self;
        let Impact { class, sessions, ranges, apart: _, gone, instances, prefixes, unknown } = plan.impact();
        let owners: serde_json::Map<String, serde_json::Value> = plan
            .owners
            .iter()
            .map(|(owner, plan)| {
                let plan = json!({"add": plan.add, "remove": plan.remove, "commands": plan.commands});
                (owner.clone(), plan)
            })
            .collect();
        let hold =
            hold.as_ref().map(|hold| json!({"reason": hold.reason(), "message": format!("the plan {hold}")}));
        super::print::structured(
            &json!({
                "revision": revision, "hash": plan.hash(), "class": class, "sessions": sessions,
                "ranges": ranges, "gone": gone, "instances": instances, "prefixes": prefixes,
                "unknown": unknown, "hold": hold, "owners": owners,
            }),
            output,
        )
    }
}
