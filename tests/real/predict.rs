//! What a plan is foretold to do, held against what FRR then does: every line of the rules, and lines that no rule knows, on
//! a leaf with three live peers (a member of a group, one alone, one that came by a listen range).
//!
//! Each edit is made and unmade, so each line is seen coming and going. A session that ends and was not named is a failure. One
//! that was named and stays up is one too, unless the rule says that it is cautious.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::frr::{Bird, Frr, Netns, can_run};
use crate::release::Release;
use serde_json::Value;
use switchlet::change::dialect::frr::{Frr as Dialect, OWNER};
use switchlet::change::diff::{Candidate, Journal, Plan, Running};
use switchlet::change::impact::{Class, Impact};
use switchlet::change::{Dialect as _, Known};
use switchlet::nos::NosDriver as _;
use switchlet::nos::frr::{FrrDriver, Hand, Places};
use switchlet::vty::{Daemon, Vty};
use tokio::runtime::Runtime;

on_each_frr!(what_is_foretold_is_what_happens);

const SOON: Duration = Duration::from_secs(15);
/// FRR ends a session while it takes the line; what BFD ends comes later.
const WATCH: Duration = Duration::from_millis(300);
/// A session that can come back at all is back by then.
const AGAIN: Duration = Duration::from_millis(2500);
const WATCH_BFD: Duration = Duration::from_millis(1500);

const MEMBER: &str = "10.9.1.2";
const ALONE: &str = "10.9.2.2";
const GUEST: &str = "10.9.3.2";

const BASE: &str = "\
bgp route-map delay-timer 1
ip prefix-list VIPS seq 10 permit 203.0.113.0/24 ge 32
ip prefix-list OTHER seq 10 permit 198.51.100.0/24 ge 32
bgp community-list standard WANTED seq 10 permit 65001:1
route-map IN permit 10
 match ip address prefix-list VIPS
exit
route-map OUT permit 10
exit
bfd
 profile FAST
  transmit-interval 400
  receive-interval 400
 exit
exit
router bgp 65001
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 bgp bestpath as-path multipath-relax
 neighbor GROUP peer-group
 neighbor GROUP remote-as external
 neighbor GROUP bfd
 neighbor GROUP timers 3 9
 neighbor GROUP timers connect 1
 neighbor GUESTS peer-group
 neighbor GUESTS remote-as external
 neighbor GUESTS timers 3 9
 neighbor 10.9.1.2 peer-group GROUP
 neighbor 10.9.2.2 remote-as 65102
 neighbor 10.9.2.2 timers 3 9
 neighbor 10.9.2.2 timers connect 1
 bgp listen range 10.9.3.0/24 peer-group GUESTS
 address-family ipv4 unicast
  network 10.50.0.0/24
  neighbor GROUP route-map IN in
  neighbor GROUP route-map OUT out
  neighbor GUESTS route-map IN in
  neighbor 10.9.2.2 route-map IN in
  neighbor 10.9.2.2 maximum-prefix 100
  maximum-paths 16
 exit-address-family
exit
";

/// A change of the text, and what is known of it beforehand.
#[derive(Debug, Clone, Copy)]
struct Edit {
    /// A line of the base, with its indentation.
    at: &'static str,
    /// What stands there instead.
    becomes: &'static str,
    knows: Knows,
}

/// What the edit may do beside what is foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Sessions end as foretold, no route is lost beside theirs.
    Exactly,
    /// The rule is cautious: sessions that are named may stay.
    Cautious,
    /// A filter: routes go.
    Withdraws,
    /// No rule knows it: of the worst class, whatever it does.
    Unlisted,
}

const fn edit(at: &'static str, becomes: &'static str) -> Edit {
    Edit { at, becomes, knows: Knows::Exactly }
}

const fn known(at: &'static str, becomes: &'static str, knows: Knows) -> Edit {
    Edit { at, becomes, knows }
}

