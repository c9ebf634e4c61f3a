//! What is missing before an agent can do its work: each thing that was looked at, how it stands, and what to do. Pure: the shell
//! brings what it found, here is what that means.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::health::Word;

#[cfg(test)]
mod tests;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What.
    pub check: String,
    /// How it stands.
    pub stands: Stands,
    /// What was found.
    pub found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// As it should be.
    Ok,
    /// The agent works, and less well.
    Warn,
    /// Nobody could look.
    CouldNotLook,
    /// The agent cannot do its work.
    Fail,
}

impl Check {
    /// As it should be.
    pub fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), stands: Stands::Ok, found: found.into(), remedy: None }
    }

    /// The agent works, and less well.
    pub fn warn(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), stands: Stands::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The agent cannot do its work.
    pub fn fail(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), stands: Stands::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Nobody could look.
    pub fn blind(check: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            stands: Stands::CouldNotLook,
            found: why.into(),
            remedy: Some(remedy.into()),
        }
    }
}

/// All in one word: fails, else could not look, else fine. A warning is no reason to stop.
pub fn word(checks: &[Check]) -> Word {
    let has = |stands: Stands| checks.iter().any(|check| check.stands == stands);
    if has(Stands::Fail) {
        Word::Differs
    } else if has(Stands::CouldNotLook) || checks.is_empty() {
        Word::Unknown
    } else {
        Word::Ok
    }
}

/// One right of the agent: group, resource, subresource, verb, and whether in the Switch's namespace or everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, `nodes`.
    pub resource: &'static str,
    /// `status`, or empty.
    pub subresource: &'static str,
    /// `get`.
    pub verb: &'static str,
    /// In every namespace.
    pub everywhere: bool,
}

/// Every right that the agent needs; a test holds it against the manifest.
pub fn rights() -> Vec<Right> {
    let read: &[&str] = &["get", "list", "watch"];
    let follow: &[&str] = &["list", "watch"];
    let all: [(&str, &str, &str, &[&str], bool); 15] = [
        ("", "nodes", "", read, true),
        ("", "services", "", read, true),
        ("discovery.k8s.io", "endpointslices", "", read, true),
        ("metallb.io", "ipaddresspools", "", follow, true),
        ("metallb.io", "bgpadvertisements", "", follow, true),
        ("metallb.io", "bgppeers", "", follow, true),
        ("metallb.io", "communities", "", follow, true),
        ("metallb.io", "configurationstates", "", follow, true),
        ("apiextensions.k8s.io", "customresourcedefinitions", "", follow, true),
        ("", "nodes", "status", &["patch"], true),
        ("events.k8s.io", "events", "", &["create", "patch"], true),
        ("", "configmaps", "", read, false),
        ("switchlet.io", "switches", "", read, false),
        ("switchlet.io", "switches", "status", &["patch"], false),
        ("coordination.k8s.io", "leases", "", &["get", "list", "watch", "create", "update"], false),
    ];
    all.into_iter()
        .flat_map(|(group, resource, subresource, verbs, everywhere)| {
            verbs.iter().map(move |verb| Right { group, resource, subresource, verb, everywhere })
        })
        .collect()
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, resource, subresource, verb, everywhere: _ } = self;
        let slash = if subresource.is_empty() { "" } else { "/" };
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}{slash}{subresource}")
    }
}

/// The rights, by who has been asked about each; an error is why nobody could ask.
pub fn permitted(answers: &[(Right, Result<bool, String>)]) -> Check {
    const CHECK: &str = "RBAC";
    if let Some(why) = answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
        return Check::blind(CHECK, why.clone(), "let it create a selfsubjectaccessreview");
    }
    let missing: Vec<String> = answers
        .iter()
        .filter(|(_, answer)| *answer == Ok(false))
        .map(|(right, _)| right.to_string())
        .collect();
    if missing.is_empty() {
        return Check::ok(CHECK, format!("{} of {} rights", answers.len(), answers.len()));
    }
    Check::fail(
        CHECK,
        format!("may not: {}", missing.join(", ")),
        "kubectl apply -f manifests/rbac.yaml, and its ServiceAccount",
    )
}

