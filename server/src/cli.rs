//! The command line: what it offers, what it prints, and the exit codes that scripts rely on.

use crate::app::{self, App, AppError, Ended, Mode, Opened, Time};
use crate::audit::{Who, key_id};
use crate::billing::Courier;
use crate::clock::{Clock, Clocks, SystemClock};
use crate::config::{Config, ConfigError, Listener, StoreUrl};
use crate::explain::{replay_sentences, sentences};
use crate::failpoint::{Point, hit};
use crate::golive::{self, Status, needed_files};
use crate::identity;
use crate::providers::Providers;
use crate::providers::capture::{Capture, MAX_PER_WORKSPACE};
use crate::registry::Registry;
use crate::serve::allow_open_files;
use crate::store::{HistoryEntry, Key, OpenError, Row, Scope, SqliteStore, Store, WorkspaceId};
use crate::telemetry::start_logging;
use crate::tls::{self, Tls};
use crate::{http, replay, vault};
use backstop_domain::ids::FollowupId;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const EXITS: &str = "Exit codes: 0 done; 1 could not be done; 2 wrong usage; 75 cannot go on now, start it again (the \
                     store's disk failed, or another server still has the file); 78 the configuration or the store \
                     cannot be used as they are.";

/// Push the phone acknowledges, or a text and an email within 30 seconds.
#[derive(Parser)]
#[command(name = "backstop", version, after_help = EXITS)]
struct Cli {
    /// TOML file; every key with its default is in `check-config --defaults`. The environment stands over it
    /// (BACKSTOP__SECTION__KEY).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// See the whole story in a minute, then try the server yourself.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Options),
    /// Run the server until SIGTERM.
    Serve(ServeOptions),
    /// Bring the store up to this version, after a backup copy; `serve` does the same for SQLite.
    Migrate,
    /// Say what is configured and what is missing, a line each; starts and changes nothing.
    CheckConfig {
        /// Print every key with its default and its reason instead.
        #[arg(long)]
        defaults: bool,
        /// Ask everything outside, too: credentials, the way here, clock, disk. Sends nothing to anybody; exit 1 if
        /// anything is wrong.
        #[arg(long, conflicts_with = "defaults")]
        live: bool,
    },
    /// Print the API's description (OpenAPI 3.1).
    Openapi,
    /// Make and change workspaces.
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Make and revoke keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tell the story of one follow-up in sentences.
    Explain {
        /// Its id, `fu_…`.
        followup: String,
        /// Make its decisions again, by the rules, configuration and settings of now, and say where they would differ.
        #[arg(long)]
        replay: bool,
    },
    /// Measure this machine, durable: creates, acks, lateness, bursts, memory, restarts.
    #[cfg(feature = "demo")]
    Bench(crate::bench::Options),
}

#[derive(Args)]
struct ServeOptions {
    /// Send nothing: capture it, with a clock that tests turn and keys that everybody knows.
    #[arg(long)]
    sandbox: bool,
    /// Let a sandbox listen on more than loopback: anybody who reaches it can read what it captured.
    #[arg(long, requires = "sandbox")]
    allow_public_sandbox: bool,
}

