//! The no-flap promise: what the plan does not name stays up. No session is dropped, none is younger than it was, BFD goes down
//! nowhere; FRR's own counters say so, and BIRD's at the other end.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::lab::{Agent, wait_for};
use crate::release::Release;
use crate::scene::{APPLIED, SOON, Scene};
use crate::switch::Switch;
use serde_json::Value;

on_each_frr!(
    edits_that_mean_nothing_touch_nothing,
    restarts_and_upgrades_of_the_agent_touch_nothing,
    twenty_random_edits_end_only_the_sessions_that_were_named,
);

/// What chooses the edits; another number gives others.
const SEED: u64 = 20_261_121;

/// `switch.yaml` as one decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    max_paths: u32,
    max_prefixes: u32,
    timers: (u32, u32),
    bfd: Option<(u32, u32)>,
    pools: Vec<&'static str>,
    protected: bool,
    community: Option<&'static str>,
    peer_as: &'static str,
    spare: u32,
}

impl Wish {
    fn first() -> Self {
        Self {
            max_paths: 64,
            max_prefixes: 100,
            timers: (9, 3),
            bfd: Some((300, 3)),
            pools: vec!["203.0.113.0/24"],
            protected: false,
            community: None,
            peer_as: "external",
            spare: 0,
        }
    }

    fn text(&self) -> String {
        let Self { max_paths, max_prefixes, timers, bfd, pools, protected, community, peer_as, spare } = self;
        let bfd = bfd.map_or(String::new(), |(interval, times)| {
            format!("  bfd: {{interval: {interval}ms, multiplier: {times}}}\n")
        });
        let protected = if *protected { ", protected: [203.0.113.0/29]" } else { "" };
        let community =
            community.map_or(String::new(), |community| format!("communities: {{add: [\"{community}\"]}}\n"));
        format!(
            "version: 1\nasn: 65001\nrouterId: 10.0.0.1\nvips: {{pools: [\"2001:db8:113::/64\", {}]{protected}}}\npeering:\n  peerAsn: {peer_as}\n  \
             nodes:\n    selector: {{matchLabels: {{role: worker}}}}\n    subnets: [192.168.1.0/24, \"fd00:1::/32\"]\n  \
             timers: {{hold: {}s, keepalive: {}s}}\n{bfd}  maxPrefixes: {max_prefixes}\necmp: {{maxPaths: {max_paths}}}\n\
             {community}vars: {{spare: {spare}}}\nverify: {{convergence: 3s}}\n",
            pools.join(", "),
            timers.0,
            timers.1,
        )
    }

    /// Another valid wish, one field away. `dice` gives a number below its argument.
    fn other(&self, dice: &mut impl FnMut(usize) -> usize) -> Self {
        fn one<T: Copy>(of: &[T], dice: &mut impl FnMut(usize) -> usize) -> T {
            of[dice(of.len())]
        }
        let mut wish = self.clone();
        match dice(9) {
            0 => wish.max_paths = one(&[4, 8, 16, 32, 64], dice),
            1 => wish.max_prefixes = one(&[50, 100, 200, 1000], dice),
            2 => wish.timers = one(&[(9, 3), (12, 4), (30, 10), (6, 2)], dice),
            3 => wish.bfd = one(&[None, Some((300, 3)), Some((200, 5)), Some((500, 3))], dice),
            4 => {
                let more = one(&["198.51.100.0/24", "192.0.2.0/25", "198.18.0.0/16"], dice);
                match wish.pools.iter().position(|pool| *pool == more) {
                    Some(at) => drop(wish.pools.remove(at)),
                    None => wish.pools.insert(dice(wish.pools.len() + 1), more),
                }
            }
            5 => wish.protected = !wish.protected,
            6 => wish.community = one(&[None, Some("65001:100"), Some("65001:200")], dice),
            7 => wish.spare = wish.spare.wrapping_add(1),
            _ => wish.pools.rotate_left(1),
        }
        wish
    }
}

