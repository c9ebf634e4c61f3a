//! A change that cannot hurt: what it takes away brings it back, whoever dies in the middle.
//!
//! Real FRR, real BIRD speakers; the kernel's table is read by iproute2, and the neighbours' sessions by FRR's counters.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{Agent, eventually, wait_for};
use crate::release::Release;
use crate::scene::{APPLIED, DENY_ALL, HARMLESS, SOON, Scene, WINDOW, kill};
use crate::switch::Switch;

on_each_frr!(
    a_filter_that_drops_all_vips_is_undone,
    an_agent_that_dies_or_freezes_leaves_it_to_the_guard,
    an_agent_that_comes_back_settles_first,
    told_to_stop_it_settles_first,
    the_guard_may_die_too,
    without_a_way_back_on_disk_nothing_is_changed,
    a_switch_that_retires_lets_its_vips_go,
);

fn a_filter_that_drops_all_vips_is_undone(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let agent = scene.switch.agent();
    scene.well(&agent);
    let from = agent.log().len();
    scene.bundle(Some(DENY_ALL));
    let gone = || scene.hops() == 0;
    assert!(eventually(SOON, gone), "the filter has no effect, so this proves nothing");
    let began = Instant::now();
    Switch::log_has(&agent, from, "was undone, because of what it took away: 203.0.113.10/32 lost next-hop");
    scene.untouched("after a filter that drops everything");
    let dark = began.elapsed();
    assert!(dark < Duration::from_secs(WINDOW) + SOON, "{dark:?}");
    assert!(!scene.record().exists(), "the way back is left lying");
    // It is not tried again by itself, not even in another life.
    let sent = agent.log().matches("sent commands").count();
    agent.stop();
    let agent = scene.switch.agent();
    Switch::log_has(&agent, 0, "started");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(agent.log().matches("sent commands").count(), sent, "{}", agent.log());
    scene.untouched("in the next life");
    // A mended bundle is another one.
    let from = agent.log().len();
    scene.bundle(Some(HARMLESS));
    Switch::log_has(&agent, from, APPLIED);
    scene.switch.runs("ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24", true);
    assert_ne!(scene.switch.startup(), scene.startup);
    assert_eq!(scene.sessions(), scene.sessions);
}

fn an_agent_that_dies_or_freezes_leaves_it_to_the_guard(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let mut agent = scene.switch.agent();
    Switch::log_has(&agent, 0, "started");
    let guard = scene.switch.lab.guard("leaf1");
    scene.well(&agent);
    for (signal, number) in [("-KILL", "deny 1"), ("-STOP", "deny 2")] {
        let from = agent.log().len();
        let (guarded, pid) = (guard.log().len(), agent.pid());
        // Another text than the one that is held by now.
        scene.bundle(Some(&DENY_ALL.replace("deny 1", number)));
        Switch::log_has(&agent, from, "sent commands");
        kill(&agent, signal);
        let began = Instant::now();
        assert!(eventually(SOON, || scene.hops() == 0), "the filter has no effect, so this proves nothing");
        scene.forwards("the guard went back");
        let dark = began.elapsed();
        assert!(dark < Duration::from_secs(WINDOW + 15), "{signal}: {dark:?}");
        wait_for("the guard says so", SOON, || {
            let log = guard.log();
            if log[guarded..].contains("the change is settled phase=Undone") { Ok(()) } else { Err(log) }
        });
        scene.untouched(signal);
        assert!(eventually(SOON, || ended(pid)), "{signal}: the guard leaves a frozen agent alive");
        drop(agent);
        // The next life finds it settled, tries once more, because nobody knows whether the text was to blame, and sees.
        agent = scene.switch.agent();
        let from = from + agent.log()[from..].len();
        Switch::log_has(&agent, from, "was undone, because of what it took away");
        scene.untouched("in the next life");
        scene.bundle(None);
        Switch::log_has(&agent, from, APPLIED);
    }
}

