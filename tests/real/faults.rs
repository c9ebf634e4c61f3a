//! Whatever fails in the middle of a change: the old forwarding stays, or the new one is confirmed, and the reason is said.
//!
//! Real FRR, real BIRD speakers, a real kernel; the faults are real too: signals, the kernel's out-of-memory killer, a daemon
//! that starts again with the old text, somebody else's route. Only the wall clock is bent, by libfaketime under the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Agent, eventually, wait_for};
use crate::release::Release;
use crate::scene::{APPLIED, DENY_ALL, SOON, Scene, VIP, WINDOW, kill};
use crate::switch::{SETTINGS, Switch};

on_each_frr!(
    killed_at_any_step_the_switch_forwards_and_the_next_life_ends_it,
    out_of_memory_and_a_crash_loop_leave_it_to_the_guard,
    a_daemon_that_dies_or_freezes_in_a_change_brings_no_half_of_it,
    frrs_own_supervisor_dies_or_starts_a_daemon_anew,
    sessions_that_do_not_come_back_undo_the_change,
    the_only_uplink_comes_back,
    a_host_that_reboots_in_a_change_comes_back_with_the_old_text,
    the_wall_clock_may_jump_by_an_hour,
    a_route_that_somebody_replaces_in_the_window_undoes_the_change,
);

/// A harmless line; each number is another text.
fn spare(number: u32) -> String {
    format!("ip prefix-list SWITCHLET-SPARE seq {number} permit 198.51.100.0/24")
}

fn with_spare(number: u32) -> String {
    format!(
        "{{% extends \"builtin/frr.conf.tera\" %}}\n{{% block end %}}{}\n{{% endblock %}}\n",
        spare(number)
    )
}

/// An agent that tells each step.
fn talkative(scene: &Scene) -> Agent {
    scene.switch.agent_under(&["env", "RUST_LOG=info,switchlet=debug"])
}