/// Of each peer: since when its session is up, how often it was dropped; and how often its BFD went down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counters {
    sessions: BTreeMap<String, (i64, i64)>,
    bfd: BTreeMap<String, i64>,
    /// BIRD's own word: second of the day since when, by protocol.
    far: BTreeMap<String, i64>,
}

fn counters(scene: &Scene) -> Counters {
    let json = |command: &str| -> Value {
        serde_json::from_str(&scene.switch.lab.lab(&["vtysh", "leaf1", "-c", command])).unwrap()
    };
    let peers = json("show bgp neighbors json");
    let sessions = peers.as_object().unwrap().iter().filter(|(_, peer)| peer["bgpState"] == "Established");
    let sessions = sessions.map(|(name, peer)| {
        let number = |field: &str| peer[field].as_i64().unwrap();
        (name.clone(), (number("bgpTimerUpEstablishedEpoch"), number("connectionsDropped")))
    });
    let bfd = json("show bfd peers counters json");
    let bfd = bfd.as_array().cloned().unwrap_or_default().into_iter();
    let bfd = bfd.map(|peer| {
        (peer["peer"].as_str().unwrap_or("?").to_owned(), peer["session-down"].as_i64().unwrap_or(-1))
    });
    let far = ["s1", "s2", "s3"].into_iter().flat_map(|server| {
        let text = scene.switch.lab.lab(&["birdc", server, "show", "protocols"]);
        let line = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let is_up =
                words.get(1).is_some_and(|kind| kind == "BGP") && words.iter().any(|w| w == "Established");
            is_up.then(|| (format!("{server} {}", words[0]), second_of_day(&words[4])))
        };
        text.lines().filter_map(line).collect::<Vec<_>>()
    });
    Counters { sessions: sessions.collect(), bfd: bfd.collect(), far: far.collect() }
}

/// `21:59:52.360`
fn second_of_day(time: &str) -> i64 {
    let whole = time.split('.').next().unwrap();
    whole.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap_or(0))
}

/// Both read a clock and take a difference: it may be one off.
fn same_since(before: i64, now: i64) -> bool {
    (before - now).abs() <= 1
}

impl Counters {
    /// What was interrupted since `before`, beside what was `named`.
    fn interrupted(&self, before: &Self, named: &[String]) -> Vec<String> {
        let sessions =
            before.sessions.iter().filter_map(|(peer, (since, dropped))| match self.sessions.get(peer) {
                Some((now, more)) if same_since(*since, *now) && more == dropped => None,
                other => Some(format!("session {peer}: {other:?}, was {since} {dropped}")),
            });
        let bfd = before.bfd.iter().filter_map(|(peer, downs)| match self.bfd.get(peer) {
            // Switched off, or made anew: nothing went down.
            None => None,
            Some(now) if now <= downs => None,
            Some(now) => Some(format!("bfd {peer}: down {now} times, was {downs}")),
        });
        sessions
            .chain(bfd)
            .filter(|line| !named.iter().any(|peer| line.contains(&format!(" {peer}:"))))
            .collect()
    }
}

impl Counters {
    /// What the other ends saw interrupted.
    fn interrupted_far(&self, before: &Self) -> Vec<String> {
        let same =
            |protocol: &str, since: i64| self.far.get(protocol).is_some_and(|now| same_since(since, *now));
        before
            .far
            .iter()
            .filter(|(protocol, since)| !same(protocol, **since))
            .map(|(p, _)| p.clone())
            .collect()
    }
}

struct Stage {
    scene: Scene,
    wish: Wish,
}

impl Stage {
    fn up(release: Release) -> Option<(Self, Agent)> {
        let mut scene = Scene::up(release)?;
        let wish = Wish::first();
        scene.switch.bundle.publish(&[("switch.yaml", &wish.text())]);
        let path = scene.switch.cluster.join("objects.yaml");
        let objects = fs::read_to_string(&path).unwrap();
        fs::write(&path, objects.replace("apply: {confirm", "budget: {sessionResets: 99}, apply: {confirm"))
            .unwrap();
        let agent = scene.switch.agent();
        scene.well(&agent);
        let stage = Self { scene, wish };
        stage.all_are_up();
        Some((stage, agent))
    }