const ALONE_IS: &str = " neighbor 10.9.2.2 timers connect 1";
const ALONE_IN: &str = "  neighbor 10.9.2.2 route-map IN in";
const GROUP_IS: &str = " neighbor GROUP timers connect 1";
const GROUP_IN: &str = "  neighbor GROUP route-map IN in";
const GUESTS_ARE: &str = " neighbor GUESTS timers 3 9";
const GUESTS_IN: &str = "  neighbor GUESTS route-map IN in";
const INSTANCE_IS: &str = " bgp bestpath as-path multipath-relax";

/// `+` stands for the line itself.
const OF_A_NEIGHBOUR: &[Edit] = &[
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 description the one alone"),
    edit(" neighbor 10.9.2.2 timers 3 9", " neighbor 10.9.2.2 timers 5 15"),
    edit(ALONE_IS, " neighbor 10.9.2.2 timers connect 2"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 advertisement-interval 5"),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 bfd", Knows::Cautious),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 password hidden"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 ebgp-multihop 3"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 ttl-security hops 1"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 update-source p2"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 local-as 65009"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 shutdown"),
];

const OF_ITS_OPTIONS: &[Edit] = &[
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 passive"),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 capability dynamic", Knows::Cautious),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 capability extended-nexthop"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 disable-connected-check"),
];

const OF_ITS_OTHER_OPTIONS: &[Edit] = &[
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 extended-optional-parameters"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 graceful-restart"),
    edit(ALONE_IS, "+\n neighbor 10.9.2.2 graceful-restart-disable"),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 port 1790", Knows::Cautious),
    edit(" neighbor 10.9.2.2 remote-as 65102", " neighbor 10.9.2.2 remote-as external"),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 strict-capability-match", Knows::Unlisted),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 dont-capability-negotiate", Knows::Unlisted),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 enforce-first-as", Knows::Unlisted),
    known(ALONE_IS, "+\n neighbor 10.9.2.2 solo", Knows::Unlisted),
];

const OF_ITS_FAMILIES: &[Edit] = &[
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 next-hop-self"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 soft-reconfiguration inbound"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 allowas-in 2"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 weight 7"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 as-override"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 remove-private-AS"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 default-originate"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 attribute-unchanged next-hop"),
    edit(ALONE_IN, "+\n  no neighbor 10.9.2.2 send-community"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 route-server-client"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 addpath-tx-all-paths"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 addpath-tx-bestpath-per-AS"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 disable-addpath-rx"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 capability orf prefix-list both"),
    edit(ALONE_IN, "+\n  no neighbor 10.9.2.2 activate"),
    edit(ALONE_IN, "+\n  neighbor 10.9.2.2 prefix-list VIPS out"),
    known(ALONE_IN, "+\n  neighbor 10.9.2.2 prefix-list OTHER in", Knows::Withdraws),
    known("  neighbor 10.9.2.2 maximum-prefix 100", "  neighbor 10.9.2.2 maximum-prefix 50", Knows::Cautious),
    edit("  neighbor 10.9.2.2 maximum-prefix 100", "  neighbor 10.9.2.2 maximum-prefix 1"),
];

const OF_GROUPS: &[Edit] = &[
    edit(GROUP_IS, "+\n neighbor GROUP description many"),
    edit(" neighbor GROUP timers 3 9", " neighbor GROUP timers 5 15"),
    edit(GROUP_IS, " neighbor GROUP timers connect 2"),
    edit(" neighbor GROUP bfd\n", ""),
    edit(" neighbor GROUP bfd\n", " neighbor GROUP bfd\n neighbor GROUP bfd profile FAST\n"),
    edit(GROUP_IS, "+\n neighbor GROUP password hidden"),
    edit(GROUP_IS, "+\n neighbor GROUP ebgp-multihop 3"),
    edit(GROUP_IS, "+\n neighbor GROUP shutdown"),
];

const OF_GROUP_FAMILIES: &[Edit] = &[
    edit(GROUP_IS, "+\n neighbor GROUP graceful-restart"),
    edit(" neighbor GROUP remote-as external", " neighbor GROUP remote-as 65101"),
    edit(" neighbor GROUP remote-as external\n", ""),
    edit(GROUP_IN, "+\n  neighbor GROUP soft-reconfiguration inbound"),
    known(GROUP_IN, "+\n  neighbor GROUP maximum-prefix 10", Knows::Cautious),
    edit(GROUP_IN, "+\n  neighbor GROUP route-server-client"),
    edit(GROUP_IN, "+\n  no neighbor GROUP activate"),
    known(GROUP_IN, "  neighbor GROUP prefix-list OTHER in", Knows::Withdraws),
];