/// Waits until `step` has begun for the `nth` time since the log had `from` bytes; the shorter the look, the earlier the kill.
fn begun(agent: &Agent, from: usize, step: &str, nth: usize) {
    let (line, deadline) = (format!("step=\"{step}\""), Instant::now() + SOON);
    while agent.log()[from..].matches(&line).count() < nth {
        assert!(Instant::now() < deadline, "{step} has not begun {nth} times: {}", &agent.log()[from..]);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn killed_at_any_step_the_switch_forwards_and_the_next_life_ends_it(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let guard = scene.switch.lab.guard("leaf1");
    let mut agent = talkative(&scene);
    scene.well(&agent);
    let steps = [
        ("read-running", 1),
        ("measure", 1),
        ("arm", 1),
        ("apply", 1),
        ("read-running", 2),
        ("measure", 2),
        ("measure", 3),
        ("confirm", 1),
        ("write-startup", 1),
        ("disarm", 1),
    ];
    for (number, (step, nth)) in (10..).zip(steps) {
        let from = agent.log().len();
        scene.bundle(Some(&with_spare(number)));
        begun(&agent, from, step, nth);
        kill(&agent, "-KILL");
        drop(agent);
        let what = format!("killed at {step} {nth}");
        let startup = scene.switch.startup();
        let new = String::from_utf8_lossy(&startup).contains(&spare(number));
        // The guard's yes comes before the startup text.
        assert!(!new || ["write-startup", "disarm"].contains(&step), "{what}: startup before the yes");
        assert!(new || startup == scene.startup, "{what}: startup is neither the old text nor the new one");
        agent = talkative(&scene);
        Switch::log_has(&agent, from, "started");
        let from = from + agent.log()[from..].find("started").unwrap();
        Switch::log_has(&agent, from, APPLIED);
        scene.switch.runs(&spare(number), true);
        scene.switch.runs(&spare(number - 1), false);
        scene.forwards(&what);
        assert_eq!(scene.sessions(), scene.sessions, "{what}: a session was dropped");
        assert!(
            eventually(SOON, || !scene.record().exists()),
            "{what}: the way back is left lying: {:.400}",
            fs::read_to_string(scene.record()).unwrap_or_default()
        );
        scene.startup = scene.switch.startup();
        assert!(String::from_utf8_lossy(&scene.startup).contains(&spare(number)), "{what}");
    }
    assert!(!guard.log().contains("could not go back"), "{}", guard.log());
}

/// A memory cgroup of its own, with little room beside what is in it.
struct Cramped(PathBuf);

impl Cramped {
    const ROOM: u64 = 64 << 20;

    fn around(pid: u32) -> Self {
        let new = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let parent = if new { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let folder = Path::new(parent).join(format!("switchlet-test-{pid}"));
        fs::create_dir(&folder).unwrap();
        let limit = folder.join(if new { "memory.max" } else { "memory.limit_in_bytes" });
        fs::write(limit, Self::ROOM.to_string()).unwrap();
        fs::write(folder.join("cgroup.procs"), pid.to_string()).unwrap();
        Self(folder)
    }

    /// Fills the room. What ends is not what fills it.
    fn fill(&self, victim: u32) {
        fs::write(format!("/proc/{victim}/oom_score_adj"), "1000").unwrap();
        let script = format!(
            "echo -1000 > /proc/self/oom_score_adj; echo $$ > {}/cgroup.procs; exec timeout 5 python3 -c 'x = []\nwhile True: x.append(bytes(1 << 20))'",
            self.0.display()
        );
        drop(Command::new("bash").args(["-c", &script]).stderr(Stdio::null()).status());
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        eventually(Duration::from_secs(10), || fs::remove_dir(&self.0).is_ok());
    }
}

fn out_of_memory_and_a_crash_loop_leave_it_to_the_guard(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let guard = scene.switch.lab.guard("leaf1");
    let mut agent = scene.switch.agent();
    scene.well(&agent);
    let cramped = Cramped::around(agent.pid());
    let from = agent.log().len();
    scene.bundle(Some(DENY_ALL));
    Switch::log_has(&agent, from, "sent commands");
    cramped.fill(agent.pid());
    let began = Instant::now();
    assert!(eventually(SOON, || !agent.is_running()), "the kernel has not ended it");
    assert!(eventually(SOON, || scene.hops() == 0), "the filter has no effect, so this proves nothing");
    scene.forwards("the guard went back");
    assert!(began.elapsed() < Duration::from_secs(WINDOW + 15), "{:?}", began.elapsed());
    scene.untouched("after the end of its memory");
    drop(cramped);
    // A life that ends again and again as soon as it has begun: from the second command on nobody settles anything.
    scene.bundle(None);
    agent = scene.switch.agent();
    Switch::log_has(&agent, from, "started");
    Switch::log_has(&agent, from, APPLIED);
    let (from, guarded) = (agent.log().len(), guard.log().len());
    scene.bundle(Some(&DENY_ALL.replace("deny 1", "deny 2")));
    Switch::log_has(&agent, from, "sent commands");
    kill(&agent, "-KILL");
    drop(agent);
    let until = Instant::now() + Duration::from_secs(WINDOW + 5);
    while Instant::now() < until {
        let agent = scene.switch.agent();
        std::thread::sleep(Duration::from_millis(60));
        drop(agent);
    }
    scene.forwards("after a crash loop");
    scene.untouched("after a crash loop");
    let log = guard.log();
    assert!(!log[guarded..].contains("could not go back"), "{log}");
    // What is left of it is told by the next life that lives.
    let agent = scene.switch.agent();
    scene.forwards("in the next life");
    Switch::log_has(&agent, from, "was undone, because");
    scene.untouched("in the next life");
}

fn a_daemon_that_dies_or_freezes_in_a_change_brings_no_half_of_it(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let _guard = scene.switch.lab.guard("leaf1");
    let agent = talkative(&scene);
    scene.well(&agent);
    // It comes back with the old startup text, as FRR's supervisor would start it: the candidate is lost.
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(20)));
    begun(&agent, from, "apply", 1);
    scene.switch.lab.lab(&["frr", "kill", "leaf1", "bgpd"]);
    std::thread::sleep(Duration::from_secs(1));
    scene.switch.lab.lab(&["frr", "start", "leaf1", "bgpd"]);
    Switch::log_has(&agent, from, "was undone, because");
    scene.forwards("bgpd came back with the old text");
    // vtysh shows the copies of the other daemons too; bgpd's word counts.
    let running = scene.switch.lab.lab(&["vtysh", "leaf1", "-d", "bgpd", "-c", "show running-config"]);
    assert!(!running.contains(&spare(20)) && running.contains("SWITCHLET-SPEAKERS"), "{running}");
    assert_eq!(scene.switch.startup(), scene.startup);
    // Frozen: nobody can look or go back while it lasts; afterwards all is as it was.
    scene.bundle(None);
    Switch::log_has(&agent, from, APPLIED);
    scene.sessions = scene.sessions();
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(21)));
    begun(&agent, from, "measure", 2);
    scene.switch.lab.lab(&["frr", "freeze", "leaf1", "bgpd"]);
    std::thread::sleep(Duration::from_secs(WINDOW + 6));
    assert_eq!(scene.switch.startup(), scene.startup, "startup without a yes");
    scene.switch.lab.lab(&["frr", "thaw", "leaf1", "bgpd"]);
    // The guard has ended the agent; kubelet starts another one.
    drop(agent);
    let agent = scene.switch.agent();
    scene.forwards("bgpd goes on");
    Switch::log_has(&agent, from, "was undone, because");
    // Nobody could look, so it is tried once more, and this time it works.
    Switch::log_has(&agent, from, APPLIED);
    scene.switch.runs(&spare(21), true);
    scene.forwards("tried once more");
}

