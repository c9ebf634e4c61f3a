//! What templates see, described: each name with its type and meaning. The README's table is made from this, and a test
//! holds it against the code.

use serde::Serialize;
use serde_json::Value;

/// One name of the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The path; `[]` stands for any element of a list.
    pub path: &'static str,
    /// `text`, `number`, `boolean`, or `anything`.
    pub kind: &'static str,
    /// Where it comes from, and what it means.
    pub meaning: &'static str,
}

const fn named(path: &'static str, kind: &'static str, meaning: &'static str) -> Named {
    Named { path, kind, meaning }
}

/// All names, in the order of the context.
pub const NAMES: &[Named] = &[
    named("switch", "text", "name of the Node that is this switch"),
    named("asn", "number", "`asn`"),
    named("routerId", "text", "`routerId`; empty if absent"),
    named("networkInstance", "text", "`networkInstance`"),
    named("peerAsn", "text", "`peering.peerAsn`: external, internal or a number"),
    named("internal", "boolean", "the speakers are in our own AS"),
    named(
        "neighbors[].node",
        "text",
        "name of a Node that peers; one entry for each of its addresses, none in mode listen",
    ),
    named("neighbors[].peer", "text", "its address, or our interface towards it"),
    named("neighbors[].unnumbered", "boolean", "`peer` is an interface"),
    named(
        "neighbors[].carries.v4",
        "boolean",
        "the session carries IPv4: its address is IPv4, or it is unnumbered",
    ),
    named("neighbors[].carries.v6", "boolean", "the same for IPv6"),
    named("listenRanges[]", "text", "`peering.nodes.subnets` in mode listen"),
    named("groupCarries.v4", "boolean", "false if only IPv6 can come in by the listen ranges"),
    named("groupCarries.v6", "boolean", "false if only IPv4 can come in by the listen ranges"),
    named("uplinks[].peer", "text", "address of a router of the fabric, or our interface towards it"),
    named("uplinks[].unnumbered", "boolean", "`peer` is an interface"),
    named("uplinks[].peerAsn", "text", "external, internal or a number"),
    named("uplinks[].carries.v4", "boolean", "as for neighbors"),
    named("uplinks[].carries.v6", "boolean", "as for neighbors"),
    named(
        "communities.match.standard[]",
        "text",
        "`communities.match`, those of two numbers or with a name, sorted",
    ),
    named("communities.match.large[]", "text", "`communities.match`, those of three numbers, sorted"),
    named("communities.add.standard[]", "text", "`communities.add`, likewise"),
    named("communities.add.large[]", "text", "`communities.add`, likewise"),
    named("imports[].seq", "number", "sequence number of an entry of the import policy"),
    named("imports[].family", "text", "v4 or v6"),
    named(
        "imports[].community",
        "text",
        "community, large-community, or empty: what the entry must match beside the prefix",
    ),
    named("timers.hold", "number", "seconds"),
    named("timers.keepalive", "number", "seconds"),
    named("bfd.enabled", "boolean", "`peering.bfd` is there"),
    named("bfd.interval", "number", "milliseconds"),
    named("bfd.multiplier", "number", ""),
    named("maxPrefixes", "number", "`peering.maxPrefixes`"),
    named("password", "text", "a placeholder for the password; empty without `peering.passwordFile`"),
    named("maxPaths", "number", "`ecmp.maxPaths`"),
    named("multipath", "number", "`ecmp.maxPaths`, as far as the chassis takes it (SR Linux)"),
    named("preference", "number", "`preference`; 0 if absent (SR Linux)"),
    named("grammar", "text", "A, B or C: which leaves the release of SR Linux knows; empty on another NOS"),
    named("prefixLimit", "text", "how the release of SR Linux names the limit"),
    named("addressFamilies[]", "text", "the families with a pool, as SR Linux's model names them"),
    named("peerAs", "number", "`peering.peerAsn` as a number; 0 for any other than ours"),
    named("peerAsRanges[]", "text", "the same as ranges: `65001`, or all but ours"),
    named("addressed[].peer", "text", "address of a node or uplink (SR Linux)"),
    named("addressed[].group", "text", "the group it belongs to"),
    named("addressed[].peerAs", "number", "an uplink's AS; 0 where the group says it"),
    named(
        "addressed[].without",
        "text",
        "the family that such an address does not carry; empty with one family",
    ),
    named("unnumbered[].peer", "text", "subinterface towards a node or uplink (SR Linux)"),
    named("unnumbered[].group", "text", "the group it belongs to"),
    named("unnumbered[].ranges[]", "text", "AS numbers that may come, as ranges"),
    named("guarded.deny[].prefix", "text", "protected prefixes (SR Linux)"),
    named("guarded.deny[].lengths", "text", "`24..32`, or `exact` for a host prefix"),
    named("guarded.permit[].prefix", "text", "the pools (SR Linux)"),
    named("guarded.permit[].lengths", "text", "`32..32`, or `exact` for a host prefix"),
    named("resilientHash.enabled", "boolean", "`resilientHash` is there"),
    named("resilientHash.maxPaths", "number", "0 if not enabled"),
    named("resilientHash.bucketsPerPath", "number", "0 if not enabled"),
    named("resilientHash.native", "boolean", "it is wanted, and this NOS has it on this chassis"),
    named(
        "resilientHash.prefixes[]",
        "text",
        "the prefixes it is wanted for: the minimal cover of the pools, or the list",
    ),
    named(
        "resilientHash.groupPaths",
        "number",
        "next-hops a group is sized for: at least the nodes, at most what the chassis takes",
    ),
    named("resilientHash.groupBuckets", "number", "hash buckets for each of them, likewise"),
    named("resilientHash.inZebra", "boolean", "it is wanted, and this release of zebra has it"),
    named("resilientHash.buckets", "number", "of a group; 0 if not enabled"),
    named("release", "text", "FRR's release as far as it is known, `10.3`; else empty"),
    named("pools[]", "text", "`vips.pools` as prefixes: ranges are replaced by their minimal cover"),
    named("protected[]", "text", "`vips.protected`"),
    named("families.v4", "boolean", "there is an IPv4 pool"),
    named("families.v6", "boolean", "there is an IPv6 pool"),
    named(
        "filter.v4[].seq",
        "number",
        "the import filter: protected prefixes denied, then host routes of the pools",
    ),
    named("filter.v4[].action", "text", "deny or permit"),
    named("filter.v4[].prefix", "text", ""),
    named("filter.v4[].range", "text", "` ge 32`, ` le 32`, or empty for a host prefix"),
    named("filter.v6[].seq", "number", "the same for IPv6"),
    named("filter.v6[].action", "text", ""),
    named("filter.v6[].prefix", "text", ""),
    named("filter.v6[].range", "text", ""),
    named("vars", "anything", "`vars`"),
];

