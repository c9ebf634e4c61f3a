//! What deriving depends on the NOS for: its templates, the name of its literal text, and what its texts cannot say.
//!
//! One value for each NOS, chosen once. All of it is pure; what speaks to the switch is the driver.

use std::collections::BTreeMap;

use crate::change::dialect::{frr, srlinux};
use crate::change::diff::{Candidate, Refusal};
use crate::intent::literal::{self, Literal};
use crate::intent::platform::{Platform, Resilience};
use crate::intent::render::{self, BuiltIn};
use crate::intent::settings::{PeerAsn, PeeringMode, SwitchSettings};
use crate::intent::snapshot::Issue;
use crate::intent::yaml::Mistake;

#[cfg(test)]
mod tests;

/// Texts by placeholder, or the reverse.
type Secrets = BTreeMap<String, String>;

/// A candidate, and what it lacks because the platform does not take it.
pub type Fitted = (Candidate, Vec<Issue>);

/// One NOS, as far as texts are concerned.
#[derive(Debug, Clone, Copy)]
pub struct Language {
    /// As in `spec.nos`.
    pub nos: &'static str,
    /// The owner of its text.
    pub owner: &'static str,
    /// The name of its literal text in a bundle.
    pub literal: &'static str,
    /// Its templates.
    pub built_in: &'static [BuiltIn],
    /// What is known of the platform, given what the switch told and the settings assume.
    pub platform: fn(&Platform, &SwitchSettings) -> Platform,
    /// Why these settings cannot be said in it on this platform.
    pub unfit: fn(&SwitchSettings, &Platform) -> Option<Unfit>,
    /// Takes a literal text. The first map holds the secrets that it may name, the second those that stood in clear before.
    pub take: fn(&str, &Secrets, &Secrets) -> Result<Literal, Mistake>,
    /// A candidate as this platform takes it, with what had to be left out; or why it takes none of it.
    pub fit: fn(Candidate, &Platform) -> Result<Fitted, Refusal>,
    /// What these settings ask for and this platform does not do: shown, and nothing turns because of it.
    pub remarks: fn(&SwitchSettings, &Platform) -> Vec<Issue>,
}

