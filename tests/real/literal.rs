//! A literal `frr.conf`, the validator beside the loop, and what happens where there is none.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::eventually;
use crate::release::Release;
use crate::switch::{SETTINGS, Switch, nodes};

on_each_frr!(
    a_literal_text_owns_the_file_to_the_letter,
    a_frozen_validator_is_said_and_holds_up_no_look,
    without_powers_our_own_rules_remain,
);

const APPLIED: &str = "configuration applied, read back and saved";

/// With hidden defaults, a warning of 8.4 (graceful restart), another order and another spelling than FRR's own, a block
/// that is not closed, and no `end`.
const LITERAL: &str = "\
! written by hand
frr defaults datacenter
hostname leaf1
ip prefix-list IN permit 203.0.113.0/24 ge 32
ip prefix-list IN seq 20 permit 198.51.100.0/24 le 32
route-map IN permit 10
 match ip address prefix-list IN
exit
ip route 198.51.100.0/24 blackhole
router bgp 65001
 bgp log-neighbor-changes
 bgp graceful-restart restart-time 120
 bgp graceful-restart
 neighbor WORKERS peer-group
 neighbor WORKERS remote-as external
 neighbor WORKERS timers connect 1
 neighbor WORKERS password <secret:speakers>
 neighbor 192.168.1.11 peer-group WORKERS
 neighbor 192.168.1.99 remote-as 65007
 neighbor 192.168.1.99 password 1n-cl3ar
 address-family ipv4 unicast
  neighbor WORKERS activate
  neighbor WORKERS route-map IN in
  neighbor 192.168.1.99 route-map IN in
 exit-address-family
";