const OF_RANGES: &[Edit] = &[
    edit(" neighbor 10.9.1.2 peer-group GROUP\n", ""),
    edit(" neighbor 10.9.1.2 peer-group GROUP", " neighbor 10.9.1.2 peer-group GUESTS"),
    edit(" neighbor 10.9.1.2 peer-group GROUP", "+\n neighbor 10.9.4.2 peer-group GROUP"),
    edit(" neighbor 10.9.1.2 peer-group GROUP", "+\n neighbor 10.9.3.7 remote-as 65107"),
    edit(GUESTS_ARE, " neighbor GUESTS timers 5 15"),
    edit(GUESTS_ARE, "+\n neighbor GUESTS ebgp-multihop 3"),
    edit(GUESTS_ARE, "+\n neighbor GUESTS bfd"),
    edit(GUESTS_IN, "+\n  neighbor GUESTS soft-reconfiguration inbound"),
    edit(GUESTS_IN, "+\n  no neighbor GUESTS activate"),
    edit(" bgp listen range 10.9.3.0/24 peer-group GUESTS\n", ""),
    edit(
        " bgp listen range 10.9.3.0/24 peer-group GUESTS",
        "+\n bgp listen range 10.9.4.0/24 peer-group GUESTS",
    ),
    edit(" bgp listen range 10.9.3.0/24 peer-group GUESTS", " bgp listen range 10.9.3.0/24 peer-group GROUP"),
];

const OF_THE_INSTANCE: &[Edit] = &[
    edit(" bgp router-id 10.0.0.1", " bgp router-id 10.0.0.9"),
    edit(" bgp router-id 10.0.0.1\n", ""),
    known(INSTANCE_IS, "+\n bgp cluster-id 10.0.0.7", Knows::Cautious),
    edit(INSTANCE_IS, "+\n bgp confederation identifier 65500"),
    edit(INSTANCE_IS, "+\n bgp graceful-restart"),
    edit(INSTANCE_IS, "+\n bgp graceful-restart-disable"),
    known(INSTANCE_IS, "+\n bgp graceful-restart restart-time 100", Knows::Cautious),
    known(INSTANCE_IS, "+\n bgp shutdown", Knows::Cautious),
    edit(INSTANCE_IS, "+\n bgp bestpath compare-routerid"),
    edit(INSTANCE_IS, "+\n bgp deterministic-med"),
    edit(INSTANCE_IS, "+\n bgp always-compare-med"),
    edit(INSTANCE_IS, "+\n bgp default local-preference 200"),
    edit(INSTANCE_IS, "+\n bgp listen limit 7"),
    edit(INSTANCE_IS, "+\n timers bgp 5 15"),
    edit(INSTANCE_IS, "+\n bgp graceful-shutdown"),
    edit(" no bgp ebgp-requires-policy\n", ""),
    edit(INSTANCE_IS, "+\n no bgp network import-check"),
    edit(
        INSTANCE_IS,
        "+\n bgp suppress-duplicates\n bgp default show-hostname\n no bgp log-neighbor-changes",
    ),
    known(INSTANCE_IS, "+\n bgp disable-ebgp-connected-route-check", Knows::Unlisted),
    known(INSTANCE_IS, "+\n no bgp default ipv4-unicast", Knows::Unlisted),
    known(INSTANCE_IS, "+\n no bgp fast-external-failover", Knows::Unlisted),
    known(INSTANCE_IS, "+\n bgp update-delay 5", Knows::Unlisted),
];