#[derive(Subcommand)]
enum WorkspaceCommand {
    /// Make one; prints its keys and its identity secret once, as JSON.
    Create {
        /// 1 to 64 of a-z, 0-9 and -.
        name: String,
    },
    /// Trust a public key to sign customers' tokens (ES256, RS256).
    TrustKey {
        /// The workspace.
        name: String,
        /// PEM file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make one; prints it once, as JSON.
    Create {
        /// The workspace.
        workspace: String,
        /// What it may do.
        #[arg(long, default_value = "server")]
        scope: KeyScope,
    },
    /// Take one out of use, at once.
    Revoke {
        /// The key itself.
        key: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyScope {
    /// The company's backend: everything.
    Server,
    /// Reads only.
    Read,
    /// The billing system: reads wallet and usage, and adds money.
    Billing,
    /// An app or web page: devices and presence.
    App,
}

/// Why a command ended without doing what it was asked.
struct Failure {
    exit: u8,
    message: String,
}

const FAILED: u8 = 1;
/// `EX_TEMPFAIL`: start it again.
const AGAIN: u8 = 75;
/// `EX_CONFIG`: starting it again changes nothing.
const UNUSABLE: u8 = 78;

/// Runs the program with these arguments and this environment.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are answers, not errors; clap knows which stream each belongs to.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    match run(cli, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let mut stderr = std::io::stderr();
            for line in failure.message.lines() {
                let _ = writeln!(stderr, "backstop: {line}");
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn run(cli: Cli, env: impl IntoIterator<Item = (String, String)>) -> Result<(), Failure> {
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(options) => return crate::demo::run(&options).map_err(Failure::failed),
        Command::Openapi => return print(http::document_json().trim_end()),
        Command::CheckConfig { defaults: true, .. } => return print(crate::config::DEFAULTS.trim_end()),
        _ => {}
    }
    let config = Config::load(cli.config.as_deref(), env)?;
    match cli.command {
        Command::Serve(options) => serve(&config, &options),
        Command::Migrate => migrate(&config),
        Command::CheckConfig { live, .. } => {
            check_config(&config)?;
            if live { check_live(&config) } else { Ok(()) }
        }
        Command::Workspace(command) => block_on(workspace(&config, command)),
        Command::Key(command) => block_on(key(&config, command)),
        Command::Explain { followup, replay } => block_on(explain(&config, &followup, replay)),
        #[cfg(feature = "demo")]
        Command::Bench(options) => crate::bench::run(&options).map_err(Failure::failed),
        #[cfg(feature = "demo")]
        Command::Demo(_) => Ok(()),
        Command::Openapi => Ok(()),
    }
}

fn serve(config: &Config, options: &ServeOptions) -> Result<(), Failure> {
    let listeners = config.listeners();
    let public = listeners.iter().find(|listener| !listener.address.ip().is_loopback());
    if let Some(Listener { key, address, .. }) = public.filter(|_| options.sandbox && !options.allow_public_sandbox) {
        let message = format!(
            "[server] {key} {address} is not loopback, and a sandbox's keys are known to everybody: listen on \
             127.0.0.1, or say --allow-public-sandbox"
        );
        return Err(Failure { exit: UNUSABLE, message });
    }
    start_logging(&config.log);
    if let Err(limit) = allow_open_files(needed_files(config)) {
        tracing::warn!("{limit}");
    }
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        // Before anything is made on the disk.
        let tls = config.server.tls.as_ref().map(|files| Tls::load(files, SystemClock::start().now_ms()));
        let tls = tls.transpose().map_err(AppError::from)?.map(Arc::new);
        let mode = if options.sandbox { sandbox() } else { Mode::Live };
        let app = App::build(config, Time::System, mode).await?;
        let mut doors = Vec::new();
        for Listener { key, address, serves, tls: encrypted } in listeners {
            let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| Failure {
                exit: FAILED,
                message: format!("[server] {key} {address}: {error}: choose an address of this machine that is free"),
            })?;
            doors.push((key, app.door(listener, serves, tls.clone().filter(|_| encrypted))));
        }
        hit(Point::BootListening);
        // `listen` last: who reads its line knows that all are open.
        for (key, door) in doors.iter().rev() {
            let (version, tls) = (env!("CARGO_PKG_VERSION"), door.tls.is_some());
            let address = door.listener.local_addr().map_err(Failure::failed)?;
            tracing::info!(%address, key, tls, sandbox = options.sandbox, version, "listening");
        }
        let doors = doors.into_iter().map(|(_, door)| door).collect();
        tokio::select! {
            ended = app.serve_on(doors, stop_signal()) => Ok::<_, Failure>(ended),
            () = hear_hang_ups() => Ok(Ended::Cut),
        }
    });
    // Threads that still wait for a provider or the disk do not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended? {
        Ended::Drained => tracing::info!("stopped; everything under way had ended"),
        Ended::Cut => tracing::warn!("stopped; what was under way is judged again at the next start"),
        Ended::Unhealthy(reason) => {
            let message = format!("cannot go on ({reason}): look at the log and the disk, then start again");
            return Err(Failure { exit: AGAIN, message });
        }
    }
    Ok(())
}

fn sandbox() -> Mode {
    Mode::Sandbox { capture: Capture::new(MAX_PER_WORKSPACE), phones_by: None }
}

/// A reload that has nothing to look at ends no server: without this, SIGHUP would. Never ends.
async fn hear_hang_ups() {
    let Ok(mut hang_ups) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    loop {
        hang_ups.recv().await;
        tracing::info!("SIGHUP: files of [server.tls] are looked at again, if there are any");
    }
}

