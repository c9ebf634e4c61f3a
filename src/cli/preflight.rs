//! `preflight`: what is missing before an agent can do its work on this switch.
#![expect(clippy::disallowed_methods, reason = "the edge: files and sockets of this switch")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::print::{columns, structured};
use super::{BLIND, DIFFERS, FINE, kit, pod_namespace, print};
use crate::cluster::chain;
use crate::cluster::client::{self, Way};
use crate::cluster::preflight::Asker;
use crate::fib::netlink::NetlinkFib;
use crate::guard::{Guarding, Need};
use crate::health::Word;
use crate::health::preflight::{self, Check, SETTINGS, Stands};
use crate::intent::platform::Platform;
use crate::net::Prefix;
use crate::nos::NosDriver;
use crate::nos::frr::{FrrDriver, Places};
use crate::nos::srlinux::SrlinuxDriver;
use crate::settings::{Inputs, Nos, Output, PreflightArgs};
use crate::vty::{Daemon, Vty};

/// A daemon that is asked whether it is there.
const PROBE: Duration = Duration::from_secs(2);

pub(super) async fn run_preflight(args: PreflightArgs) -> anyhow::Result<u8> {
    let PreflightArgs { inputs, listen, output } = args;
    let mut checks = api(&inputs).await;
    checks.extend(switch(&inputs).await);
    checks.push(port(&listen).await);
    checks.push(folder(&inputs.state_dir));
    let mut guarding = Guarding::new(&inputs.state_dir, Need::IfThere);
    guarding.look().await;
    checks.push(match guarding.form() {
        "none" => Check::warn(
            "guard",
            "does not answer: a change under way is undone only by the agent itself",
            "run switchlet guard beside the agent, with the same --state-dir",
        ),
        form => Check::ok("guard", form),
    });
    print(&match output {
        Output::Table => table(&checks),
        output => structured(&checks, output)?,
    })?;
    Ok(match preflight::word(&checks) {
        Word::Ok => FINE,
        Word::Differs => DIFFERS,
        Word::Unknown => BLIND,
    })
}

async fn api(inputs: &Inputs) -> Vec<Check> {
    if inputs.bundle.is_some() && inputs.cluster.is_some() {
        return vec![Check::ok("API server", "not needed: both inputs are folders")];
    }
    let way = Way { servers: &inputs.api_server, device: inputs.api_device.as_deref(), ..Way::default() };
    let clients = match client::connect(inputs.kubeconfig.as_deref(), way).await {
        Ok(clients) => clients,
        Err(error) => {
            return vec![Check::fail(
                "API server",
                format!("{error:#}"),
                "--kubeconfig FILE, or the pod's token",
            )];
        }
    };
    let namespace = inputs.namespace.clone().or_else(pod_namespace).unwrap_or_else(|| "switchlet".to_owned());
    let ours = serde_yaml::from_str(super::CRDS).map(|crd| preflight::fields(&crd)).unwrap_or_default();
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    Asker { client: &clients.calls, namespace: &namespace, node: &inputs.node }.ask(&ours).await
}

/// The NOS, and the kernel where it is ours to read.
async fn switch(inputs: &Inputs) -> Vec<Check> {
    if inputs.nos == Some(Nos::Srlinux) {
        let check = "SR Linux";
        let server = match kit::server(inputs) {
            Ok(Some(server)) => server,
            Ok(None) => {
                return vec![Check::fail(check, "where is it?", "--nos-address unix:PATH or https://HOST")];
            }
            Err(error) => {
                return vec![Check::fail(
                    check,
                    format!("{error:#}"),
                    "see --nos-… of switchlet agent --help",
                )];
            }
        };
        return vec![match SrlinuxDriver::new(server, &inputs.state_dir, None).platform().await {
            Ok(platform) => Check::ok(check, release(&platform)),
            Err(error) => {
                Check::fail(check, chain(&error), "is its JSON-RPC server enabled, and reached from here?")
            }
        }];
    }
    let places = Places { root: inputs.frr_root.clone(), instance: inputs.frr_instance.clone() };
    let mut checks = frr(places, inputs).await;
    for setting in &SETTINGS {
        let path = Path::new("/proc/sys").join(setting.name.replace('.', "/"));
        let text = fs::read_to_string(&path).map_err(|error| error.to_string());
        checks.push(setting.judge(text.as_deref().map_err(Clone::clone)));
    }
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let kernel = kernel.unwrap_or_else(|error| error.to_string());
    let look = || {
        NetlinkFib::open().and_then(|mut fib| fib.exact_now(&[Prefix::default_of(crate::net::Family::V4)]))
    };
    checks.push(match look() {
        Ok(_) => Check::ok("kernel", format!("{kernel}, point look-ups by netlink")),
        Err(error) => {
            Check::fail("kernel", format!("{kernel}: {}", chain(&error)), "Linux 5.3 or newer, with netlink")
        }
    });
    checks
}

