//! What a NOS brings along: the one place where the commands ask which one it is.
#![expect(clippy::disallowed_methods, reason = "the edge: files")]

use std::path::PathBuf;

use anyhow::Context;

use super::{Opened, REASON};
use crate::change::dialect::frr::Frr;
use crate::change::dialect::srlinux::Srlinux;
use crate::fib::netlink::{Hints, NetlinkFib};
use crate::fib::srlinux::SrlinuxFib;
use crate::guard::{Guarding, Need};
use crate::intent::language::{self, Language};
use crate::jsonrpc::{Address, Login, Server};
use crate::nos::frr::FrrDriver;
use crate::nos::srlinux::SrlinuxDriver;
use crate::rib::frr::FrrRib;
use crate::rib::srlinux::SrlinuxRib;
use crate::settings::{Inputs, Nos};

/// SR Linux's own place for it.
const STARTUP: &str = "/etc/opt/srlinux/config.json";

/// All that differs between one NOS and another.
pub(super) struct Kit<D, N, F, R> {
    pub(super) dialect: D,
    pub(super) driver: N,
    pub(super) fib: F,
    pub(super) rib: R,
    pub(super) hints: Option<Hints>,
    pub(super) guarding: Guarding,
}

/// The language of a NOS.
pub(super) fn language(nos: Option<Nos>) -> &'static Language {
    match nos {
        Some(Nos::Srlinux) => &language::SRLINUX,
        Some(Nos::Frr) | None => &language::FRR,
    }
}

/// The management server that the flags name.
pub(super) fn server(args: &Inputs) -> anyhow::Result<Option<Server>> {
    let Some(address) = &args.nos_address else { return Ok(None) };
    let login = args
        .nos_user
        .clone()
        .zip(args.nos_password_file.clone())
        .map(|(user, password_file)| Login { user, password_file });
    let ca = match &args.nos_ca {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| format!("--nos-ca {}", path.display()))?),
    };
    let server = Server::new(address.clone(), login, ca.as_deref());
    server.map(Some).map_err(|why| anyhow::anyhow!("--nos-address {address}: {why}"))
}

/// FRR on this machine.
pub(super) fn frr(
    args: &Inputs,
    need: Need,
    opened: &Opened,
) -> anyhow::Result<Kit<Frr, FrrDriver, NetlinkFib, FrrRib>> {
    let hints = Hints::open()
        .inspect_err(
            |error| tracing::warn!(%error, "no kernel events; the table is looked at every 10 s only"),
        )
        .ok();
    Ok(Kit {
        dialect: Frr,
        driver: FrrDriver::new(opened.places.clone(), args.frr_hand),
        fib: NetlinkFib::open().context("opening netlink")?,
        rib: FrrRib::new(opened.places.run(), opened.places.instance.clone(), REASON),
        hints,
        guarding: Guarding::new(&args.state_dir, need),
    })
}

/// Where SR Linux keeps its startup document, if the agent is beside it.
fn startup(args: &Inputs) -> Option<PathBuf> {
    let beside = matches!(args.nos_address, Some(Address::Unix(_)));
    args.nos_startup.clone().or_else(|| beside.then(|| PathBuf::from(STARTUP)))
}

/// The SR Linux that the flags name.
pub(super) fn srlinux(
    args: &Inputs,
    opened: &Opened,
) -> anyhow::Result<Kit<Srlinux, SrlinuxDriver, SrlinuxFib, SrlinuxRib>> {
    let server =
        opened.server.clone().context("--nos srlinux needs --nos-address unix:PATH or https://HOST")?;
    Ok(Kit {
        dialect: Srlinux,
        driver: SrlinuxDriver::new(server.clone(), &args.state_dir, startup(args)),
        fib: SrlinuxFib::new(server.clone()),
        rib: SrlinuxRib::new(server),
        hints: None,
        guarding: Guarding::native(&args.state_dir),
    })
}