/// Ends at the first SIGTERM or SIGINT; at the second, the process ends as if it had none.
async fn stop_signal() {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be received: only SIGKILL stops this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: no new request, what is under way ends");
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(i32::from(FAILED));
    });
}

fn migrate(config: &Config) -> Result<(), Failure> {
    let opened = open_any(config, true)?;
    let health = block_on(async { Ok(opened.store.health().await.map_err(AppError::Store)?) })?;
    print(&format!("{}: schema {}", config.store.url, health.schema))
}

/// One line a thing: `ok`, `none` for what is left out on purpose, `BAD` with what mends it.
fn check_config(config: &Config) -> Result<(), Failure> {
    let mut report = Report::default();
    for Listener { key, address, serves, tls } in config.listeners() {
        let parts = [(serves.device, "devices"), (serves.backend, "backend"), (serves.metrics, "metrics")];
        let parts: Vec<&str> = parts.into_iter().filter_map(|(here, part)| here.then_some(part)).collect();
        let parts = if parts.is_empty() { "health".to_owned() } else { parts.join(", ") };
        let how = if tls && config.server.tls.is_some() { "https" } else { "http" };
        report.ok(format!("server    {key} {how}://{address}: {parts}"));
    }
    report.ok(format!("server    reached at {}", config.public_url()));
    if let Some(files) = &config.server.tls {
        let now = SystemClock::start().now_ms();
        match tls::check(files, now) {
            Ok(found) => report.ok(format!("tls       a certificate for {} days more", found.days_left(now))),
            Err(error) => report.bad(format!("tls       {error}")),
        }
    }
    check_store(config, &mut report);
    report.ok(format!("followup  a push not acknowledged within {} ms is followed", config.followup.ack_wait_ms));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    match app::accounts(config, &clock) {
        Ok(providers) => {
            let none = "no account of the deployment: only apps with keys of their own (PUT /v1/apps) get pushes";
            let push = [&providers.fcm, &providers.apns].into_iter().flatten().map(|provider| provider.name());
            let push: Vec<&str> = push.collect();
            report.way_out("push", (!push.is_empty()).then(|| push.join(", ")).as_deref(), none);
            let text: Vec<&str> = providers.text.iter().map(|provider| provider.name()).collect();
            let none = "no account: no text leaves";
            report.way_out("text", (!text.is_empty()).then(|| text.join(", ")).as_deref(), none);
            report.way_out(
                "email",
                providers.email.as_ref().map(|provider| provider.name()),
                "neither [providers.smtp] nor [providers.ses]: no email leaves",
            );
        }
        Err(error) => report.bad(error.to_string()),
    }
    check_wallet(config, &mut report);
    if let Err(limit) = allow_open_files(needed_files(config)) {
        report.bad(format!("system    {limit}"));
    }
    print(&report.lines.join("\n"))?;
    match report.bad {
        0 => Ok(()),
        n => Err(Failure { exit: UNUSABLE, message: format!("{n} of these must be mended first") }),
    }
}

fn check_wallet(config: &Config, report: &mut Report) {
    let wallet = &config.wallet;
    match (wallet.prices.len(), wallet.charge) {
        (0, _) => report.ok("wallet    no prices: nobody is charged".into()),
        (count, false) => report.ok(format!("wallet    {count} prices in {}, and nobody is charged", wallet.currency)),
        (count, true) => report.ok(format!("wallet    {count} prices in {}, paid by workspaces", wallet.currency)),
    }
    match Courier::from_config(wallet) {
        Ok(Some(_)) => report.ok("wallet    the billing system is asked when little is left".into()),
        Ok(None) => {}
        Err(error) => report.bad(error.to_string()),
    }
}

/// What `check_config` takes on trust, asked: a line a thing.
fn check_live(config: &Config) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let StoreUrl::Sqlite(path) = config.store_url().map_err(AppError::Url)?;
    // Without a database there is no key yet, and no server of this deployment can run.
    let vault = vault::DataKey::load(&app::data_key_path(config, &path)).ok().map(|key| key.vault());
    let found = block_on(async {
        let mut found = golive::deployment(config, &clock, vault.as_ref(), false).await;
        // An older one is looked into after its upgrade.
        if SqliteStore::is_current(&path) {
            found.extend(check_apps(config, &clock).await?);
        }
        Ok(found)
    })?;
    let lines: Vec<String> = found.iter().map(golive::Finding::line).collect();
    print(&lines.join("\n"))?;
    match found.iter().filter(|finding| finding.status == Status::Failed).count() {
        0 => Ok(()),
        n => Err(Failure::failed(format!("{n} of these must be mended before the launch"))),
    }
}