fn an_agent_that_comes_back_settles_first(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let agent = scene.switch.agent();
    scene.well(&agent);
    // Nobody guards: the next life goes back at once, and then tries the good text once more.
    let from = agent.log().len();
    scene.bundle(Some(HARMLESS));
    Switch::log_has(&agent, from, "sent commands");
    kill(&agent, "-KILL");
    drop(agent);
    scene.switch.runs("ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24", true);
    assert_eq!(scene.switch.startup(), scene.startup, "startup before the yes");
    assert!(scene.record().exists());
    let agent = scene.switch.agent();
    Switch::log_has(&agent, from, "an earlier life left a change unsettled");
    Switch::log_has(&agent, from, "was undone, because the agent ended before the change was settled");
    Switch::log_has(&agent, from, APPLIED);
    scene.switch.runs("ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24", true);
    scene.forwards("all the time");
    assert_eq!(scene.sessions(), scene.sessions);
    assert_ne!(scene.switch.startup(), scene.startup);
    // What is settled is settled in the next life too.
    agent.stop();
    let settled = scene.switch.lab.running("leaf1");
    let record = fs::read_to_string(scene.switch.lab.scratch("agent-leaf1/confirmed.json")).unwrap();
    assert!(record.contains("\"tried\":[]"), "what was confirmed is not held: {record}");
    let agent = scene.switch.agent();
    Switch::log_has(&agent, from, "started");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(scene.switch.lab.running("leaf1"), settled);
}