/// The Switch's schema as the API server has it (its `OpenAPI` document), against the fields that this release writes.
pub fn schema(document: &Value, ours: &[&str]) -> Check {
    const CHECK: &str = "CRD switches.switchlet.io";
    let remedy = "switchlet crds | kubectl apply -f -";
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    let status = schemas.into_iter().flatten().find_map(|(name, schema)| {
        name.ends_with(".Switch").then(|| schema.pointer("/properties/status/properties")).flatten()
    });
    let Some(status) = status.and_then(Value::as_object) else {
        return Check::fail(CHECK, "there is none with a status", remedy);
    };
    let missing: Vec<&str> = ours.iter().copied().filter(|field| !status.contains_key(*field)).collect();
    if missing.is_empty() {
        return Check::ok(CHECK, "v1alpha1, with all fields that this release writes");
    }
    Check::fail(CHECK, format!("of another release: status has no {}", missing.join(", ")), remedy)
}

/// MetalLB's `BGPPeer` as the API server has it. One whose AS numbers have an upper bound that their format cannot hold is refused
/// whole by Kubernetes 1.36.
pub fn metallb(document: &Value, minor: Option<u32>) -> Check {
    const CHECK: &str = "MetalLB's CRDs";
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object);
    let peers: Vec<&Value> = schemas
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.ends_with(".BGPPeer"))
        .map(|(_, schema)| schema)
        .collect();
    if peers.is_empty() {
        return Check::blind(
            CHECK,
            "its document has no BGPPeer",
            "look at kubectl get crd bgppeers.metallb.io",
        );
    }
    let narrow = peers.iter().any(|schema| {
        ["myASN", "peerASN"].iter().any(|field| {
            let number = |key: &str| schema.pointer(&format!("/properties/spec/properties/{field}/{key}"));
            let beyond =
                number("maximum").and_then(Value::as_f64).is_some_and(|most| most > f64::from(i32::MAX));
            number("format").and_then(Value::as_str) == Some("int32") && beyond
        })
    });
    let remedy = "upgrade MetalLB to 0.16, or say int64 where its CRDs say int32 for AS numbers";
    match (narrow, minor) {
        (false, _) => Check::ok(CHECK, "AS numbers fit"),
        (true, Some(minor)) if minor >= 36 => {
            Check::fail(CHECK, "older than 0.16: this API server stores no BGPPeer", remedy)
        }
        (true, _) => Check::warn(CHECK, "older than 0.16: Kubernetes 1.36 will store no BGPPeer", remedy),
    }
}

/// How far this clock is from the API server's, in seconds; both have whole ones.
pub fn clock(offset: i64) -> Check {
    const CHECK: &str = "clock";
    if offset.abs() <= 2 {
        return Check::ok(CHECK, "agrees with the API server's to two seconds");
    }
    let way = if offset < 0 { "behind" } else { "ahead of" };
    let found = format!("{} s {way} the API server's", offset.abs());
    let remedy = "synchronise it (chrony, systemd-timesyncd): heartbeats, Events and budgets carry its times";
    if offset.abs() > 60 { Check::fail(CHECK, found, remedy) } else { Check::warn(CHECK, found, remedy) }
}

/// What a switch's kernel is to be set to.
pub struct Setting {
    /// Below `/proc/sys`.
    pub name: &'static str,
    good: fn(i64) -> bool,
    stands: Stands,
    why: &'static str,
    wanted: &'static str,
}

/// The kernel's settings that matter.
pub const SETTINGS: [Setting; 7] = [
    Setting {
        name: "net.ipv4.ip_forward",
        good: |value| value == 1,
        stands: Stands::Fail,
        why: "nothing is forwarded",
        wanted: "1",
    },
    Setting {
        name: "net.ipv6.conf.all.forwarding",
        good: |value| value == 1,
        stands: Stands::Warn,
        why: "no IPv6 is forwarded",
        wanted: "1",
    },
    Setting {
        name: "net.ipv4.fib_multipath_hash_policy",
        good: |value| value >= 1,
        stands: Stands::Warn,
        why: "all flows between two hosts take one way",
        wanted: "1",
    },
    Setting {
        name: "net.ipv6.fib_multipath_hash_policy",
        good: |value| value >= 1,
        stands: Stands::Warn,
        why: "all flows between two hosts take one way",
        wanted: "1",
    },
    Setting {
        name: "net.ipv4.conf.all.ignore_routes_with_linkdown",
        good: |value| value == 1,
        stands: Stands::Warn,
        why: "a way whose carrier is lost is used until the routing daemon has noticed",
        wanted: "1",
    },
    Setting {
        name: "net.ipv6.conf.all.ignore_routes_with_linkdown",
        good: |value| value == 1,
        stands: Stands::Warn,
        why: "a way whose carrier is lost is used until the routing daemon has noticed",
        wanted: "1",
    },
    Setting {
        name: "net.ipv4.conf.all.rp_filter",
        good: |value| value != 1,
        stands: Stands::Warn,
        why: "answers that come by another way than the question are dropped",
        wanted: "0",
    },
];