/// Each workspace's own credentials.
async fn check_apps(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<golive::Finding>, Failure> {
    let opened = match app::open_store(config, false, false) {
        // Nothing of a sandbox leaves.
        Err(AppError::Open(OpenError::OtherMark { .. })) => return Ok(Vec::new()),
        opened => opened?,
    };
    let deployment = app::deployment(config, &Providers::default(), false);
    let store: Arc<dyn Store> = opened.store.clone();
    let clocks = Arc::new(Clocks::new(Arc::clone(clock)));
    let registry = Registry::new(store, Arc::clone(&opened.vault), clocks, deployment)
        .with_accounts(app::app_accounts(config, clock)?);
    let mut found = Vec::new();
    for row in opened.store.workspaces().await.map_err(AppError::Store)? {
        let Some(ws) = registry.by_id(row.id).await.map_err(AppError::Store)? else { continue };
        let of_it = golive::credentials(&ws).await.into_iter();
        found.extend(
            of_it.map(|finding| golive::Finding { check: format!("{}.{}", ws.name, finding.check), ..finding }),
        );
    }
    Ok(found)
}

fn check_store(config: &Config, report: &mut Report) {
    let Ok(StoreUrl::Sqlite(path)) = config.store_url() else { return };
    let key = app::data_key_path(config, &path);
    let directory = app::directory_of(&path);
    if !directory.is_dir() {
        return report.bad(format!("store     {}: no such directory: make it first", directory.display()));
    }
    let exists = path.metadata().is_ok_and(|found| found.len() > 0);
    match vault::DataKey::load(&key) {
        Ok(_) if exists => report.ok(format!("store     {}, key in {}", path.display(), key.display())),
        Err(error) if exists || key.exists() => report.bad(format!("store     {error}")),
        _ => report.ok(format!("store     {} will be made at the first start", path.display())),
    }
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    bad: usize,
}

impl Report {
    fn ok(&mut self, line: String) {
        self.lines.push(format!("ok    {line}"));
    }

    fn bad(&mut self, line: String) {
        self.bad += 1;
        self.lines.push(format!("BAD   {line}"));
    }

    fn way_out(&mut self, name: &str, provider: Option<&str>, none: &str) {
        match provider {
            Some(provider) => self.ok(format!("{name:<9} {provider}")),
            None => self.lines.push(format!("none  {name:<9} {none}")),
        }
    }
}

async fn workspace(config: &Config, command: WorkspaceCommand) -> Result<(), Failure> {
    let desk = Desk::open(config)?;
    match command {
        WorkspaceCommand::Create { name } => {
            let created = desk.registry.create(&name).await.map_err(Failure::failed)?;
            print_json(&created)
        }
        WorkspaceCommand::TrustKey { name, file } => {
            let pem = std::fs::read_to_string(&file)
                .map_err(|error| Failure::failed(format!("{}: cannot be read: {error}", file.display())))?;
            if !identity::is_public_key(&pem) {
                let mend = "not a public key in PEM that can sign ES256 or RS256";
                return Err(Failure::failed(format!("{}: {mend}", file.display())));
            }
            let id = desk.workspace(&name).await?;
            desk.registry.trust_key(id, pem, &Who::cli()).await.map_err(AppError::Store)?;
            print(&format!("tokens of customers of {name} may be signed with the key of {}", file.display()))
        }
    }
}

async fn key(config: &Config, command: KeyCommand) -> Result<(), Failure> {
    let desk = Desk::open(config)?;
    let now = desk.clocks.real_ms();
    match command {
        KeyCommand::Create { workspace, scope } => {
            let (prefix, scope) = match scope {
                KeyScope::Server => ("sk_", Scope::Server),
                KeyScope::Read => ("sk_", Scope::Read),
                KeyScope::Billing => ("sk_", Scope::Billing),
                KeyScope::App => ("app_", Scope::App),
            };
            let key = vault::random_key(prefix);
            let id = desk.workspace(&workspace).await?;
            let hash = vault::sha256(key.as_bytes());
            let made = desk.opened.store.create_key(id, hash, scope, now, Who::cli()).await;
            made.map_err(AppError::Store)?;
            let key_id = key_id(&hash);
            print_json(&serde_json::json!({ "workspace": workspace, "scope": scope, "key": key, "key_id": key_id }))
        }
        KeyCommand::Revoke { key } => {
            let revoked = desk.opened.store.revoke_key(vault::sha256(key.as_bytes()), now, Who::cli()).await;
            if revoked.map_err(AppError::Store)? {
                print("revoked: servers refuse it within a second")
            } else {
                Err(Failure::failed("no such key, or it was revoked before"))
            }
        }
    }
}

async fn explain(config: &Config, followup: &str, replay: bool) -> Result<(), Failure> {
    let id = FollowupId::parse(followup)
        .ok_or_else(|| Failure::failed(format!("`{followup}` is not the id of a follow-up (fu_…)")))?;
    let (opened, sandbox) = open_marked(config, false)?;
    let store = Arc::clone(&opened.store);
    // An id is unique across workspaces, but rows are only found within one.
    for workspace in store.workspaces().await.map_err(AppError::Store)? {
        let found = store.load(vec![Key::Followup(workspace.id, id)]).await.map_err(AppError::Store)?;
        if let Some(Some(Row::Followup(row))) = found.into_iter().next() {
            let history = store.history(workspace.id, id).await.map_err(AppError::Store)?;
            let mut told = sentences(&row, &history);
            if replay {
                told.extend(replayed(config, opened, sandbox, workspace.id, &history).await?);
            }
            return print(&told.join("\n"));
        }
    }
    Err(Failure::failed(format!("no follow-up {followup} in {}", config.store.url)))
}

/// Its decisions made again, by the configuration and the settings of now.
async fn replayed(
    config: &Config,
    opened: Opened,
    sandbox: bool,
    workspace: WorkspaceId,
    history: &[HistoryEntry],
) -> Result<Vec<String>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let providers = if sandbox { app::captured(&Capture::counting()) } else { app::accounts(config, &clock)? };
    let deployment = app::deployment(config, &providers, sandbox);
    let registry = Registry::new(opened.store, opened.vault, Arc::new(Clocks::new(clock)), deployment);
    let found = registry.by_id(workspace).await.map_err(AppError::Store)?;
    let workspace = found.ok_or_else(|| Failure::failed("its workspace was dropped meanwhile"))?;
    let settings_now = workspace.settings_set.as_ref().map_or(1, |set| set.version);
    Ok(replay_sentences(&replay::replay(history, &workspace.policy), settings_now))
}

