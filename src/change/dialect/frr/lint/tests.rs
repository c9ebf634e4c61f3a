use super::*;

const CLEAN: &str = "\
interface swp1
 ip address 10.1.1.1/31
exit
ip prefix-list IN seq 5 permit 10.0.0.0/8 le 32
route-map IN permit 10
 match ip address prefix-list IN
exit
router bgp 65001
 neighbor G peer-group
 neighbor G remote-as external
 neighbor 10.1.1.0 peer-group G
 neighbor 10.9.9.9 remote-as internal
 address-family ipv4 unicast
  neighbor G route-map IN in
  maximum-paths 64
 exit-address-family
exit
";

#[test]
fn a_sound_text_gives_no_remark() {
    assert_eq!(lint(CLEAN), []);
}

#[test]
fn each_rule_speaks_at_its_line() {
    for (old, new, line, rule) in [
        ("router bgp 65001", "router bgp 65535", 8, Rule::ReservedAsn),
        ("remote-as external", "remote-as 64500", 10, Rule::ReservedAsn),
        ("maximum-paths 64", "maximum-paths 1", 15, Rule::MultipathOne),
        (" match ip address prefix-list IN\n", "", 13, Rule::AcceptAll),
        (
            "route-map IN in",
            "prefix-list ALL in\nip prefix-list ALL seq 5 permit 0.0.0.0/0 le 32",
            14,
            Rule::AcceptAll,
        ),
        ("  neighbor G route-map IN in\n", "", 11, Rule::PolicylessPeer),
        ("  neighbor G route-map IN in\n", "  neighbor G route-map IN out\n", 11, Rule::PolicylessPeer),
        (
            "neighbor 10.9.9.9 remote-as internal",
            "neighbor 10.9.9.9 remote-as 65002",
            12,
            Rule::PolicylessPeer,
        ),
        ("neighbor 10.9.9.9", "neighbor 10.1.1.1", 12, Rule::DuplicateAddress),
        (
            "exit\nip prefix",
            "exit\ninterface swp2\n ip address 10.1.1.1/24\nexit\nip prefix",
            5,
            Rule::DuplicateAddress,
        ),
    ] {
        assert!(CLEAN.contains(old), "{old}");
        let found = lint(&CLEAN.replacen(old, new, 1));
        let found: Vec<(Option<usize>, Rule)> = found.iter().map(|lint| (lint.line, lint.rule)).collect();
        assert_eq!(found, [(Some(line), rule)], "{old} → {new}");
    }
}

#[test]
fn what_we_render_gives_no_remark() {
    assert_eq!(lint(super::super::tests::OURS), []);
}

#[test]
fn one_flow_hash_for_a_whole_client_is_a_remark() {
    assert_eq!(hash_policy(0).map(|lint| lint.rule), Some(Rule::HashPolicy));
    assert_eq!(hash_policy(1), None);
}
