//! `status`, `explain`, `drain-check`, `diff`, `history`: for people who look after many switches, also as `kubectl switchlet`.
#![expect(clippy::disallowed_methods, reason = "the edge: the clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use super::print::structured;
use super::{BLIND, DIFFERS, FINE, USAGE, print};
use crate::cluster::chain;
use crate::cluster::client::{self, Clients, Way};
use crate::cluster::fleet;
use crate::health::Word;
use crate::health::chronicle::Settled;
use crate::health::fleet::drain::Drain;
use crate::health::fleet::explain::{Explained, ServiceSeen};
use crate::health::fleet::{Fleet, VipRow};
use crate::net::{Backoff, Prefix};
use crate::settings::{DrainArgs, ExplainArgs, FleetArgs, NamedArgs, Output, StatusArgs};

mod show;

/// How often `drain-check` looks.
const LOOK: Duration = Duration::from_secs(2);
/// After an API server did not answer.
const RETRY: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(15) };

async fn connected(args: &FleetArgs) -> anyhow::Result<Clients> {
    let way = Way { context: args.context.as_deref(), ..Way::default() };
    client::connect(args.kubeconfig.as_deref(), way).await
}

async fn read(client: &Client, args: &FleetArgs) -> anyhow::Result<Fleet> {
    let switches = fleet::switches(client, &args.namespace).await?;
    let nodes = fleet::nodes(client).await.map_err(|error| chain(&error));
    Ok(Fleet { switches, nodes, now: Timestamp::now(), patience: args.max_age.0 })
}

fn code(verdict: Word) -> u8 {
    match verdict {
        Word::Ok => FINE,
        Word::Differs => DIFFERS,
        Word::Unknown => BLIND,
    }
}

pub(super) async fn run_status(args: StatusArgs) -> anyhow::Result<u8> {
    let StatusArgs { fleet: args, all } = args;
    let fleet = read(&connected(&args).await?.calls, &args).await?;
    let overview = fleet.overview();
    print(&match args.output {
        Output::Table => show::overview(&overview, fleet.now, all),
        output => structured(&overview, output)?,
    })?;
    Ok(code(overview.verdict))
}

pub(super) async fn run_drain_check(args: DrainArgs) -> anyhow::Result<u8> {
    let DrainArgs { fleet: args, node, timeout, without } = args;
    let client = connected(&args).await?.calls;
    let deadline = Instant::now() + timeout.0;
    let progress = std::io::stderr().is_terminal();
    let mut attempts = 0;
    let mut told = String::new();
    loop {
        let looked = read(&client, &args).await;
        let last = Instant::now() >= deadline;
        match looked {
            Ok(fleet) => {
                attempts = 0;
                let drain = fleet.drain(&node, &without);
                if last || drain.verdict == Word::Ok {
                    return ended(&drain, fleet.now, args.output);
                }
                if progress && drain.message != told {
                    eprintln!("switchlet: waiting: {}", drain.message);
                    told.clone_from(&drain.message);
                }
            }
            Err(error) if last => return Err(error),
            Err(error) => {
                attempts += 1;
                tracing::debug!(%error, "trying again");
            }
        }
        let wait = if attempts > 0 { RETRY.wait(attempts - 1, 0) } else { LOOK };
        // The last look is taken at the deadline, not before.
        tokio::time::sleep_until(deadline.min(Instant::now() + wait)).await;
    }
}

fn ended(drain: &Drain, now: Timestamp, output: Output) -> anyhow::Result<u8> {
    print(&match output {
        Output::Table => show::drain(drain, now),
        output => structured(drain, output)?,
    })?;
    Ok(code(drain.verdict))
}

pub(super) async fn run_diff(args: NamedArgs) -> anyhow::Result<u8> {
    let NamedArgs { fleet: args, switches } = args;
    let fleet = read(&connected(&args).await?.calls, &args).await?;
    if let Some(code) = unknown(&fleet, &switches) {
        return Ok(code);
    }
    let gaps = fleet.gaps(&switches);
    print(&match args.output {
        Output::Table => show::gaps(&gaps),
        output => structured(&gaps, output)?,
    })?;
    let has = |verdict: Word| gaps.iter().any(|gap| gap.verdict == verdict);
    Ok(if has(Word::Differs) {
        DIFFERS
    } else if has(Word::Unknown) || gaps.is_empty() {
        BLIND
    } else {
        FINE
    })
}