async fn frr(places: Places, inputs: &Inputs) -> Vec<Check> {
    let run = places.run();
    let mut driver = FrrDriver::new(places.clone(), inputs.frr_hand);
    let mut checks = vec![match driver.platform().await {
        Ok(platform) if platform.release.is_some() => Check::ok("FRR", release(&platform)),
        Ok(_) => Check::warn(
            "FRR",
            "does not tell its release",
            "8.4 and 10.3 are those that switchlet is tried with",
        ),
        Err(error) => Check::fail(
            "FRR",
            chain(&error),
            "is it started, and does --frr-root (and --frr-instance) lead to its run/frr?",
        ),
    }];
    for (daemon, needed) in [(Daemon::Bgpd, true), (Daemon::Bfdd, false), (Daemon::Staticd, false)] {
        let socket = daemon.socket(&run, places.instance.as_deref());
        let check = format!("FRR's {}", daemon.name());
        let asked = async {
            let mut vty = Vty::open(&socket, PROBE).await?;
            vty.ask("echo alive").await
        };
        checks.push(match asked.await {
            Ok(_) => Check::ok(check, "answers"),
            Err(error) => {
                let found = format!("{}: {error}", socket.display());
                let remedy = format!("{}=yes in etc/frr/daemons", daemon.name());
                if needed {
                    Check::fail(check, found, remedy)
                } else {
                    Check::warn(check, found, format!("{remedy}, if it is wanted"))
                }
            }
        });
    }
    checks
}

fn release(platform: &Platform) -> String {
    let release = platform.release.map_or("an unknown release".to_owned(), |release| release.to_string());
    let chassis = platform.chassis.as_ref().map(|chassis| format!(" on {chassis}")).unwrap_or_default();
    format!("{release}{chassis}")
}

async fn port(listen: &str) -> Check {
    let check = format!("--listen {listen}");
    match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => Check::ok(check, "is free"),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Check::warn(
            check,
            "is taken: by an agent that runs already?",
            "stop that one, or choose another --listen",
        ),
        Err(error) => Check::fail(check, error.to_string(), "choose an address of this switch"),
    }
}

fn folder(state: &Path) -> Check {
    let check = format!("--state-dir {}", state.display());
    // What is not there yet is made in the closest folder that is.
    let there = state.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    match access(there, AccessFlags::W_OK) {
        Ok(()) => Check::ok(check, "can be written"),
        Err(error) => Check::fail(
            check,
            format!("{}: {error}", there.display()),
            "a folder on a disk that survives a reboot",
        ),
    }
}

fn table(checks: &[Check]) -> String {
    let mut rows = vec![["CHECK", "RESULT", "FOUND", "REMEDY"].map(str::to_owned)];
    for Check { check, stands, found, remedy } in checks {
        let word = match stands {
            Stands::Ok => "ok",
            Stands::Warn => "warn",
            Stands::CouldNotLook => "could not look",
            Stands::Fail => "FAIL",
        };
        rows.push([check.clone(), word.to_owned(), found.clone(), remedy.clone().unwrap_or_default()]);
    }
    let count = |stands: Stands| checks.iter().filter(|check| check.stands == stands).count();
    columns(&rows)
        + &format!(
            "{} ok, {} to better, {} not looked at, {} missing\n",
            count(Stands::Ok),
            count(Stands::Warn),
            count(Stands::CouldNotLook),
            count(Stands::Fail)
        )
}