impl Setting {
    /// What its text in `/proc/sys` means; an error is why it could not be read.
    pub fn judge(&self, text: Result<&str, String>) -> Check {
        let Self { name, good, stands, why, wanted } = self;
        let check = format!("sysctl {name}");
        let remedy = format!("sysctl -w {name}={wanted}, and in /etc/sysctl.d");
        let value = match text.map(|text| text.trim().parse::<i64>()) {
            Err(why) => return Check::blind(check, why, "is it a kernel without it?"),
            Ok(Err(error)) => return Check::blind(check, error.to_string(), "is it a kernel without it?"),
            Ok(Ok(value)) => value,
        };
        if good(value) {
            return Check::ok(check, value.to_string());
        }
        Check { check, stands: *stands, found: format!("{value}: {why}"), remedy: Some(remedy) }
    }
}

/// A taint of a Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its effect.
    pub effect: String,
}

/// The taint that keeps ordinary pods away from a switch.
pub const TAINT: &str = "switchlet.io/switch";
/// Parts of names of pods that must not run on a switch, and what they would do there.
const STRANGERS: [(&str, &str); 10] = [
    ("kube-proxy", "it answers for Service addresses itself"),
    ("speaker", "it announces Service addresses itself"),
    ("metallb", "it announces Service addresses itself"),
    ("frr-k8s", "it configures an FRR of its own"),
    ("cilium", "it programs the data path"),
    ("calico-node", "it programs routes"),
    ("kube-router", "it programs routes"),
    ("flannel", "it programs routes"),
    ("kindnet", "it programs routes"),
    ("kube-vip", "it announces Service addresses itself"),
];

/// The switch's Node keeps ordinary pods away.
pub fn tainted(taints: &[Taint], is_switch: bool) -> Vec<Check> {
    let mut checks = Vec::new();
    let label = "Node's label switchlet.io/switch";
    checks.push(if is_switch {
        Check::ok(label, "true")
    } else {
        Check::fail(
            label,
            "not \"true\": the DaemonSet puts no agent here",
            "kubectl label node NODE switchlet.io/switch=true",
        )
    });
    let keeps = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let check = "Node's taint";
    checks.push(match taints.iter().filter(keeps).find(|taint| taint.key == TAINT) {
        Some(taint) => Check::ok(check, format!("{}:{}", taint.key, taint.effect)),
        None => Check::warn(
            check,
            "ordinary pods may be put on the switch",
            format!("kubectl taint node NODE {TAINT}=:NoExecute"),
        ),
    });
    checks
}

/// Pods that run on the switch, as `NAMESPACE/NAME`.
pub fn strangers(pods: &[String]) -> Check {
    const CHECK: &str = "pods on the Node";
    let strange: Vec<String> = pods
        .iter()
        .filter_map(|pod| {
            let name = pod.split('/').next_back().unwrap_or(pod);
            let found = STRANGERS.iter().find(|(part, _)| name.contains(part));
            found.map(|(_, why)| format!("{pod} ({why})"))
        })
        .collect();
    if strange.is_empty() {
        return Check::ok(CHECK, format!("{}, none that touches forwarding", pods.len()));
    }
    Check::fail(
        CHECK,
        strange.join(", "),
        "give those DaemonSets the anti-selector switchlet.io/switch DoesNotExist (README, Placement)",
    )
}

/// The fields of a Switch's status, of the CRD that this release carries.
pub fn fields(crd: &Value) -> BTreeSet<String> {
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
    let status = crd.pointer(path).and_then(Value::as_object);
    status.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}