    /// Three sessions a family, each with its BFD.
    fn all_are_up(&self) {
        wait_for("six sessions, and their BFD", SOON, || {
            let counters = counters(&self.scene);
            let bfd = if self.wish.bfd.is_some() { counters.bfd.len() >= 6 } else { true };
            if counters.sessions.len() == 6 && bfd { Ok(()) } else { Err(format!("{counters:?}")) }
        });
        self.scene.forwards("all are up");
    }

    /// Publishes a text of which `plan` says that nothing changes, and waits until the agent has looked at it.
    fn means_nothing(&mut self, agent: &Agent, what: &str, text: &str) {
        let before = counters(&self.scene);
        let sent = agent.log().matches("sent commands").count();
        self.scene.switch.bundle.publish(&[("switch.yaml", text)]);
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(agent.log().matches("sent commands").count(), sent, "{what}: {}", agent.log());
        let (code, said) = self.scene.switch.once("plan", &[]);
        assert_eq!(code, Some(0), "{what}: {said}");
        let now = counters(&self.scene);
        assert_eq!(now.interrupted(&before, &[]), Vec::<String>::new(), "{what}");
        assert_eq!(now.interrupted_far(&before), Vec::<String>::new(), "{what}: the other ends");
    }
}

fn edits_that_mean_nothing_touch_nothing(release: Release) {
    let Some((mut stage, agent)) = Stage::up(release) else { return };
    let text = stage.wish.text();
    stage.means_nothing(&agent, "the same text again", &text);
    let spaced = text.replace(": {", ":   {").replace('\n', "\n\n# a remark\n");
    stage.means_nothing(&agent, "white space and remarks", &spaced);
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with(' ') && *line != "peering:").collect();
    let peering: Vec<&str> =
        text.lines().filter(|line| line.starts_with(' ') || *line == "peering:").collect();
    lines.reverse();
    lines.splice(2..2, peering);
    stage.means_nothing(&agent, "keys in another order", &(lines.join("\n") + "\n"));
    // A neighbour more, which nobody answers for.
    let before = counters(&stage.scene);
    let from = agent.log().len();
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: worker-9, labels: {role: worker}}\n\
                status: {addresses: [{type: InternalIP, address: 192.168.1.99}]}\n";
    let path = stage.scene.switch.cluster.join("more.yaml");
    fs::write(&path, node).unwrap();
    stage.scene.switch.runs("neighbor 192.168.1.99 peer-group SWITCHLET-SPEAKERS", true);
    Switch::log_has(&agent, from, APPLIED);
    assert_eq!(counters(&stage.scene).interrupted(&before, &[]), Vec::<String>::new(), "a neighbour more");
}

fn restarts_and_upgrades_of_the_agent_touch_nothing(release: Release) {
    let Some((stage, mut agent)) = Stage::up(release) else { return };
    let before = counters(&stage.scene);
    let running = stage.scene.switch.lab.running("leaf1");
    // Another build of it: the same code without its symbols is another file with another build id.
    let another = stage.scene.switch.lab.scratch("switchlet-next");
    let strip =
        std::process::Command::new("strip").arg("-o").arg(&another).arg(crate::lab::binary()).status();
    assert!(strip.unwrap().success());
    let exec = format!("shift; exec {} \"$@\"", another.display());
    let next = ["bash", "-c", exec.as_str(), "bash"];
    for (what, signal, starter) in [
        ("told to stop", "-TERM", [].as_slice()),
        ("killed", "-KILL", &[]),
        ("upgraded", "-TERM", &next),
        ("and back", "-TERM", &[]),
    ] {
        crate::scene::kill(&agent, signal);
        if signal == "-TERM" {
            agent.stop();
        } else {
            drop(agent);
        }
        let log = stage.scene.switch.lab.scratch("log/agent-leaf1.log");
        let from = fs::read_to_string(log).unwrap().len();
        agent = stage.scene.switch.agent_under(starter);
        wait_for("the next life is ready", SOON, || {
            let ready = stage.scene.switch.lab.endpoint("leaf1", "/readyz");
            if ready == "ok\n" { Ok(()) } else { Err(ready) }
        });
        std::thread::sleep(Duration::from_secs(2));
        assert!(!agent.log()[from..].contains("sent commands"), "{what}: {}", agent.log());
        let now = counters(&stage.scene);
        assert_eq!(now.interrupted(&before, &[]), Vec::<String>::new(), "{what}");
        assert_eq!(now.interrupted_far(&before), Vec::<String>::new(), "{what}: the other ends");
        assert_eq!(stage.scene.switch.lab.running("leaf1"), running, "{what}");
    }
}