fn a_literal_text_owns_the_file_to_the_letter(release: Release) {
    let Some(mut switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    let secrets = switch.lab.scratch("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("speakers"), "s3cr3t-of-the-speakers\n").unwrap();
    switch.more = vec!["--secrets-dir".to_owned(), secrets.to_str().unwrap().to_owned()];
    let settings = SETTINGS.replace("  peerAsn: external", "  peerAsn: external\n  passwordFile: speakers");
    let agent = switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    let path = switch.lab.frr_conf("leaf1");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let before = fs::metadata(&path).unwrap();
    let running = switch.lab.running("leaf1");

    // What would be done names foreign lines too, and no password.
    let from = agent.log().len();
    fs::write(switch.lab.scratch("frr.conf"), LITERAL).unwrap();
    switch.bundle.publish(&[("switch.yaml", &settings), ("frr.conf", LITERAL)]);
    Switch::log_has(&agent, from, APPLIED);
    let text = LITERAL.replace("<secret:speakers>", "s3cr3t-of-the-speakers");
    assert_eq!(
        String::from_utf8(switch.startup()).unwrap(),
        text,
        "the startup file is the text, to the letter"
    );
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.uid(), after.gid(), after.mode()),
        (before.uid(), before.gid(), before.mode()),
        "owner and mode are the operator's"
    );
    let now = switch.lab.running("leaf1");
    for line in [
        "neighbor 192.168.1.11 peer-group WORKERS",
        "neighbor WORKERS password s3cr3t-of-the-speakers",
        "neighbor 192.168.1.99 password 1n-cl3ar",
        "bgp graceful-restart",
    ] {
        assert!(now.lines().any(|found| found.trim() == line), "{line} does not run:\n{now}");
    }
    assert!(!now.contains("SWITCHLET-"), "every line is the bundle's: ours are gone\n{now}");
    let (code, said) = switch.once("plan", &[]);
    assert_eq!(code, Some(0), "no hidden default is an eternal difference: {said}");

    // Somebody changes a line that is nobody's by name: the drift is seen and put back.
    let change = ["vtysh", "leaf1", "-c", "configure terminal", "-c", "ip route 198.51.100.128/25 blackhole"];
    switch.lab.lab(&change);
    let (code, said) = switch.once("plan", &["-o", "json"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ip route 198.51.100.128/25"), "{said}");
    let gone = || !switch.lab.running("leaf1").contains("198.51.100.128/25");
    assert!(eventually(Duration::from_secs(75), gone), "{}", agent.log());

    // Back to templates: they own what carries our name; what was literal stays, and belongs to nobody.
    let from = agent.log().len();
    switch.bundle.publish(&[("switch.yaml", &settings)]);
    Switch::log_has(&agent, from, "neighbor 192.168.1.11");
    let state = fs::read_to_string(switch.lab.scratch("agent-leaf1/confirmed.json")).unwrap();
    let all = agent.log() + &state + &said + &switch.lab.endpoint("leaf1", "/v1/verdict");
    for secret in ["s3cr3t", "1n-cl3ar"] {
        assert!(!all.contains(secret), "{secret} is out: {all}");
    }
    assert!(running.contains("SWITCHLET-"));
}

/// The process that validates, as soon as there is one: the first of its own world.
fn canary(agent: u32) -> u32 {
    let child = |parent: u32, word: &str| -> Option<u32> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let its_parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            (its_parent == parent && words.split('\0').nth(1) == Some(word)).then_some(pid)
        })
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(inner) = child(agent, "canary").and_then(|outer| child(outer, "canary-inner")) {
            return inner;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no validation began");
}

fn a_frozen_validator_is_said_and_holds_up_no_look(release: Release) {
    let Some(mut switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    let agent = switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    let (running, startup) = (switch.lab.running("leaf1"), switch.startup());
    let from = agent.log().len();
    switch.bundle.publish(&[("switch.yaml", &SETTINGS.replace("65001", "65001\necmp: {maxPaths: 8}"))]);
    let frozen = canary(agent.pid());
    assert!(Command::new("kill").args(["-STOP", &frozen.to_string()]).status().unwrap().success());
    // The forwarding table is looked at all the same.
    let looked = || switch.lab.verdict("leaf1")["observedAt"].to_string();
    let first = looked();
    switch.lab.lab(&["in", "leaf1", "ip", "route", "add", "203.0.113.77/32", "dev", "lo"]);
    assert!(eventually(Duration::from_secs(15), || looked() != first), "no look while a validation hangs");
    let seen = || switch.lab.endpoint("leaf1", "/v1/verdict").contains("203.0.113.77/32");
    assert!(eventually(Duration::from_secs(15), seen), "the new route is not seen meanwhile");
    let late = || agent.log()[from..].contains("the validator did not end within 20 s");
    assert!(eventually(Duration::from_secs(40), late), "{}", agent.log());
    assert!(
        agent.log()[from..].contains("ValidatorTimeout") || agent.log()[from..].contains("was not tried"),
        "{}",
        agent.log()
    );
    assert_eq!(switch.lab.running("leaf1"), running, "what runs is not touched");
    assert_eq!(switch.startup(), startup);
    let gone = || !Path::new(&format!("/proc/{frozen}")).exists();
    assert!(eventually(Duration::from_secs(20), gone), "the frozen world outlives its time");
    // It is asked again, by itself, and the change goes through.
    switch.runs("maximum-paths 8", true);
}

fn without_powers_our_own_rules_remain(release: Release) {
    let Some(mut switch) = Switch::up(release, SETTINGS, &nodes()) else { return };
    // As the container is by default: no CAP_SYS_ADMIN. `ip netns exec` needs it itself, so it is dropped after that.
    let agent = switch.agent_under(&["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]);
    Switch::log_has(&agent, 0, "no validator, only our own rules: new namespaces need CAP_SYS_ADMIN");
    Switch::log_has(&agent, 0, APPLIED);
    let (running, startup) = (switch.lab.running("leaf1"), switch.startup());
    let from = agent.log().len();
    let literal = LITERAL.replace(" neighbor WORKERS password <secret:speakers>\n", "");
    switch.bundle.publish(&[("switch.yaml", SETTINGS), ("frr.conf", &literal)]);
    Switch::log_has(
        &agent,
        from,
        "a literal text can be compared with what runs only in the NOS's own spelling",
    );
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(switch.lab.running("leaf1"), running);
    assert_eq!(switch.startup(), startup);
    // Without the validator reading back is the net: a line that does not take effect is undone.
    let from = agent.log().len();
    let line = "ip prefix-list SWITCHLET-VIPS-V4 seq 99 permit 203.0.113.0/24 ge 20";
    let template =
        format!("{{% extends \"builtin/frr.conf.tera\" %}}{{% block end %}}{line}\n{{% endblock %}}");
    switch.bundle.publish(&[("switch.yaml", SETTINGS), ("frr.conf.tera", &template)]);
    Switch::log_has(&agent, from, &format!("+ {line}"));
    assert_eq!(switch.lab.running("leaf1"), running, "the previous text is back");
    assert_eq!(switch.startup(), startup, "startup is never the candidate before it was read back");
}
