use super::*;
use crate::intent::nexthops::Peers;
use crate::intent::platform::Platform;

const SETTINGS: &str = "\
version: 1
asn: 65001
vips: {pools: [203.0.113.0/24]}
peering:
  peerAsn: external
  bfd: {interval: 300ms}
  nodes: {selector: {}, subnets: [192.168.1.0/24]}
resilientHash: {maxPaths: 6, bucketsPerPath: 4}
vars:
  used: 1
  deep: {unused: 2, used: 3}
  list: [{x: 1}]
";

fn findings(texts: &[(&str, &str)]) -> Vec<String> {
    let mut texts: std::collections::BTreeMap<String, String> =
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    texts.insert(settings::FILE.to_owned(), SETTINGS.to_owned());
    let bundle = Bundle { texts };
    let job = {
        let texts = render::Texts { bundle: &bundle, built_in: render::FRR };
        render::job("leaf1", &settings::parse(SETTINGS).unwrap(), &Peers::new(), &Platform::default(), texts)
    };
    let all = unknown_names(&job).into_iter().chain(unused(&bundle, &job));
    all.map(|f| {
        format!("{}:{}:{}: {}: {}", f.file, f.line.unwrap_or(0), f.column.unwrap_or(0), f.rule, f.message)
    })
    .collect()
}

const UNUSED_HASH: &str = "switch.yaml:8:16: UnusedSetting: resilientHash is read by no template";

#[test]
fn variables_and_settings_that_nothing_reads_are_named() {
    let template = "{% extends \"builtin/frr.conf.tera\" %}{% block end %}{{ vars.used }}{{ vars.deep.used }}\
                    {% for item in vars.list %}{{ item.x }}{% endfor %}{% endblock %}";
    assert_eq!(
        findings(&[("frr.conf.tera", template)]),
        ["switch.yaml:11:18: UnusedVariable: vars.deep.unused is read by no template"]
    );
    let whole = "{% extends \"builtin/frr.conf.tera\" %}{% block end %}{% for k, v in vars %}{{ k }}{% endfor %}{% endblock %}";
    assert_eq!(findings(&[("frr.conf.tera", whole)]), Vec::<String>::new());
}

#[test]
fn a_replacement_that_forgets_a_setting_is_told_so() {
    let found = findings(&[(
        "frr.conf.tera",
        "router bgp {{ asn }}\n{{ vars }}{{ filter }}{{ neighbors }}{{ peerAsn }}\n",
    )]);
    assert_eq!(found, ["switch.yaml:6:8: UnusedSetting: peering.bfd is read by no template", UNUSED_HASH]);
}

#[test]
fn a_template_that_nothing_uses_is_named_and_its_mistakes_too() {
    let found = findings(&[
        ("other.tera", "{{ vars }}\n {{ asm }} {{ neighbors[0].pear }}"),
        ("used.tera", "{{ vars }}"),
    ]);
    assert_eq!(
        found[..2],
        [
            "other.tera:2:5: RenderFailed: `asm` is not defined (did you mean `asn`?)",
            "other.tera:2:15: RenderFailed: `neighbors.0.pear` is not defined (did you mean `peer`?)"
        ]
    );
    assert!(found.contains(
        &"other.tera:0:0: UnusedTemplate: is not used: no template includes or extends it".to_owned()
    ));
}

#[test]
fn places_are_taken_from_messages() {
    let finding = Finding::error("X", "switch.yaml:3:1: asn: duplicate key `asn`");
    assert_eq!((finding.file.as_str(), finding.line, finding.column), ("switch.yaml", Some(3), Some(1)));
    assert_eq!(finding.message, "asn: duplicate key `asn`");
    let finding = Finding::error("X", "frr.conf:7: `x` does not take effect: no");
    assert_eq!((finding.line, finding.column), (Some(7), None));
    let finding = Finding::error("X", "switch.yaml is missing in the bundle");
    assert_eq!(
        (finding.file.as_str(), finding.message.as_str()),
        ("bundle", "switch.yaml is missing in the bundle")
    );
}