const OUTSIDE: &[Edit] = &[
    edit("  maximum-paths 16", "  maximum-paths 8"),
    edit("  maximum-paths 16\n", ""),
    edit("  network 10.50.0.0/24\n", ""),
    edit("  network 10.50.0.0/24", "+\n  network 10.51.0.0/24"),
    edit("  network 10.50.0.0/24", "+\n  redistribute static"),
    edit("  network 10.50.0.0/24", "+\n  aggregate-address 10.50.0.0/16"),
    edit("  maximum-paths 16", "+\n  distance bgp 21 200 200"),
    edit("bgp route-map delay-timer 1", "bgp route-map delay-timer 2"),
    edit(
        "ip prefix-list VIPS seq 10 permit 203.0.113.0/24 ge 32",
        "+\nip prefix-list VIPS seq 20 permit 198.51.100.0/24 ge 32",
    ),
    // It gets another number, and no route is lost meanwhile.
    edit(
        "ip prefix-list VIPS seq 10 permit 203.0.113.0/24 ge 32",
        "ip prefix-list VIPS seq 20 permit 203.0.113.0/24 ge 32",
    ),
    known(
        "ip prefix-list VIPS seq 10 permit 203.0.113.0/24 ge 32",
        "ip prefix-list VIPS seq 10 permit 198.51.100.0/24 ge 32",
        Knows::Withdraws,
    ),
    edit(" match ip address prefix-list VIPS", "+\n set local-preference 150"),
    edit(
        "bgp community-list standard WANTED seq 10 permit 65001:1",
        "bgp community-list standard WANTED seq 10 permit 65001:2",
    ),
    edit(
        "ip prefix-list OTHER",
        "ipv6 prefix-list SIX seq 5 permit any\naccess-list A seq 5 permit any\nbgp as-path access-list P seq 5 permit ^$\n\
         bgp large-community-list standard L seq 5 permit 1:2:3\nbgp extcommunity-list standard E seq 5 permit rt 1:1\n\
         interface lo\n description loop\nexit\nip prefix-list OTHER",
    ),
    edit("  maximum-paths 16", "+\n  table-map OUT"),
    edit(
        ALONE_IN,
        "+\n  neighbor 10.9.2.2 unsuppress-map OUT\n  neighbor 10.9.2.2 filter-list P out\n  neighbor 10.9.2.2 distribute-list A out",
    ),
    edit("  transmit-interval 400", "  transmit-interval 500"),
    edit("ip prefix-list OTHER", "zebra nexthop proto only\nip prefix-list OTHER"),
    edit("ip prefix-list OTHER", "ip route 10.60.0.0/24 blackhole\nip prefix-list OTHER"),
    known("ip prefix-list OTHER", "ip route 10.9.2.0/24 10.9.1.2\nip prefix-list OTHER", Knows::Cautious),
    known("ip prefix-list OTHER", "ip router-id 10.0.0.8\nip prefix-list OTHER", Knows::Cautious),
    known("  maximum-paths 16", "+\n  bgp dampening", Knows::Unlisted),
    known(
        "ip prefix-list OTHER",
        "interface p9\n ip address 10.77.0.1/24\nexit\nip prefix-list OTHER",
        Knows::Unlisted,
    ),
];

/// A session as FRR tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    up: bool,
    dropped: u64,
    epoch: i64,
}

/// A leaf with three live peers.
struct Scene {
    hand: Runtime,
    driver: FrrDriver,
    bgpd: Vty,
    leaf: Frr,
    _nodes: Vec<Bird>,
    monitor: Child,
    routes: tempfile::NamedTempFile,
    /// What runs, in FRR's own words.
    base: String,
    report: String,
    failures: Vec<String>,
    cautious: u32,
    steps: u32,
    began: Instant,
}