/// FRR's own supervisor, with the lab's commands in the place of an init script's.
struct Watchfrr(Child);

impl Watchfrr {
    fn start(scene: &Scene) -> Self {
        let lab = &scene.switch.lab;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/lab");
        let command =
            |action: &str| format!("LAB={} {} frr {action} leaf1 %s", lab.env["LAB"], script.display());
        let (start, stop) = (command("start"), command("kill"));
        let sockets = &lab.env["FRR_RUN_LEAF1"];
        let path = lab.scratch("log/watchfrr.log");
        let log = fs::File::create(&path).unwrap();
        let child = Command::new("/usr/lib/frr/watchfrr")
            .args([
                "-N",
                &lab.env["FRR_LEAF1"],
                "-S",
                sockets,
                "-i",
                "1",
                "--min-restart-interval",
                "1",
                "-l",
                "6",
            ])
            .args(["-s", &start, "-k", &stop, "-r", &start, "-p", &format!("{sockets}/watchfrr.pid")])
            .args(["zebra", "bgpd", "staticd"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        // Whoever waits may give up: from here on the process goes with the value.
        let this = Self(child);
        wait_for("watchfrr sees bgpd", SOON, || {
            let log = fs::read_to_string(&path).unwrap();
            if log.contains("bgpd state -> up") { Ok(()) } else { Err(log) }
        });
        this
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Watchfrr {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn frrs_own_supervisor_dies_or_starts_a_daemon_anew(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let _guard = scene.switch.lab.guard("leaf1");
    let agent = talkative(&scene);
    scene.well(&agent);
    // It ends in the middle of a change, which it has no part in.
    let mut watchfrr = Watchfrr::start(&scene);
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(30)));
    begun(&agent, from, "apply", 1);
    watchfrr.kill();
    Switch::log_has(&agent, from, APPLIED);
    scene.switch.runs(&spare(30), true);
    scene.forwards("without a supervisor");
    assert_eq!(scene.sessions(), scene.sessions, "a session was dropped");
    // bgpd dies in the middle of a change, and its supervisor starts it with the startup text.
    let startup = scene.switch.startup();
    let _watchfrr = Watchfrr::start(&scene);
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(31)));
    begun(&agent, from, "apply", 1);
    scene.switch.lab.lab(&["frr", "kill", "leaf1", "bgpd"]);
    Switch::log_has(&agent, from, "was undone, because");
    scene.forwards("the supervisor has started bgpd");
    let running = scene.switch.lab.lab(&["vtysh", "leaf1", "-d", "bgpd", "-c", "show running-config"]);
    assert!(running.contains(&spare(30)) && !running.contains(&spare(31)), "{running}");
    assert_eq!(scene.switch.startup(), startup, "startup without a yes");
}

fn sessions_that_do_not_come_back_undo_the_change(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    allow_resets(&scene);
    let agent = scene.switch.agent();
    scene.well(&agent);
    let from = agent.log().len();
    let wrong = SETTINGS.replace("peerAsn: external", "peerAsn: 64999");
    scene.switch.bundle.publish(&[("switch.yaml", &wrong)]);
    Switch::log_has(&agent, from, "sent commands");
    assert!(eventually(SOON, || scene.hops() == 0), "the wrong AS has no effect, so this proves nothing");
    Switch::log_has(&agent, from, "was undone, because of what it took away");
    scene.forwards("the right AS is back");
    assert_eq!(scene.switch.startup(), scene.startup);
    let log = agent.log();
    let line = log[from..].lines().find(|line| line.contains("was undone")).unwrap();
    assert!(line.contains("203.0.113.10/32 lost next-hop 192.168.1.11"), "{line}");
    // And it stays so.
    let sent = log.matches("sent commands").count();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(agent.log().matches("sent commands").count(), sent);
}

/// The budget lets a mistake through to the switch.
fn allow_resets(scene: &Scene) {
    let path = scene.switch.cluster.join("objects.yaml");
    let objects = fs::read_to_string(&path).unwrap();
    let wide =
        objects.replace("apply: {confirmTimeout", "budget: {sessionResets: 9}, apply: {confirmTimeout");
    assert_ne!(objects, wide);
    fs::write(path, wide).unwrap();
}

fn the_only_uplink_comes_back(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    allow_resets(&scene);
    // Another switch that gives the default route, and a text of the switch's own that takes it.
    let other = "configure terminal\nrouter bgp 65002\nno bgp ebgp-requires-policy\nneighbor 10.0.12.0 remote-as 65001\n\
                 neighbor 10.0.12.0 timers connect 1\naddress-family ipv4 unicast\nneighbor 10.0.12.0 default-originate\n";
    let words: Vec<&str> = other.lines().flat_map(|line| ["-c", line]).collect();
    scene.switch.lab.lab(&[&["vtysh", "leaf2"], words.as_slice()].concat());
    let literal = |uplink: &str| {
        format!(
            "frr defaults datacenter\nhostname leaf1\nrouter bgp 65001\n bgp router-id 10.0.0.1\n \
             no bgp ebgp-requires-policy\n{uplink}exit\n"
        )
    };
    let uplink = literal(" neighbor 10.0.12.1 remote-as 65002\n neighbor 10.0.12.1 timers connect 1\n");
    scene.switch.bundle.publish(&[("switch.yaml", SETTINGS), ("frr.conf", &uplink)]);
    let agent = scene.switch.agent();
    Switch::log_has(&agent, 0, APPLIED);
    let default = |scene: &Scene| scene.switch.lab.kernel("leaf1", "default");
    let there = Some(vec!["10.0.12.1".to_owned()]);
    assert!(eventually(SOON, || default(&scene) == there), "{:?}", default(&scene));
    let (startup, from) = (scene.switch.startup(), agent.log().len());
    scene.switch.bundle.publish(&[("switch.yaml", SETTINGS), ("frr.conf", &literal(""))]);
    Switch::log_has(&agent, from, "sent commands");
    assert!(
        eventually(SOON, || default(&scene).is_none()),
        "the uplink is still there, so this proves nothing"
    );
    let why = "was undone, because of what it took away: default gateway 10.0.12.1 does not answer any more";
    Switch::log_has(&agent, from, why);
    assert!(eventually(SOON, || default(&scene) == there), "{:?}", default(&scene));
    assert_eq!(scene.switch.startup(), startup);
}

fn a_host_that_reboots_in_a_change_comes_back_with_the_old_text(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    // The kernel's own word for "another boot" cannot be changed without one; the agent's view of it can.
    let boot = scene.switch.lab.scratch("boot_id");
    let born = |number: u8| fs::write(&boot, format!("00000000-0000-4000-8000-{number:012}\n")).unwrap();
    born(1);
    let mount = format!("mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"", boot.display());
    let starter = ["unshare", "-m", "bash", "-c", &mount, "bash"];
    let agent = scene.switch.agent_under(&starter);
    scene.well(&agent);
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(30)));
    Switch::log_has(&agent, from, "sent commands");
    kill(&agent, "-KILL");
    drop(agent);
    assert!(scene.record().exists(), "it ended too late to prove anything");
    scene.switch.lab.lab(&["frr", "kill", "leaf1"]);
    assert_eq!(scene.switch.startup(), scene.startup, "what a reboot loads is the old text");
    born(2);
    scene.switch.lab.lab(&["frr", "start", "leaf1"]);
    scene.forwards("the host came back with the old text");
    assert!(!scene.switch.lab.running("leaf1").contains(&spare(30)));
    let agent = scene.switch.agent_under(&starter);
    // The reboot has undone it: nothing is to be taken back, and the text is not to blame.
    Switch::log_has(&agent, from, "started");
    let from = from + agent.log()[from..].find("started").unwrap();
    Switch::log_has(&agent, from, APPLIED);
    scene.switch.runs(&spare(30), true);
    scene.forwards("the change went through");
    assert!(!agent.log()[from..].contains("left a change unsettled"), "{}", agent.log());
    assert!(!scene.record().exists());
}

