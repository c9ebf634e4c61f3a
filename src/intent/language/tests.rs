use super::*;
use crate::change::dialect::srlinux::release::platform;
use crate::intent::settings;

fn settings_with(extra: &str) -> SwitchSettings {
    settings::parse(&format!(
        "version: 1\nasn: 65535\nvips: {{pools: [1.1.1.100-1.1.1.200]}}\npeering:\n  peerAsn: internal\n  \
         nodes: {{selector: {{}}, subnets: [192.168.1.0/24]}}\n{extra}"
    ))
    .unwrap()
}

#[test]
fn what_sr_linux_does_not_take_is_said_with_its_field() {
    let box_ = platform("v25.3.1", "7220 IXR-D2L");
    let id = "routerId: 10.0.0.1\n";
    let field = |settings: &SwitchSettings, platform: &Platform| match (SRLINUX.unfit)(settings, platform) {
        None => String::new(),
        Some(Unfit::Unsupported { field, .. } | Unfit::Wrong { field, .. }) => field.to_owned(),
        Some(Unfit::Unknown(_)) => "?".to_owned(),
    };
    assert_eq!(field(&settings_with(id), &box_), "");
    assert_eq!(field(&settings_with(""), &box_), "routerId");
    assert_eq!(field(&settings_with(id), &Platform::default()), "?");
    assert_eq!(field(&settings_with(id), &platform("v26.3.1", "7220 IXR-D2L")), "assume.release");
    assert_eq!(field(&settings_with(id), &platform("v22.6.1", "7220 IXR-D2L")), "assume.release");
    let mut external = settings_with(id);
    external.peering.peer_asn = PeerAsn::External;
    assert_eq!(field(&external, &box_), "peering.peerAsn");
    external.peering.mode = PeeringMode::Listen;
    assert_eq!(field(&external, &box_), "");
    let mut password = settings_with(id);
    password.peering.password_file = Some("x".to_owned());
    assert_eq!(field(&password, &box_), "peering.passwordFile");
    assert_eq!(
        field(&settings_with(&format!("{id}communities: {{add: [\"65535:1\"]}}\n")), &box_),
        "communities"
    );
}

#[test]
fn frr_refuses_what_only_sr_linux_has() {
    let field = |extra: &str| match (FRR.unfit)(&settings_with(extra), &Platform::default()) {
        Some(Unfit::Unsupported { field, .. }) => field,
        _ => "",
    };
    assert_eq!(field(""), "");
    assert_eq!(field("networkInstance: red\n"), "networkInstance");
    assert_eq!(field("preference: 169\n"), "preference");
    assert_eq!(field("assume: {release: \"25.3\"}\n"), "assume");
}

#[test]
fn resilience_that_a_chassis_lacks_is_left_out_and_said() {
    let text = r#"{"network-instance": [{"name": "a", "ip-load-balancing": {"resilient-hash-prefix": [
        {"ip-prefix": "1.1.1.100/32", "max-paths": 6, "hash-buckets-per-path": 4}]}}]}"#;
    let literal = (SRLINUX.take)(text, &Secrets::new(), &Secrets::new()).unwrap();
    let (kept, none) =
        (SRLINUX.fit)(literal.candidate.clone(), &platform("v25.3.1", "7220 IXR-D2L")).unwrap();
    assert!(kept.texts["srlinux"].contains("1.1.1.100/32") && none.is_empty());
    let (kept, said) = (SRLINUX.fit)(literal.candidate, &platform("v25.3.1", "7220 IXR-H3")).unwrap();
    assert!(!kept.texts["srlinux"].contains("1.1.1.100/32"), "{}", kept.texts["srlinux"]);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].reason, "ResilienceMissing");
    assert!(said[0].message.contains("UnsupportedPlatform"), "{}", said[0].message);
}

#[test]
fn a_group_larger_than_the_chassis_has_is_said() {
    let said = |hash: &str, chassis: &str| -> Vec<String> {
        let settings = settings_with(&format!("resilientHash: {{{hash}}}\n"));
        let issues = (SRLINUX.remarks)(&settings, &platform("v25.3.1", chassis));
        issues.into_iter().map(|issue| format!("{} {}", issue.reason, issue.message)).collect()
    };
    assert_eq!(said("maxPaths: 64, bucketsPerPath: 2", "7220 IXR-D3L"), Vec::<String>::new());
    assert_eq!(
        said("maxPaths: 64, bucketsPerPath: 32", "7220 IXR-D3L"),
        [
            "ResilienceCapped 64 next-hops with 32 buckets each are more than a group of 7220 IXR-D3L has (64 next-hops, 128 buckets); 64 with 2 are configured"
        ]
    );
    assert!(said("maxPaths: 64, bucketsPerPath: 32", "7220 IXR-H3")[0].starts_with("ResilienceMissing"));
}