/// What `plan` says of `text`: whether anything changes, and the sessions that it names.
fn foretold(stage: &Stage, text: &str) -> (bool, Vec<String>) {
    let folder = stage.scene.switch.lab.scratch("foretold");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("switch.yaml"), text).unwrap();
    let place = &stage.scene.switch.lab;
    let (folder, cluster) = (folder.to_str().unwrap(), stage.scene.switch.cluster.to_str().unwrap());
    let memory = place.scratch("agent-leaf1");
    let output = place.switchlet(
        "leaf1",
        &[
            "plan",
            "-o",
            "json",
            "--node",
            "leaf1",
            "--bundle",
            folder,
            "--cluster",
            cluster,
            "--frr-root",
            &place.env["FRR_ROOT"],
            "--frr-instance",
            &place.env["FRR_LEAF1"],
            "--state-dir",
            memory.to_str().unwrap(),
        ],
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?} {said} {}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_str(&said).unwrap();
    let sessions = json["sessions"].as_array().cloned().unwrap_or_default();
    (code == Some(1), sessions.iter().map(|peer| peer.as_str().unwrap().to_owned()).collect())
}

fn twenty_random_edits_end_only_the_sessions_that_were_named(release: Release) {
    let Some((mut stage, agent)) = Stage::up(release) else { return };
    let seed = std::env::var("FLAPS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(SEED);
    let mut random: u64 = seed ^ u64::from(release == Release::V10_3);
    let mut dice = |most: usize| {
        // xorshift: any spread will do, and the same one each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(most).unwrap()).unwrap()
    };
    let (mut changes, mut resets) = (0, 0);
    for number in 1..=20 {
        // The first ones move entries of the filter, which FRR 8.4's route-maps do not survive by themselves.
        let pools = vec!["198.18.0.0/16", "203.0.113.0/24"];
        let wish = match number {
            1 => Wish { pools, ..stage.wish.clone() },
            2 => Wish { protected: true, ..stage.wish.clone() },
            3 => Wish { protected: false, ..stage.wish.clone() },
            _ => stage.wish.other(&mut dice),
        };
        let text = wish.text();
        let (differs, named) = foretold(&stage, &text);
        let before = counters(&stage.scene);
        let from = agent.log().len();
        let what = format!("edit {number} (FLAPS_SEED={seed}): {:?} → {wish:?}, named {named:?}", stage.wish);
        stage.scene.switch.bundle.publish(&[("switch.yaml", &text)]);
        if differs {
            changes += 1;
            wait_for(&what, SOON, || {
                let log = agent.log();
                if log[from..].contains(APPLIED) { Ok(()) } else { Err(log[from..].to_owned()) }
            });
            assert!(!agent.log()[from..].contains("was undone"), "{what}: {}", agent.log());
        } else {
            std::thread::sleep(Duration::from_secs(2));
        }
        let now = counters(&stage.scene);
        assert_eq!(now.interrupted(&before, &named), Vec::<String>::new(), "{what}");
        resets += usize::from(!named.is_empty());
        stage.wish = wish;
        stage.all_are_up();
    }
    eprintln!("{release:?}: 20 edits, {changes} changed something, {resets} named sessions");
    assert!(changes >= 10, "{changes} changes prove little");
    assert!(resets < changes, "all of them named sessions");
}