/// True when the process is gone, or waits only for whoever started it.
fn ended(pid: u32) -> bool {
    !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

fn told_to_stop_it_settles_first(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let guard = scene.switch.lab.guard("leaf1");
    let agent = scene.switch.agent();
    scene.well(&agent);
    let from = agent.log().len();
    scene.bundle(Some(HARMLESS));
    Switch::log_has(&agent, from, "sent commands");
    let log = agent.log.clone();
    // As when a pod ends: both are told at the same time, and the agent still needs the guard's yes.
    kill(&guard, "-TERM");
    agent.stop();
    let log = fs::read_to_string(log).unwrap();
    assert!(log[from..].contains("settling the change under way before the end"), "{log}");
    scene.switch.runs("ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24", true);
    assert!(fs::read_to_string(scene.switch.lab.frr_conf("leaf1")).unwrap().contains("SWITCHLET-SPARE"));
    assert!(!scene.record().exists());
    assert_eq!(scene.sessions(), scene.sessions);
    assert!(!guard.log().contains("going back"), "{}", guard.log());
    assert!(eventually(SOON, || ended(guard.pid())), "nothing is watched over any more: {}", guard.log());
    drop(guard);
    // Nobody says yes: it goes back, and begins nothing else.
    let guard = scene.switch.lab.guard("leaf1");
    let agent = scene.switch.agent();
    let (from, startup) = (agent.log().len(), scene.switch.startup());
    scene.bundle(None);
    Switch::log_has(&agent, from, "sent commands");
    kill(&guard, "-KILL");
    drop(guard);
    let log = agent.log.clone();
    agent.stop();
    let log = fs::read_to_string(log).unwrap();
    let after = log[from..].split_once("the guard cannot be asked").map(|(_, after)| after);
    assert!(after.is_some_and(|after| !after.contains("sent commands")), "{log}");
    scene.switch.runs("ip prefix-list SWITCHLET-SPARE seq 10 permit 198.51.100.0/24", true);
    assert_eq!(scene.switch.startup(), startup, "startup without a yes");
    assert!(!scene.record().exists());
}

fn the_guard_may_die_too(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let guard = scene.switch.lab.guard("leaf1");
    let agent = scene.switch.agent();
    scene.well(&agent);
    // It comes back within the window, and takes up what it had promised.
    let from = agent.log().len();
    scene.bundle(Some(HARMLESS));
    Switch::log_has(&agent, from, "sent commands");
    kill(&guard, "-KILL");
    drop(guard);
    let guard = scene.switch.lab.guard("leaf1");
    Switch::log_has(&agent, from, APPLIED);
    // It does not come back: nobody says yes, so the agent goes back. Once more without a guard the change is its own.
    let (from, startup) = (agent.log().len(), scene.switch.startup());
    scene.bundle(None);
    Switch::log_has(&agent, from, "sent commands");
    kill(&guard, "-KILL");
    drop(guard);
    Switch::log_has(&agent, from, "nobody could look whether it works: the guard cannot be asked");
    assert_eq!(scene.switch.startup(), startup, "startup without a yes");
    Switch::log_has(&agent, from, APPLIED);
    scene.forwards("all the time");
    assert_eq!(scene.sessions(), scene.sessions);
    agent.stop();
    // Where a guard is demanded nothing is changed without one.
    scene.switch.more = vec!["--guard".to_owned(), "required".to_owned()];
    let agent = scene.switch.agent();
    let (running, from) = (scene.switch.lab.running("leaf1"), agent.log().len());
    scene.bundle(Some(HARMLESS));
    Switch::log_has(&agent, from, "no guard answers, and --guard=required forbids a change without one");
    assert_eq!(scene.switch.lab.running("leaf1"), running);
}

fn without_a_way_back_on_disk_nothing_is_changed(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let state = scene.switch.lab.scratch("agent-leaf1");
    fs::create_dir_all(&state).unwrap();
    let _small = Mounted::at(&state);
    let agent = scene.switch.agent();
    scene.well(&agent);
    let running = scene.switch.lab.running("leaf1");
    let refused = |scene: &Scene, agent: &Agent, from: usize, why: &str| {
        Switch::log_has(agent, from, why);
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(scene.switch.lab.running("leaf1"), running, "{why}");
        assert_eq!(scene.switch.startup(), scene.startup, "{why}");
        assert!(!agent.log()[from..].contains("sent commands"), "{}", agent.log());
    };
    // No space.
    let from = agent.log().len();
    let _ = fs::write(state.join("filler"), vec![0_u8; 8 << 20]);
    scene.bundle(Some(HARMLESS));
    refused(&scene, &agent, from, "the way back could not be written down");
    assert!(agent.log()[from..].contains("No space left on device"), "{}", agent.log());
    // Read only.
    fs::remove_file(state.join("filler")).unwrap();
    Switch::log_has(&agent, from, APPLIED);
    scene.startup = scene.switch.startup();
    let running = scene.switch.lab.running("leaf1");
    let remount = |how: &str| {
        let how = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &how]).arg(&state).status().unwrap().success());
    };
    agent.stop();
    remount("ro");
    let agent = scene.switch.agent();
    let from = agent.log().len();
    scene.bundle(None);
    Switch::log_has(&agent, from, "the way back could not be written down");
    assert!(agent.log()[from..].contains("Read-only file system"), "{}", agent.log());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.switch.lab.running("leaf1"), running);
    wait_for("the table is looked at all the same", SOON, || {
        let verdict = scene.switch.lab.verdict("leaf1");
        if verdict["verdict"] == "ok" { Ok(()) } else { Err(verdict.to_string()) }
    });
    // Its own view of the mount stays read only.
    agent.stop();
    remount("rw");
    let agent = scene.switch.agent();
    Switch::log_has(&agent, from, APPLIED);
    agent.stop();
    // What nobody understands is not written over: torn, or of a newer release.
    let (running, startup) = (scene.switch.lab.running("leaf1"), scene.switch.startup());
    for (file, text, why) in [
        ("change.json", "{\"version\": 99, \"new\": 1}", "has version 99, this release knows 1"),
        ("change.json", "{\"versi", "is not understood"),
        ("confirmed.json", "{\"version\": 99}", "has version 99, this release knows 1"),
        ("confirmed.json", "{\"memory\": {", "is not understood"),
    ] {
        let path = state.join(file);
        let before = fs::read(&path).ok();
        fs::write(&path, text).unwrap();
        let mut agent = scene.switch.agent();
        let from = agent.log().len();
        scene.bundle(Some(&format!("{HARMLESS}{{# {file} {} #}}", text.len())));
        Switch::log_has(&agent, from, why);
        Switch::log_has(&agent, from, "JournalFailed");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{file} was written over");
        assert_eq!(
            (scene.switch.lab.running("leaf1"), scene.switch.startup()),
            (running.clone(), startup.clone())
        );
        assert!(agent.is_running(), "it must not crash");
        assert_eq!(scene.hops(), 3);
        agent.stop();
        match before {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
}

/// A file system of four megabytes.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &std::path::Path) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(path).status();
        assert!(status.unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn a_switch_that_retires_lets_its_vips_go(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let agent = scene.switch.agent();
    scene.well(&agent);
    let from = agent.log().len();
    let path = scene.switch.cluster.join("objects.yaml");
    let objects = fs::read_to_string(&path).unwrap();
    let retired = objects.replace("apply: {confirmTimeout", "apply: {policy: Retired, confirmTimeout");
    assert_ne!(objects, retired);
    fs::write(&path, retired).unwrap();
    wait_for("nothing of ours runs", SOON, || {
        let running = scene.switch.lab.running("leaf1");
        if running.contains("SWITCHLET-") || running.contains("router bgp") { Err(running) } else { Ok(()) }
    });
    let startup = || String::from_utf8(scene.switch.startup()).unwrap();
    assert!(eventually(SOON, || !startup().contains("SWITCHLET-")), "{}", startup());
    // Longer than it would take to miss what went, and to bring it back.
    std::thread::sleep(Duration::from_secs(8));
    let running = scene.switch.lab.running("leaf1");
    assert!(!running.contains("SWITCHLET-"), "{running}");
    assert!(!agent.log()[from..].contains("was undone"), "{}", &agent.log()[from..]);
    assert_eq!(scene.hops(), 0);
}
