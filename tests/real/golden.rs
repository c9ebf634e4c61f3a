//! Cases as folders: `switch.yaml` and `cluster.yaml` (and `version`, the words of an FRR) give `candidate.conf`, byte for byte, and a real FRR takes it as it
//! stands. `GOLDEN=overwrite cargo test --test real golden` writes the results anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::frr::{Frr, Netns, can_run};
use crate::release::Release;
use switchlet::change::dialect::frr::{Frr as Dialect, OWNER, platform, splice};
use switchlet::change::diff::{Candidate, Journal, Running};
use switchlet::change::diff::{OwnerPlan, Plan};
use switchlet::change::{Dialect as _, Known};
use switchlet::files::objects::read_cluster;
use switchlet::intent::render::{self, Texts};
use switchlet::intent::snapshot::Bundle;
use switchlet::intent::{nexthops, settings};
use switchlet::nos::frr::{FrrDriver, Hand, Places};
use switchlet::nos::{Hold, NosDriver};

on_each_frr!(
    a_real_frr_reads_every_candidate_back_as_it_is,
    commands_lead_there_and_back,
    the_sockets_do_what_vtysh_does,
    the_sockets_tell_of_every_line,
);

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/frr");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

/// Those that this FRR takes: `version` names another one, or it.
fn cases_for_real(release: Release) -> Vec<PathBuf> {
    let number = match release {
        Release::V8_4 => "FRRouting 8.4.",
        Release::V10_3 => "FRRouting 10.3.",
    };
    let fits = |case: &PathBuf| {
        fs::read_to_string(case.join("version")).map_or(true, |text| text.starts_with(number))
    };
    cases().into_iter().filter(fits).collect()
}

fn candidate(case: &Path) -> Candidate {
    let settings = settings::parse(&fs::read_to_string(case.join("switch.yaml")).unwrap()).unwrap();
    let (mut facts, _) = read_cluster(&case.join("cluster"), "leaf1").unwrap();
    assert_eq!(facts.issues, []);
    let mut expectation = nexthops::expect("leaf1", &settings, &facts);
    let version = fs::read_to_string(case.join("version")).unwrap_or_default();
    let (platform, bundle) = (platform(&version), Bundle::default());
    let texts = Texts { bundle: &bundle, built_in: render::FRR };
    let job = render::job("leaf1", &settings, &expectation.peers, &platform, texts);
    facts.nodes.reverse();
    expectation = nexthops::expect("leaf1", &settings, &facts);
    let again = render::job("leaf1", &settings, &expectation.peers, &platform, texts);
    assert_eq!(job, again, "the order of inputs matters");
    render::render(&job).unwrap()
}

#[test]
fn candidates_are_as_recorded() {
    for case in cases() {
        let text = candidate(&case).texts[OWNER].clone();
        let path = case.join("candidate.conf");
        if std::env::var_os("GOLDEN").is_some_and(|word| word == "overwrite") {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "{}", case.display());
    }
}

/// Loaded into a real FRR by way of the startup text, every candidate reads back as itself: it is canonical, complete,
/// and no line of it is refused in silence.
fn a_real_frr_reads_every_candidate_back_as_it_is(release: Release) {
    if !can_run(release) {
        return;
    }
    for case in cases_for_real(release) {
        let candidate = candidate(&case);
        let startup = splice("frr defaults traditional\nhostname leaf1\n", &candidate.texts[OWNER], &[]);
        let frr = Frr::start(release, Netns::new("g"), &["zebra", "bgpd", "bfdd", "staticd"], &startup);
        let left = Dialect
            .plan(
                &running(&frr),
                &candidate,
                &Known { confirmed: None, adopt: &[], journal: &Journal::new() },
            )
            .unwrap();
        assert_eq!(left.lines(), Vec::<String>::new(), "{}", case.display());
    }
}

/// The way by commands ends where the way by the startup text ends, and the way back ends where it began.
fn commands_lead_there_and_back(release: Release) {
    if !can_run(release) {
        return;
    }
    let frr = Frr::start(
        release,
        Netns::new("h"),
        &["zebra", "bgpd", "bfdd", "staticd"],
        "frr defaults datacenter\nhostname leaf1\n",
    );
    let empty = running(&frr);
    for case in cases_for_real(release) {
        let candidate = candidate(&case);
        let journal = Journal::new();
        let known = Known { confirmed: None, adopt: &[], journal: &journal };
        let plan = Dialect.plan(&running(&frr), &candidate, &known).unwrap();
        send(&frr, &plan.owners[OWNER].commands);
        let there = running(&frr);
        assert_eq!(
            Dialect.plan(&there, &candidate, &known).unwrap().lines(),
            Vec::<String>::new(),
            "{}",
            case.display()
        );
        let back = Dialect.undo(&there, &empty, &candidate);
        send(&frr, &back.owners[OWNER].commands);
        assert_eq!(
            Dialect.undo(&running(&frr), &empty, &candidate).lines(),
            Vec::<String>::new(),
            "{}",
            case.display()
        );
        // The emptied `bfd` block stays, and says nothing.
        let said = |running: &Running| -> Vec<String> {
            let text = running.texts[OWNER].lines().filter(|line| !matches!(*line, "!" | "bfd" | "exit"));
            text.map(str::to_owned).collect()
        };
        assert_eq!(said(&running(&frr)), said(&empty), "{}", case.display());
    }
}

