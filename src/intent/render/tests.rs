use super::*;
use crate::intent::settings;
use crate::net::NextHop;

fn settings_with(extra: &str) -> SwitchSettings {
    settings::parse(&format!(
        "version: 1\nasn: 65001\nrouterId: 10.0.0.1\nvips: {{pools: [203.0.113.0/24, \"2001:db8::/64\"], protected: [203.0.113.0/28]}}\n\
         peering: {{peerAsn: external, nodes: {{selector: {{}}, subnets: [192.168.1.0/24]}}}}\n{extra}"
    ))
    .unwrap()
}

fn peers(pairs: &[(&str, &str)]) -> Peers {
    let mut peers = Peers::new();
    for (node, hop) in pairs {
        peers.entry((*node).to_owned()).or_default().insert(hop.parse::<NextHop>().unwrap());
    }
    peers
}

fn rendered(settings: &SwitchSettings, peers: &Peers, bundle: &Bundle) -> Result<String, Mistake> {
    let texts = Texts { bundle, built_in: FRR };
    render(&job("leaf1", settings, peers, &Platform::default(), texts))
        .map(|candidate| candidate.texts["frr"].clone())
}

#[test]
fn the_built_in_template_is_free_of_foreign_lines_and_holes() {
    let text =
        rendered(&settings_with(""), &peers(&[("w1", "192.168.1.11"), ("w2", "%swp7")]), &Bundle::default())
            .unwrap();
    for line in [
        "ip prefix-list SWITCHLET-VIPS-V4 seq 10 deny 203.0.113.0/28 le 32",
        "ip prefix-list SWITCHLET-VIPS-V4 seq 20 permit 203.0.113.0/24 ge 32",
        "ipv6 prefix-list SWITCHLET-VIPS-V6 seq 10 permit 2001:db8::/64 ge 128",
        " neighbor 192.168.1.11 peer-group SWITCHLET-SPEAKERS",
        " neighbor swp7 interface peer-group SWITCHLET-SPEAKERS",
        "  maximum-paths 64",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(!text.lines().any(|line| line.trim().is_empty()), "no empty lines:\n{text}");
    let plan = crate::change::dialect::frr::plan("", &text, crate::change::dialect::frr::Known::default());
    assert!(plan.is_ok(), "{plan:?}");
}

#[test]
fn order_of_input_never_matters() {
    let settings = settings_with("");
    let forward =
        rendered(&settings, &peers(&[("a", "192.168.1.1"), ("b", "192.168.1.2")]), &Bundle::default());
    let backward =
        rendered(&settings, &peers(&[("b", "192.168.1.2"), ("a", "192.168.1.1")]), &Bundle::default());
    assert_eq!(forward, backward);
}

#[test]
fn a_template_of_the_bundle_replaces_the_built_in_one() {
    let texts = BTreeMap::from([("frr.conf.tera".to_owned(), "x {{ vars.n }} {{ asn }}\n".to_owned())]);
    let text = rendered(&settings_with("vars: {n: 7}"), &Peers::new(), &Bundle { texts }).unwrap();
    assert_eq!(text, "x 7 65001\n");
}

#[test]
fn a_template_of_the_bundle_extends_the_built_in_one_by_its_blocks() {
    let own = "{% extends \"builtin/frr.conf.tera\" %}\n\
               {% block policies %}{{ super() }}route-map SWITCHLET-FROM-SPEAKERS permit 30\n match tag {{ vars.tag }}\nexit\n!\n{% endblock %}\n\
               {% block speakers %}{{ super() }}\n neighbor SWITCHLET-SPEAKERS description {{ vars.tag }}{% endblock %}\n";
    let texts = BTreeMap::from([("frr.conf.tera".to_owned(), own.to_owned())]);
    let settings = settings_with("vars: {tag: 7}");
    let text = rendered(&settings, &Peers::new(), &Bundle { texts }).unwrap();
    let plain = rendered(&settings, &Peers::new(), &Bundle::default()).unwrap();
    let mut own_lines: Vec<&str> =
        text.lines().filter(|line| !plain.lines().any(|other| other == *line)).collect();
    own_lines.sort_unstable();
    assert_eq!(
        own_lines,
        [
            " match tag 7",
            " neighbor SWITCHLET-SPEAKERS description 7",
            "route-map SWITCHLET-FROM-SPEAKERS permit 30"
        ]
    );
    assert_eq!(text.lines().count(), plain.lines().count() + 5, "no line is lost, none is empty:\n{text}");
}

#[test]
fn a_mistake_in_a_template_has_file_line_and_column() {
    let bad = |text: &str| {
        let texts = BTreeMap::from([("frr.conf.tera".to_owned(), text.to_owned())]);
        rendered(&settings_with(""), &Peers::new(), &Bundle { texts }).unwrap_err()
    };
    let mistake = bad("a\n  {{ asm }}\n");
    assert_eq!((mistake.file.as_str(), mistake.at), ("frr.conf.tera", Some((2, 6))), "{mistake}");
    assert_eq!(bad("a\n{% if %}").at.map(|(line, _)| line), Some(2));
    assert!(bad("{% include \"nothing.tera\" %}").problem.contains("nothing.tera"));
    assert!(bad("{{ \"\\r\" }}").problem.contains("control character"), "{}", bad("{{ \"\\r\" }}"));
}

#[test]
fn a_secret_is_a_placeholder() {
    let mut settings = settings_with("");
    settings.peering.password_file = Some("speakers".to_owned());
    let text = rendered(&settings, &Peers::new(), &Bundle::default()).unwrap();
    assert!(text.contains(" neighbor SWITCHLET-SPEAKERS password <secret:speakers>\n"));
}

/// The description of the context against the context itself, both ways, and the README against the description.
#[test]
fn the_context_is_described_as_it_is() {
    let settings = settings_with(
        "resilientHash: {maxPaths: 6, bucketsPerPath: 4}\nuplinks: [{neighbor: 10.0.0.9, peerAsn: external}]\n\
         communities: {match: [\"1:1\", \"1:1:1\"], add: [\"1:1\", \"1:1:1\"]}\nvars: {a: 1}",
    );
    let mut value =
        shape(&context("leaf1", &settings, &peers(&[("w1", "192.168.1.11")]), &Platform::default()));
    value["vars"] = json!({});
    let found: Vec<(String, &str)> = context::explain(&value)
        .into_iter()
        .map(|leaf| {
            (context::general(&leaf.path), if leaf.path == "vars" { "anything" } else { leaf.r#type })
        })
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let described: BTreeSet<(String, &str)> =
        context::NAMES.iter().map(|name| (name.path.to_owned(), name.kind)).collect();
    assert_eq!(found, described.into_iter().collect::<Vec<_>>());
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(&context::table()), "README.md must have this table:\n{}", context::table());
}
