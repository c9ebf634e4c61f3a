#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn indentation_tells_the_blocks() {
    let text = "ip prefix-list A seq 5 permit any\nrouter bgp 1\n neighbor X peer-group\n \
                address-family ipv4 unicast\n  neighbor X activate\n exit-address-family\nexit\nbfd\nexit\nno route-map M\n";
    let found: Vec<(usize, Kind, &str)> =
        lines(text).iter().map(|line| (line.depth, line.kind, line.text)).collect();
    assert_eq!(
        found,
        [
            (0, Kind::Single, "ip prefix-list A seq 5 permit any"),
            (0, Kind::Opens, "router bgp 1"),
            (1, Kind::Single, "neighbor X peer-group"),
            (1, Kind::Opens, "address-family ipv4 unicast"),
            (2, Kind::Single, "neighbor X activate"),
            (1, Kind::Closes, "exit-address-family"),
            (0, Kind::Closes, "exit"),
            (0, Kind::Opens, "bfd"),
            (0, Kind::Closes, "exit"),
            (0, Kind::Single, "no route-map M"),
        ]
    );
}

fn reply(name: &str, code: u8, text: &str) -> (String, Reply) {
    (name.to_owned(), Reply { text: text.to_owned(), code })
}

#[test]
fn only_what_every_daemon_does_not_know_is_unknown() {
    let known = [reply("bgpd", 0, ""), reply("zebra", 2, "% Unknown command")];
    assert!(complaints_about("router bgp 1", &known, Unknown::IsSaid).is_empty());
    let unknown = [reply("bgpd", 2, ""), reply("zebra", 4, "")];
    assert_eq!(
        complaints_about("rooter bgp 1", &unknown, Unknown::IsSaid),
        ["no daemon knows `rooter bgp 1`"]
    );
    let refused =
        [reply("bgpd", 13, "% Specify remote-as or peer-group commands first\n"), reply("zebra", 2, "")];
    assert_eq!(
        complaints_about("neighbor 192.0.2.1 activate", &refused, Unknown::IsSaid),
        ["bgpd: `neighbor 192.0.2.1 activate`: Specify remote-as or peer-group commands first"]
    );
    assert!(complaints_about("x", &[], Unknown::GoesWithoutSaying).is_empty());
}