fn the_wall_clock_may_jump_by_an_hour(release: Release) {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if !Path::new(library).exists() || std::env::var_os("SWITCHLET_BINARY").is_some() {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped: {library}");
        eprintln!("SKIPPED: {library} is missing, or the binary under test is static");
        return;
    }
    let Some(mut scene) = Scene::up(release) else { return };
    let offset = scene.switch.lab.scratch("faketime");
    let jump = |by: &str| fs::write(&offset, format!("{by}\n")).unwrap();
    jump("+0");
    let preload = format!("LD_PRELOAD={library}");
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", offset.display());
    let starter = ["env", &preload, &file, "DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1"];
    let agent = scene.switch.agent_under(&starter);
    scene.well(&agent);
    for (number, by) in [(40, "+3600"), (41, "-3600"), (42, "+0")] {
        let from = agent.log().len();
        scene.bundle(Some(&with_spare(number)));
        Switch::log_has(&agent, from, "sent commands");
        jump(by);
        Switch::log_has(&agent, from, APPLIED);
        scene.switch.runs(&spare(number), true);
        assert!(!agent.log()[from..].contains("was undone"), "{by}: {}", agent.log());
        let seen = || scene.switch.lab.verdict("leaf1")["observedAt"].as_str().map(str::to_owned);
        let far = |at: String| {
            let at: jiff::Timestamp = at.parse().unwrap();
            (jiff::Timestamp::now() - at).total(jiff::Unit::Minute).unwrap().abs() > 50.0
        };
        assert!(
            eventually(SOON, || seen().is_some_and(|at| far(at) == (by != "+0"))),
            "the clock did not jump"
        );
        wait_for("the verdict stays good", SOON, || {
            let verdict = scene.switch.lab.verdict("leaf1");
            if verdict["verdict"] == "ok" { Ok(()) } else { Err(verdict.to_string()) }
        });
    }
    // And a bad one is undone as ever.
    let from = agent.log().len();
    scene.bundle(Some(DENY_ALL));
    Switch::log_has(&agent, from, "sent commands");
    jump("-3600");
    Switch::log_has(&agent, from, "was undone, because of what it took away");
    scene.forwards("with a clock that went back an hour");
    assert_eq!(scene.sessions(), scene.sessions);
}

fn a_route_that_somebody_replaces_in_the_window_undoes_the_change(release: Release) {
    let Some(mut scene) = Scene::up(release) else { return };
    let agent = talkative(&scene);
    scene.well(&agent);
    let from = agent.log().len();
    scene.bundle(Some(&with_spare(50)));
    begun(&agent, from, "measure", 2);
    scene.switch.lab.lab(&["in", "leaf1", "ip", "route", "replace", VIP, "via", "192.168.1.11"]);
    Switch::log_has(
        &agent,
        from,
        "was undone, because of what it took away: 203.0.113.10/32 lost next-hop 192.168.1.13",
    );
    scene.switch.runs(&spare(50), false);
    assert_eq!((scene.switch.startup(), scene.sessions()), (scene.startup.clone(), scene.sessions.clone()));
    // The way back is of the text; the route is somebody else's, and that is said.
    wait_for("the verdict names it", SOON, || {
        let verdict = scene.switch.lab.verdict("leaf1");
        let differs = verdict["vips"][0]["differences"][0]["rung"] == "NotInFib";
        if differs { Ok(()) } else { Err(verdict.to_string()) }
    });
}