impl Scene {
    fn new(release: Release) -> Self {
        let leaf = Netns::new("leaf");
        let nodes: Vec<Bird> = (1..=3)
            .map(|n| {
                let node = Netns::new("node");
                leaf.cable(&format!("p{n}"), &node, "eth0");
                leaf.ip(&format!("addr add 10.9.{n}.1/24 dev p{n}"));
                node.ip(&format!("addr add 10.9.{n}.2/24 dev eth0"));
                Bird::start(node, &speaker(n))
            })
            .collect();
        leaf.ip("addr add 10.50.0.1/24 dev lo");
        let routes = tempfile::NamedTempFile::new().unwrap();
        let monitor = Command::new("ip")
            .args(["-n", &leaf.name, "-o", "monitor", "route"])
            .stdin(Stdio::null())
            .stdout(File::create(routes.path()).unwrap())
            .spawn()
            .unwrap();
        let leaf = Frr::start(release, leaf, &["zebra", "bgpd", "bfdd", "staticd"], "");
        leaf.configure(BASE);
        let hand = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let places = Places { root: leaf.root.clone(), instance: Some(leaf.instance().to_owned()) };
        let socket = Daemon::Bgpd.socket(&places.run(), places.instance.as_deref());
        let bgpd = hand.block_on(async {
            let mut bgpd = Vty::open(&socket, SOON).await.unwrap();
            bgpd.enable().await.unwrap();
            bgpd
        });
        let mut scene = Self {
            hand,
            driver: FrrDriver::new(places, Hand::Auto),
            bgpd,
            leaf,
            _nodes: nodes,
            monitor,
            routes,
            base: String::new(),
            report: String::new(),
            failures: Vec::new(),
            cautious: 0,
            steps: 0,
            began: Instant::now(),
        };
        assert!(scene.settles(SOON), "three sessions, at first");
        scene.base = scene.running();
        scene
    }

    fn running(&mut self) -> String {
        let running = self.hand.block_on(self.driver.running()).unwrap();
        running.texts[OWNER].clone()
    }

    fn sessions(&mut self) -> BTreeMap<String, Session> {
        let text = self.hand.block_on(self.bgpd.ask("show bgp neighbors json")).unwrap().text;
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        let session = |value: &Value| Session {
            up: value["bgpState"] == "Established",
            dropped: value["connectionsDropped"].as_u64().unwrap_or_default(),
            epoch: value["bgpTimerUpEstablishedEpoch"].as_i64().unwrap_or_default(),
        };
        let all = all.as_object().cloned().unwrap_or_default();
        all.iter()
            .filter(|(_, value)| value.get("bgpState").is_some())
            .map(|(name, value)| (name.clone(), session(value)))
            .collect()
    }