/// The same commands by both hands, to two FRRs: what each daemon then has of its own is the same, there and back.
fn the_sockets_do_what_vtysh_does(release: Release) {
    if !can_run(release) {
        return;
    }
    let start = |role| {
        let text = "frr defaults datacenter\nhostname leaf1\n";
        Frr::start(release, Netns::new(role), &["zebra", "bgpd", "bfdd", "staticd"], text)
    };
    let (by_vtysh, by_sockets) = (start("v"), start("k"));
    let empty = running(&by_vtysh);
    let both = |plan: &Plan, what: &str| {
        send(&by_vtysh, &plan.owners[OWNER].commands);
        assert_eq!(by_hand(&by_sockets, plan), Vec::<String>::new(), "{what}");
        for daemon in ["mgmtd", "zebra", "bgpd", "bfdd", "staticd"] {
            let own = |frr: &Frr| {
                let said = frr.vtysh(&["-d", daemon, "-c", "show running-config"]);
                String::from_utf8_lossy(&said.stdout).into_owned()
            };
            assert_eq!(own(&by_sockets), own(&by_vtysh), "{daemon}, {what}");
        }
    };
    let mut compared = 0;
    for case in cases_for_real(release) {
        let candidate = candidate(&case);
        let journal = Journal::new();
        let known = Known { confirmed: None, adopt: &[], journal: &journal };
        let there = Dialect.plan(&running(&by_vtysh), &candidate, &known).unwrap();
        both(&there, &case.display().to_string());
        let back = Dialect.undo(&running(&by_vtysh), &empty, &candidate);
        both(&back, &case.display().to_string());
        compared += 1;
    }
    // So many that they are sent as a batch.
    let entry = |number: u32| {
        format!("ip prefix-list SWITCHLET-MANY seq {number} permit 10.{}.{}.0/24", number / 256, number % 256)
    };
    both(&plan((1..=400).map(entry)), "many lines");
    assert!(running(&by_sockets).texts[OWNER].contains("SWITCHLET-MANY seq 400 permit 10.1.144.0/24"));
    both(&plan(["no ip prefix-list SWITCHLET-MANY".to_owned()]), "many lines go");
    assert!(compared > 3, "{compared} cases");
}

/// vtysh returns 0 for a refused filter and stops saying more after a refused block; the sockets have a word for each line.
fn the_sockets_tell_of_every_line(release: Release) {
    if !can_run(release) {
        return;
    }
    let text = "frr defaults datacenter\nhostname leaf1\n";
    let frr = Frr::start(release, Netns::new("q"), &["zebra", "bgpd", "bfdd", "staticd"], text);
    let lines = [
        "ip prefix-list SWITCHLET-A seq 5 permit 192.0.2.0/24 ge 20",
        "ip prefix-list SWITCHLET-B seq 5 permit 192.0.2.0/24",
        "router bgp 65001",
        " neighbor 192.0.2.1 peer-group SWITCHLET-NOBODY",
        " neighbour 192.0.2.2 remote-as 65002",
        " neighbor SWITCHLET-S peer-group",
        " neighbor SWITCHLET-S remote-as external",
        " neighbor SWITCHLET-S password not-to-be-shown",
        "exit",
        "rooter bgp 65001",
        " neighbor 192.0.2.3 remote-as 65003",
        "exit",
    ];
    let said = by_hand(&frr, &plan(lines.map(str::to_owned)));
    let complains = |what: &str| said.iter().any(|line| line.contains(what));
    assert!(complains("ip prefix-list SWITCHLET-A seq 5"), "{said:#?}");
    assert!(complains("neighbor 192.0.2.1 peer-group SWITCHLET-NOBODY"), "{said:#?}");
    assert!(complains("no daemon knows `neighbour 192.0.2.2 remote-as 65002`"), "{said:#?}");
    assert!(complains("no daemon knows `rooter bgp 65001`"), "{said:#?}");
    assert!(
        !complains("192.0.2.3") && !complains("SWITCHLET-B") && !complains("not-to-be-shown"),
        "{said:#?}"
    );
    let text = running(&frr).texts[OWNER].clone();
    assert!(text.contains("ip prefix-list SWITCHLET-B seq 5 permit 192.0.2.0/24"), "{text}");
    assert!(text.contains(" neighbor SWITCHLET-S remote-as external"), "{text}");
    assert!(!text.contains("192.0.2.3") && !text.contains("SWITCHLET-A"), "{text}");
}

fn plan(commands: impl IntoIterator<Item = String>) -> Plan {
    let plan = OwnerPlan { commands: commands.into_iter().collect(), ..OwnerPlan::default() };
    Plan { owners: [(OWNER.to_owned(), plan)].into_iter().collect() }
}

/// What the sockets had to say about these commands.
fn by_hand(frr: &Frr, plan: &Plan) -> Vec<String> {
    let places = Places { root: frr.root.clone(), instance: Some(frr.instance().to_owned()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(FrrDriver::new(places, Hand::Socket).apply(plan, Hold::None)).unwrap()
}

fn running(frr: &Frr) -> Running {
    let places = Places { root: frr.root.clone(), instance: Some(frr.instance().to_owned()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(FrrDriver::new(places, Hand::Auto).running()).unwrap()
}

fn send(frr: &Frr, commands: &[String]) {
    frr.configure(&commands.join("\n"));
}