/// What commands beside a server work with.
struct Desk {
    opened: Opened,
    registry: Registry,
    clocks: Arc<Clocks>,
}

impl Desk {
    fn open(config: &Config) -> Result<Desk, Failure> {
        let opened = open_any(config, false)?;
        let clocks = Arc::new(Clocks::new(Arc::new(SystemClock::start())));
        let deployment = app::deployment(config, &crate::providers::Providers::default(), false);
        let (store, vault): (Arc<dyn Store>, _) = (opened.store.clone(), Arc::clone(&opened.vault));
        let registry = Registry::new(store, vault, Arc::clone(&clocks), deployment);
        Ok(Desk { opened, registry, clocks })
    }

    async fn workspace(&self, name: &str) -> Result<WorkspaceId, Failure> {
        let found = self.opened.store.workspace_named(name).await.map_err(AppError::Store)?;
        found.map(|row| row.id).ok_or_else(|| Failure::failed(format!("there is no workspace `{name}`")))
    }
}

/// The store, whether it is a sandbox's or not: a command says nothing of its own about that.
fn open_any(config: &Config, serve: bool) -> Result<Opened, Failure> {
    open_marked(config, serve).map(|(opened, _)| opened)
}

/// The same, and whether it is a sandbox's.
fn open_marked(config: &Config, serve: bool) -> Result<(Opened, bool), Failure> {
    match app::open_store(config, false, serve) {
        Err(AppError::Open(OpenError::OtherMark { sandbox: true, .. })) => {
            Ok((app::open_store(config, true, serve)?, true))
        }
        other => Ok((other?, false)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(|error| Failure::failed(format!("the system gives no threads: {error}")))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.block_on(work)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}") {
        // Whoever reads had enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::failed(format!("cannot print: {error}"))),
    }
}

impl Failure {
    fn failed(why: impl ToString) -> Failure {
        Failure { exit: FAILED, message: why.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure { exit: UNUSABLE, message: error.to_string() }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Failure {
        Failure { exit: if error.is_transient() { AGAIN } else { UNUSABLE }, message: error.to_string() }
    }
}