    /// True once all three peers are up, and the kernel has their routes.
    fn settles(&mut self, limit: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < limit {
            let up = self.sessions().values().filter(|session| session.up).count();
            let routed = self.leaf.netns.ip("-o route show proto bgp").matches("203.0.113.1").count();
            if up == 3 && routed >= 4 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }

    fn plan(&mut self, wanted: &str) -> Plan {
        let running = self.running();
        let text = |text: &str| BTreeMap::from([(OWNER.to_owned(), text.to_owned())]);
        let candidate = Candidate { texts: text(wanted), literal: text(wanted) };
        let known = Known { confirmed: None, adopt: &[], journal: &Journal::new() };
        Dialect.plan(&Running { texts: text(&running) }, &candidate, &known).unwrap()
    }

    /// Carries out the way to `wanted` and holds what happens against what was foretold.
    fn step(&mut self, name: &str, wanted: &str, edits: &[Edit]) {
        let plan = self.plan(wanted);
        let Some(part) = plan.owners.get(OWNER) else {
            if name != "once more back" {
                writeln!(self.report, "    nothing to do    {name}").unwrap();
            }
            return;
        };
        let impact = part.impact.clone();
        let before = self.sessions();
        let routes = fs::metadata(self.routes.path()).unwrap().len();
        // As the driver does; its way into another root goes through the agent's own binary.
        let inside = format!("run/frr/{}/predict.conf", self.leaf.instance());
        fs::write(self.leaf.root.join(&inside), part.commands.join("\n") + "\n").unwrap();
        let said = self.leaf.vtysh(&["-f", &format!("/{inside}")]).stdout;
        let bfd = edits.iter().any(|edit| edit.at.contains("bfd") || edit.becomes.contains("bfd"));
        let mut ended: BTreeSet<String> = BTreeSet::new();
        let began = Instant::now();
        loop {
            let now = self.sessions();
            let ends = |(name, was): &(&String, &Session)| {
                was.up
                    && now.get(*name).is_none_or(|is| {
                        !is.up || is.dropped != was.dropped || (is.epoch - was.epoch).abs() > 1
                    })
            };
            ended.extend(before.iter().filter(ends).map(|(name, _)| name.clone()));
            if began.elapsed() > if bfd { WATCH_BFD } else { WATCH } {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let lost = self.lost_since(routes);
        let was_up: BTreeSet<&String> =
            before.iter().filter(|(_, was)| was.up).map(|(name, _)| name).collect();
        let named: BTreeSet<String> =
            was_up.iter().filter(|name| impact.names(name)).map(|name| (*name).clone()).collect();
        self.judge(name, edits, &Seen { impact, named, ended, lost });
        self.steps += 1;
        for line in String::from_utf8_lossy(&said).lines().filter(|line| line.starts_with('%')) {
            writeln!(self.report, "             said: {line}").unwrap();
        }
    }

    fn judge(&mut self, name: &str, edits: &[Edit], seen: &Seen) {
        let Seen { impact, named, ended, lost } = seen;
        let class = impact.class.name();
        writeln!(self.report, "    {class:<15} named {named:?} ended {ended:?} lost {lost:?}  {name}")
            .unwrap();
        let mut fail = |why: String| self.failures.push(format!("{name}: {why} ({impact:?})"));
        let unforeseen: Vec<&String> = ended.difference(named).collect();
        if !unforeseen.is_empty() {
            fail(format!("{unforeseen:?} ended and was not named"));
        }
        let stayed: Vec<&String> = named.difference(ended).collect();
        let is = |knows| edits.iter().any(|edit| edit.knows == knows);
        if !stayed.is_empty() && !is(Knows::Unlisted) {
            if is(Knows::Cautious) {
                self.cautious += 1;
            } else {
                fail(format!("{stayed:?} was named and stayed up"));
            }
        }
        if !ended.is_empty() && impact.class < Class::Remove {
            fail(format!("sessions ended by a plan of class {class}"));
        }
        if !name.starts_with("once more") && is(Knows::Unlisted) == impact.unknown.is_empty() {
            fail(format!("lines that no rule knows: {:?}", impact.unknown));
        }
        // Whose own route is lost has lost its session, unless a filter says so.
        let free = |peer: &&&str| !named.contains(**peer);
        let loses: Vec<&&str> = lost.iter().filter(free).collect();
        if !loses.is_empty() && !is(Knows::Withdraws) && !is(Knows::Unlisted) {
            fail(format!("the kernel lost the routes of {loses:?}"));
        }
    }

    /// Peers whose own route the kernel has lost, for however short a time.
    fn lost_since(&self, offset: u64) -> BTreeSet<&'static str> {
        let text = fs::read(self.routes.path()).unwrap();
        let text =
            String::from_utf8_lossy(&text[usize::try_from(offset).unwrap().min(text.len())..]).into_owned();
        [("203.0.113.11", MEMBER), ("203.0.113.12", ALONE), ("203.0.113.13", GUEST)]
            .into_iter()
            .filter(|(vip, _)| text.lines().any(|line| line.starts_with(&format!("Deleted {vip} "))))
            .map(|(_, peer)| peer)
            .collect()
    }

    /// The base with these edits.
    fn edited(&self, edits: &[Edit]) -> String {
        edits.iter().fold(self.base.clone(), |text, edit| {
            let Edit { at, becomes, knows: _ } = edit;
            assert!(text.contains(at), "{at:?} is not in\n{text}");
            text.replacen(at, &becomes.replace('+', at), 1)
        })
    }

    fn there_and_back(&mut self, edits: &[Edit]) {
        let name: Vec<String> =
            edits.iter().map(|edit| format!("{:?} -> {:?}", edit.at.trim(), edit.becomes.trim())).collect();
        let name = name.join(", ");
        let wanted = self.edited(edits);
        self.step(&name, &wanted, edits);
        if self.running() == self.base && edits.iter().all(|edit| edit.knows != Knows::Unlisted) {
            self.failures.push(format!("{name}: nothing of it runs"));
        }
        // Where the sessions come up again with the edit, its end is worth a look too.
        self.settles(AGAIN);
        let base = self.base.clone();
        self.step(&format!("back: {name}"), &base, edits);
        // Some lines change the meaning of others: once more.
        self.step("once more back", &base, edits);
        if self.running() != base {
            let left = self.plan(&base).lines();
            assert!(left.is_empty(), "not back after {name}: {left:?}\n{}", self.report);
        }
        // Over its limit of prefixes a neighbour stays down until somebody clears it.
        if edits.iter().any(|edit| edit.becomes.contains("maximum-prefix 1")) {
            self.leaf.vtysh(&["-c", "clear bgp *"]);
        }
        assert!(self.settles(SOON), "not up again after {name}\n{}", self.report);
    }

    fn all(release: Release, edits: &[Edit]) {
        let mut scene = Self::new(release);
        for edit in edits {
            scene.there_and_back(std::slice::from_ref(edit));
        }
        scene.verdict(release);
    }

    fn verdict(&self, release: Release) {
        let Self { report, failures, cautious, steps, began, .. } = self;
        eprintln!(
            "FRR {}: {steps} plans in {:.1} s, {cautious} with sessions named by caution\n{report}",
            release.number(),
            began.elapsed().as_secs_f64()
        );
        assert!(failures.is_empty(), "FRR {}:\n{}", release.number(), failures.join("\n"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

struct Seen {
    impact: Impact,
    named: BTreeSet<String>,
    ended: BTreeSet<String>,
    lost: BTreeSet<&'static str>,
}

fn speaker(n: u32) -> String {
    format!(
        "router id 10.9.{n}.2;
         log \"/dev/null\" all;
         protocol device {{}}
         protocol bfd {{ interface \"*\"; }}
         protocol static vips {{ ipv4; route 203.0.113.10/32 blackhole; route 203.0.113.1{n}/32 blackhole; }}
         protocol bgp leaf {{
             local 10.9.{n}.2 as 6510{n}; neighbor 10.9.{n}.1 as 65001;
             hold time 9; error wait time 1,1; error forget time 1; connect delay time 1; connect retry time 1;
             {}
             ipv4 {{ import none; export all; }}; }}",
        if n == 2 { "" } else { "bfd on;" }
    )
}

/// All lists at once, each on a fabric of its own: what takes time is waiting for sessions.
fn what_is_foretold_is_what_happens(release: Release) {
    static ONE_RELEASE: Mutex<()> = Mutex::new(());
    if !can_run(release) {
        return;
    }
    let _turn = ONE_RELEASE.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        let lists = ALL.iter().map(|edits| scope.spawn(move || Scene::all(release, edits)));
        let mut work: Vec<_> = lists.collect();
        work.push(scope.spawn(move || at_random(release)));
        let failed: Vec<_> = work.into_iter().filter_map(|work| work.join().err()).collect();
        assert!(failed.is_empty(), "FRR {}: {} lists failed", release.number(), failed.len());
    });
}

const ALL: &[&[Edit]] = &[
    OF_A_NEIGHBOUR,
    OF_ITS_OPTIONS,
    OF_ITS_OTHER_OPTIONS,
    OF_ITS_FAMILIES,
    OF_GROUPS,
    OF_GROUP_FAMILIES,
    OF_RANGES,
    OF_THE_INSTANCE,
    OUTSIDE,
];

/// Several edits at once, as a commit has them; which ones, the seed says.
fn at_random(release: Release) {
    let seed: u64 =
        std::env::var("PREDICT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121);
    let all: Vec<Edit> = ALL.concat();
    let mut state = seed;
    let mut draw = |below: usize| {
        // Knuth's MMIX; any sequence that is the same every time would do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut scene = Scene::new(release);
    for round in 0..8 {
        let mut edits: Vec<Edit> = Vec::new();
        while edits.len() < 4 {
            let edit = all[draw(all.len())];
            // Two edits of one line are none that a text can have; beside what no rule knows nothing else is told.
            let apart = |other: &Edit| !other.at.starts_with(edit.at) && !edit.at.starts_with(other.at);
            if edits.iter().all(apart) && (edit.knows != Knows::Unlisted || round == 0) {
                edits.push(edit);
            }
        }
        scene.there_and_back(&edits);
    }
    eprintln!("seed {seed}");
    scene.verdict(release);
}