/// Why settings cannot be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// A field asks for what this NOS does not have.
    Unsupported {
        /// Which one.
        field: &'static str,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// A field has a value that this NOS does not take, or lacks one that it needs.
    Wrong {
        /// Which one.
        field: &'static str,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// The switch has not told what it is.
    Unknown(String),
}

/// FRR on Linux.
pub const FRR: Language = Language {
    nos: "frr",
    owner: frr::OWNER,
    literal: literal::FRR,
    built_in: render::FRR,
    platform: |told, _| told.clone(),
    unfit: frr_unfit,
    take: literal::frr,
    fit: |candidate, _| Ok((candidate, Vec::new())),
    remarks: |_, _| Vec::new(),
};

/// Nokia SR Linux.
pub const SRLINUX: Language = Language {
    nos: "srlinux",
    owner: srlinux::OWNER,
    literal: literal::SRLINUX,
    built_in: render::SRLINUX,
    platform: |told, settings| srlinux::release::assumed(told, settings.assume.as_ref()),
    unfit: srlinux_unfit,
    take: literal::srlinux,
    fit: srlinux_fit,
    remarks: srlinux_remarks,
};

fn unsupported(field: &'static str, problem: impl Into<String>) -> Unfit {
    Unfit::Unsupported { field, problem: problem.into() }
}

fn frr_unfit(settings: &SwitchSettings, _: &Platform) -> Option<Unfit> {
    if settings.network_instance != "default" {
        let problem =
            format!("{} cannot be verified on this NOS yet (expected default)", settings.network_instance);
        return Some(unsupported("networkInstance", problem));
    }
    if settings.preference.is_some() {
        return Some(unsupported("preference", "is not set on FRR (expected none)"));
    }
    if settings.assume.is_some() {
        return Some(unsupported("assume", "is not needed on FRR (expected none)"));
    }
    None
}

fn srlinux_unfit(settings: &SwitchSettings, platform: &Platform) -> Option<Unfit> {
    use srlinux::release::{Unwritable, grammar};
    match grammar(platform.release) {
        Ok(_) => {}
        Err(why @ Unwritable::Unknown) => {
            return Some(Unfit::Unknown(format!("{why} (or set assume.release)")));
        }
        Err(why @ Unwritable::TooOld(_)) => return Some(unsupported("assume.release", why.to_string())),
        Err(why @ Unwritable::TooNew(_)) => {
            return Some(unsupported("assume.release", format!("{why} (set it to 25.3 to write that)")));
        }
    }
    let peering = &settings.peering;
    if settings.router_id.is_none() {
        let problem = "is missing (SR Linux chooses none in a network instance)".to_owned();
        return Some(Unfit::Wrong { field: "routerId", problem });
    }
    if peering.mode == PeeringMode::Static && peering.peer_asn == PeerAsn::External {
        let problem = "external is no number, and SR Linux needs one for a neighbour (expected a number, or mode: listen)";
        return Some(Unfit::Wrong { field: "peering.peerAsn", problem: problem.to_owned() });
    }
    let addressed = |neighbor: &str| neighbor.parse::<std::net::IpAddr>().is_ok();
    if settings.uplinks.iter().any(|up| addressed(&up.neighbor) && up.peer_asn == PeerAsn::External) {
        let problem =
            "external is no number, and SR Linux needs one for a neighbour (expected a number)".to_owned();
        return Some(Unfit::Wrong { field: "uplinks", problem });
    }
    if peering.password_file.is_some() {
        return Some(unsupported(
            "peering.passwordFile",
            "cannot be read back on SR Linux, which gives passwords encrypted (expected none; a keychain may stand in a template)",
        ));
    }
    let communities = &settings.communities;
    if !communities.wanted.is_empty() || !communities.add.is_empty() {
        return Some(unsupported("communities", "are not written for SR Linux yet (expected none)"));
    }
    None
}

fn srlinux_fit(candidate: Candidate, platform: &Platform) -> Result<Fitted, Refusal> {
    let mut candidate = candidate;
    let mut issues = Vec::new();
    let Some(text) = candidate.texts.get(srlinux::OWNER) else { return Ok((candidate, issues)) };
    let mut document: serde_json::Value = serde_json::from_str(text).map_err(|error| Refusal::Rule {
        path: if candidate.literal.is_empty() { "srlinux.json.tera" } else { literal::SRLINUX }.to_owned(),
        problem: format!("gives no JSON: {error}"),
    })?;
    if let Some(cause @ (Resilience::UnsupportedPlatform | Resilience::UnknownPlatform)) = platform.resilience
    {
        let chassis = platform.chassis_name();
        issues.extend(srlinux::rules::without_resilience(&mut document).into_iter().map(|prefix| {
            Issue::new(
                format!("resilient-hash-prefix {prefix}"),
                "ResilienceMissing",
                format!("{cause:?}: left out, {chassis} has no resilient groups as far as is known"),
            )
        }));
    }
    srlinux::rules::check(&document, platform).map_err(|refusal| in_its_line(refusal, &candidate))?;
    candidate.texts.insert(srlinux::OWNER.to_owned(), srlinux::write(&document));
    Ok((candidate, issues))
}

/// With the place in front, where a person wrote the text.
fn in_its_line(refusal: Refusal, candidate: &Candidate) -> Refusal {
    match (refusal, candidate.literal.get(srlinux::OWNER)) {
        (Refusal::Rule { path, problem }, Some(text)) => {
            let line = srlinux::line_of(text, &path);
            Refusal::Rule { path: format!("{}:{line}: {path}", literal::SRLINUX), problem }
        }
        (other, _) => other,
    }
}

fn srlinux_remarks(settings: &SwitchSettings, platform: &Platform) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut say = |field: &str, reason, message: String| {
        issues.push(Issue::new(format!("switch.yaml {field}"), reason, message));
    };
    if settings.peering.bfd.is_some() {
        let message = "SR Linux has BFD's interval and multiplier on the subinterface, which is not ours: \
                       enable-bfd is set, the timers are as they are there";
        say("peering.bfd", "BfdTimersElsewhere", message.to_owned());
    }
    if let (Some(_), Some(cause @ (Resilience::UnsupportedPlatform | Resilience::UnknownPlatform))) =
        (&settings.resilient_hash, platform.resilience)
    {
        let chassis = platform.chassis_name();
        say("resilientHash", "ResilienceMissing", format!("{cause:?}: {chassis}; none is configured"));
    }
    if let (Some(hash), Some(Resilience::Native), Some(ceilings)) =
        (&settings.resilient_hash, platform.resilience, platform.ceilings)
    {
        let wanted = (hash.max_paths, hash.buckets_per_path);
        let fits = ceilings.group(wanted.0, wanted.1);
        if fits != wanted {
            let chassis = platform.chassis_name();
            let message = format!(
                "{} next-hops with {} buckets each are more than a group of {chassis} has ({} next-hops, {} buckets); {} with {} are configured",
                wanted.0, wanted.1, ceilings.resilient_paths, ceilings.buckets, fits.0, fits.1
            );
            say("resilientHash", "ResilienceCapped", message);
        }
    }
    issues
}
