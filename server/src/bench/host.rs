//! The server that is measured: in this process on threads of its own, or as a process that can be killed.

use super::load::{Caller, now, request, since};
use crate::app::{App, Mode, Time, open_store};
use crate::config::Config;
use crate::engine::Engine;
use crate::providers::capture::{Capture, CapturedPush};
use crate::registry::{Created, Registry};
use crate::store::SqliteStore;
use crate::vault::Vault;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A server that takes longer than this to be ready will never be.
const READY_WITHIN: Duration = Duration::from_secs(120);

fn config(database: &Path) -> Result<Config, String> {
    let url = format!("sqlite:{}", database.display());
    let keys = [("BACKSTOP__STORE__URL", url.as_str()), ("BACKSTOP__SERVER__LISTEN", "127.0.0.1:0")];
    let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
    // What holds cost is measured with and without: BACKSTOP__WALLET__CHARGE=false.
    let wallet = std::env::vars().filter(|(name, _)| name.starts_with("BACKSTOP__WALLET__"));
    Config::load(None, keys.into_iter().chain(wallet)).map_err(|error| error.to_string())
}

/// The database while no server has it.
pub(super) fn store(database: &Path) -> Result<(Arc<SqliteStore>, Arc<Vault>), String> {
    let opened = open_store(&config(database)?, true, false).map_err(|error| error.to_string())?;
    Ok((opened.store, opened.vault))
}

/// The real server in this process; what it sends is counted and not kept.
pub(super) struct Host {
    runtime: Runtime,
    serving: tokio::task::JoinHandle<crate::app::Ended>,
    pub(super) address: SocketAddr,
    pub(super) engine: Engine,
    pub(super) registry: Arc<Registry>,
    pub(super) pushed: Arc<Pushed>,
}

impl Host {
    pub(super) fn start(database: &Path) -> Result<Host, String> {
        let config = config(database)?;
        let pushed = Arc::new(Pushed::default());
        let kept = Arc::clone(&pushed);
        let (runtime, app, listener) = build(&config, move |push| kept.keep(push))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (registry, engine) = (Arc::clone(app.registry()), app.engine().clone());
        let serving = runtime.spawn(app.serve(listener, std::future::pending()));
        let host = Host { runtime, serving, address, engine, registry, pushed };
        until_ready(address)?;
        Ok(host)
    }

    /// A new workspace.
    pub(super) fn workspace(&self, name: &str) -> Result<Created, String> {
        self.runtime.block_on(self.registry.create(name)).map_err(|error| error.to_string())
    }

    /// Returns when the database is free again.
    pub(super) fn stop(self) {
        self.serving.abort();
        let Host { runtime, engine, registry, .. } = self;
        drop((engine, registry));
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn build(
    config: &Config,
    on_push: impl Fn(&CapturedPush<'_>) + Send + Sync + 'static,
) -> Result<(Runtime, App, tokio::net::TcpListener), String> {
    let capture = Capture::counting();
    capture.subscribe(on_push);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("server").build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (app, listener) = runtime.block_on(async {
        let app = App::build(config, Time::System, Mode::Sandbox { capture, phones_by: None })
            .await
            .map_err(|error| error.to_string())?;
        let listener = tokio::net::TcpListener::bind(config.server.listen).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((app, listener))
    })?;
    Ok((runtime, app, listener))
}

/// Receipts of the pushes that left, by the number in their conversation's name.
#[derive(Default)]
pub(super) struct Pushed {
    receipts: Mutex<Vec<(usize, String)>>,
}

impl Pushed {
    fn keep(&self, push: &CapturedPush<'_>) {
        let push = &push.send.push;
        let number = push.conversation_id.strip_prefix("c-").and_then(|number| number.parse().ok());
        if let Some(number) = number {
            self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push((number, push.receipt.clone()));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The receipts in the order of their replies.
    pub(super) fn take(&self) -> Vec<String> {
        let mut receipts = std::mem::take(&mut *self.receipts.lock().unwrap_or_else(PoisonError::into_inner));
        receipts.sort_unstable();
        receipts.into_iter().map(|(_, receipt)| receipt).collect()
    }
}

/// The same server as a process of its own. Killed when dropped.
pub(super) struct Guest {
    process: Child,
    pub(super) address: SocketAddr,
    pub(super) started: Instant,
    /// From the start of the process until `/readyz` said so.
    pub(super) ready: Duration,
}

impl Guest {
    pub(super) fn start(database: &Path) -> Result<Guest, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let started = now();
        let mut command = Command::new(program);
        command.args(["bench", "--guest"]).arg(database).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("cannot start the server: {error}"))?;
        let mut line = String::new();
        let said = process.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let address = match said {
            Some(Ok(_)) => line.trim().parse().map_err(|_| format!("the server said `{}`", line.trim())),
            _ => Err("the server said nothing".into()),
        };
        let mut guest = Guest { process, address: address?, started, ready: Duration::ZERO };
        until_ready(guest.address)?;
        guest.ready = since(started);
        Ok(guest)
    }

    /// Of its memory, what is in RAM, page cache of the file not included.
    pub(super) fn rss_bytes(&self) -> Result<u64, String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.map_err(|error| error.to_string())?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.trim().parse().ok()).ok_or("no VmRSS")?;
        Ok(kib * 1024)
    }

    /// SIGKILL.
    pub(super) fn kill(self) {
        drop(self);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Already gone: nothing left to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other side of [`Guest`]: says its address and serves until it is killed.
pub(super) fn be_guest(database: &Path) -> Result<(), String> {
    let (runtime, app, listener) = build(&config(database)?, |_| {})?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut out = std::io::stdout();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(|error| error.to_string())?;
    let ended = runtime.block_on(app.serve(listener, std::future::pending()));
    Err(format!("the server ended: {ended:?}"))
}

fn until_ready(address: SocketAddr) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let began = now();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        loop {
            let mut caller = Caller::connect(address).await?;
            match caller.ask(&request("GET", "/readyz", "", "")).await {
                Ok(_) => return Ok(()),
                Err(error) if since(began) > READY_WITHIN => return Err(error),
                Err(_) => super::pause(Duration::from_millis(1)).await,
            }
        }
    })
}