/// A name of the context with the value that it has for given inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The path, with the numbers of elements.
    pub path: String,
    /// `text`, `number`, `boolean`, `list` or `map`; the latter two only where they are empty.
    pub r#type: &'static str,
    /// The value.
    pub value: Value,
}

/// Every value of `context`, by its path. Secrets are placeholders there already.
pub fn explain(context: &Value) -> Vec<Explained> {
    let mut all = Vec::new();
    walk(context, String::new(), &mut all);
    all
}

fn walk(value: &Value, path: String, all: &mut Vec<Explained>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, path, all);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                walk(item, format!("{path}[{index}]"), all);
            }
        }
        value => all.push(Explained { path, r#type: kind(value), value: value.clone() }),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
        Value::Null => "nothing",
    }
}

/// The table of all names, in Markdown.
pub fn table() -> String {
    let row = |Named { path, kind, meaning }: &Named| format!("| `{path}` | {kind} | {meaning} |\n");
    let rows: Vec<String> = NAMES.iter().map(row).collect();
    format!("| name | type | |\n|---|---|---|\n{}", rows.concat())
}

/// `a[3].b` as it stands in [`NAMES`]: `a[].b`.
pub fn general(path: &str) -> String {
    let mut general = String::with_capacity(path.len());
    let mut within = false;
    for c in path.chars() {
        within = within && c != ']';
        if !within {
            general.push(c);
        }
        within |= c == '[';
    }
    general
}