pub(super) async fn run_history(args: NamedArgs) -> anyhow::Result<u8> {
    let NamedArgs { fleet: args, switches } = args;
    let fleet = read(&connected(&args).await?.calls, &args).await?;
    if let Some(code) = unknown(&fleet, &switches) {
        return Ok(code);
    }
    let asked = fleet.switches.iter().filter(|switch| switches.is_empty() || switches.contains(&switch.name));
    let mut all: BTreeMap<&str, &[Settled]> = BTreeMap::new();
    let mut blind = false;
    for switch in asked {
        match &switch.status {
            Ok(said) => drop(all.insert(&switch.name, &said.history)),
            Err(why) => {
                blind = true;
                eprintln!("switchlet: {}: its status is not understood: {why}", switch.name);
            }
        }
    }
    print(&match args.output {
        Output::Table => show::history(&all),
        output => structured(&all, output)?,
    })?;
    Ok(if blind { BLIND } else { FINE })
}

/// Complains of names that are no Switch's.
fn unknown(fleet: &Fleet, names: &[String]) -> Option<u8> {
    let there = |name: &&String| fleet.switches.iter().any(|switch| switch.name == **name);
    let missing: Vec<&str> = names.iter().filter(|name| !there(name)).map(String::as_str).collect();
    if missing.is_empty() {
        return None;
    }
    eprintln!("switchlet: there is no Switch {}", missing.join(", "));
    Some(BLIND)
}

pub(super) async fn run_explain(args: ExplainArgs) -> anyhow::Result<u8> {
    let ExplainArgs { fleet: args, target } = args;
    let Clients { calls: client, namespace, .. } = connected(&args).await?;
    let prefix = match target.parse::<Prefix>() {
        Ok(prefix) => Some(prefix),
        Err(error)
            if target.contains('/')
                && target.split('/').next_back().is_some_and(|len| len.parse::<u8>().is_ok()) =>
        {
            eprintln!("switchlet: {error}");
            return Ok(USAGE);
        }
        Err(_) => None,
    };
    let fleet = read(&client, &args).await?;
    let nodes = fleet.nodes.clone().unwrap_or_default();
    let mut remarks: Vec<String> =
        fleet.nodes.as_ref().err().map(|why| format!("Nodes could not be read: {why}")).into_iter().collect();
    let (prefixes, names): (BTreeSet<Prefix>, BTreeSet<String>) = match prefix {
        Some(prefix) => {
            let mut names: BTreeSet<String> = fleet.vip(prefix).services.into_iter().collect();
            if prefix.is_host() {
                match fleet::services_with(&client, &prefix.address().to_string()).await {
                    Ok(found) => names.extend(found),
                    Err(error) => remarks.push(chain(&error)),
                }
            }
            (BTreeSet::from([prefix]), names)
        }
        None => {
            let name = if target.contains('/') { target.clone() } else { format!("{namespace}/{target}") };
            let listed: BTreeSet<Prefix> = fleet.prefixes_of(&target).into_iter().collect();
            let mut names: BTreeSet<String> = listed
                .iter()
                .flat_map(|prefix| fleet.vip(*prefix).services)
                .filter(|found| is_named(found, &target))
                .collect();
            if names.is_empty() {
                names.insert(name);
            }
            (listed, names)
        }
    };
    let mut prefixes = prefixes;
    let mut services: Vec<ServiceSeen> = Vec::new();
    for name in &names {
        let Some((namespace, name)) = name.split_once('/') else { continue };
        match fleet::service(&client, namespace, name, &nodes).await {
            Ok(Some(found)) => services.push(found),
            Ok(None) => remarks.push(format!("there is no Service {namespace}/{name}")),
            Err(error) => remarks.push(chain(&error)),
        }
    }
    if prefix.is_none() {
        let addresses = services.iter().flat_map(|service| &service.addresses);
        prefixes.extend(addresses.filter_map(|address| address.parse::<IpAddr>().ok()).map(Prefix::host));
    }
    let names: Vec<String> = services.iter().map(|service| service.service.clone()).collect();
    let vips: Vec<Explained> = prefixes.iter().map(|prefix| fleet.explain(*prefix, &names)).collect();
    let verdict = verdict(&fleet, &prefixes);
    let explanation = show::Explanation { services, vips, remarks };
    print(&match args.output {
        Output::Table => show::explained(&explanation, fleet.now),
        output => structured(&explanation, output)?,
    })
    .context("printing")?;
    Ok(code(verdict))
}

fn is_named(service: &str, target: &str) -> bool {
    service == target || service.split('/').next_back() == Some(target)
}

/// Differs if it differs somewhere; unknown if nobody was found who could tell.
fn verdict(fleet: &Fleet, prefixes: &BTreeSet<Prefix>) -> Word {
    let rows: Vec<VipRow> = prefixes.iter().map(|prefix| fleet.vip(*prefix)).collect();
    if rows.iter().any(VipRow::differs) {
        Word::Differs
    } else if rows.is_empty() || rows.iter().any(|row| !row.is_told()) {
        Word::Unknown
    } else {
        Word::Ok
    }
}
