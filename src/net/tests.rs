use super::*;

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}
fn hop(text: &str) -> NextHop {
    text.parse().unwrap()
}

#[test]
fn a_prefix_refuses_host_bits_and_says_what_was_meant() {
    assert_eq!(p("203.0.113.0/24").to_string(), "203.0.113.0/24");
    assert_eq!(p("203.0.113.7").to_string(), "203.0.113.7/32");
    let error = "203.0.113.7/24".parse::<Prefix>().unwrap_err();
    assert_eq!(error.to_string(), "`203.0.113.7/24` has host bits set (did you mean `203.0.113.0/24`?)");
    assert!("203.0.113.0/33".parse::<Prefix>().is_err());
    assert!("nonsense".parse::<Prefix>().is_err());
}

#[test]
fn a_range_becomes_its_minimal_cover() {
    let cover = cidr_cover("1.1.1.100".parse().unwrap(), "1.1.1.200".parse().unwrap()).unwrap();
    let text: Vec<String> = cover.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        ["1.1.1.100/30", "1.1.1.104/29", "1.1.1.112/28", "1.1.1.128/26", "1.1.1.192/29", "1.1.1.200/32"]
    );
    assert_eq!(cidr_cover("1.1.1.2".parse().unwrap(), "1.1.1.1".parse().unwrap()), None);
    assert_eq!(cidr_cover("1.1.1.2".parse().unwrap(), "::1".parse().unwrap()), None);
}

#[test]
fn next_hops_are_written_and_read_the_same() {
    for text in ["192.168.1.11", "fe80::1%swp1", "%swp1", "2001:db8::1"] {
        assert_eq!(hop(text).to_string(), text);
    }
    for bad in ["", "%", "1.2.3", "1.2.3.4%"] {
        assert!(bad.parse::<NextHop>().is_err(), "{bad}");
    }
}

#[test]
fn an_expectation_is_met_by_address_or_by_device() {
    assert!(hop("192.168.1.11").is_met_by(&hop("192.168.1.11%eth0")));
    assert!(!hop("192.168.1.11").is_met_by(&hop("192.168.1.12%eth0")));
    assert!(hop("fe80::1%swp1").is_met_by(&hop("fe80::1%swp1")));
    assert!(!hop("fe80::1%swp1").is_met_by(&hop("fe80::1%swp2")));
    assert!(hop("%swp1").is_met_by(&hop("fe80::1%swp1")));
    assert!(!hop("%swp1").is_met_by(&hop("fe80::1%swp2")));
}
