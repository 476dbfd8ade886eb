//! Puts the parts together: key, store, workspaces, engine, routes; and takes them down in order.
//!
//! Everything from outside is an argument: configuration, clock, providers, listener, the word to stop.

use crate::apps::accounts::{Accounts, Live};
use crate::billing::{Billing, BillingConfigError, Courier};
use crate::canary::Canary;
use crate::clock::{Clock, Clocks, SystemClock};
use crate::config::{Config, StoreUrl};
use crate::engine::{Engine, Parts};
use crate::failpoint::{self, Point, hit};
use crate::golive::GoLive;
use crate::heard::Heard;
use crate::http::{self, Api, Front, Limits, MailIn, MailInError, Serves, TestPushes, TestSends};
use crate::mail::dns::Dns;
use crate::mail::domain::Watch;
use crate::providers::Providers;
use crate::providers::apns::{Apns, ApnsConfigError, ApnsNet};
use crate::providers::capture::Capture;
use crate::providers::fcm::{Fcm, FcmConfigError};
use crate::providers::gateway::{Gateway, GatewayConfigError};
use crate::providers::line::{Line, LineConfigError};
use crate::providers::ses::{Ses, SesConfigError};
use crate::providers::smpp::{Smpp, SmppConfigError};
use crate::providers::smtp::{Smtp, SmtpConfigError};
use crate::providers::solapi::{Solapi, SolapiConfigError};
use crate::providers::twilio::{Twilio, TwilioConfigError};
use crate::registry::{CreateError, Created, Deployment, DeploymentMail, Registry};
use crate::sandbox::{Network, Sandbox};
use crate::serve::{Bounds, Door, serve_all};
use crate::store::{OpenError, OpenOptions, SqliteStore, Store, StoreError};
use crate::telemetry::{Metrics, start_metrics};
use crate::tls::{Tls, TlsError};
use crate::vault::{DataKey, DataKeyError, Vault};
use crate::wallet::{self, Plans};
use axum::Router;
use backstop_domain::followup::Policy;
use backstop_domain::text::{Routes, Way};
use backstop_wire::PushProvider as Via;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Name of the workspace that every sandbox has.
pub const SANDBOX_WORKSPACE: &str = "sandbox";
/// Where answers to the mail of a sandbox would go.
const SANDBOX_REPLY_DOMAIN: &str = "reply.backstop.invalid";
/// Samples of metrics are folded into buckets this often.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// Whether what is sent leaves the house.
pub enum Mode {
    /// Through the accounts of the configuration.
    Live,
    /// Captured: every push and text and email stays here, both push services count as configured.
    Sandbox {
        /// Keeps what would have left.
        capture: Arc<Capture>,
        /// The base URL by which virtual phones reach the server; `None` = within the process.
        phones_by: Option<String>,
    },
}

/// Whose time a server keeps.
pub enum Time {
    /// The system's; what was pending at the last stop is measured on by it.
    System,
    /// This clock's, for tests.
    Given(Arc<dyn Clock>),
}

/// A server that is ready to take connections.
pub struct App {
    store: Arc<SqliteStore>,
    engine: Engine,
    registry: Arc<Registry>,
    clocks: Arc<Clocks>,
    router: Router,
    canary: Arc<Canary>,
    domains: Watch,
    billing: Billing,
    public_url: String,
    bounds: Bounds,
    metrics: Metrics,
}

/// Why a server stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, and everything under way ended.
    Drained,
    /// It was told to, and something under way did not end in time; it is judged again at the next start.
    Cut,
    /// The store's file cannot be trusted any more, or a fault ended a part that everything waits for: start the
    /// process anew.
    Unhealthy(String),
}

/// Why a server cannot start, with what mends it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// `[store] url`
    #[error("[store] url {0}")]
    Url(String),
    /// The data key.
    #[error(transparent)]
    Key(#[from] DataKeyError),
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// `[apns]`
    #[error(transparent)]
    Apns(#[from] ApnsConfigError),
    /// `[fcm]`
    #[error(transparent)]
    Fcm(#[from] FcmConfigError),
    /// `[providers.smtp]`
    #[error(transparent)]
    Smtp(#[from] SmtpConfigError),
    /// `[providers.ses]`
    #[error(transparent)]
    Ses(#[from] SesConfigError),
    /// `[providers.smpp]`
    #[error(transparent)]
    Smpp(#[from] SmppConfigError),
    /// `[server.tls]`
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `[providers.solapi]`
    #[error(transparent)]
    Solapi(#[from] SolapiConfigError),
    /// `[providers.twilio]`
    #[error(transparent)]
    Twilio(#[from] TwilioConfigError),
    /// `[providers.line]`
    #[error(transparent)]
    Line(#[from] LineConfigError),
    /// `[providers.gateway]`
    #[error(transparent)]
    Gateway(#[from] GatewayConfigError),
    /// `[text] routes`
    #[error("[text] routes name `{name}`, which {why}: configure [providers.{name}], or take it out")]
    Route {
        /// The provider.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `[wallet]`, of the billing system.
    #[error(transparent)]
    Billing(#[from] BillingConfigError),
    /// `[wallet] currency`
    #[error("[wallet] currency is {wanted}, and wallets are in {found}: money does not change by that; set it back")]
    Currency {
        /// The configuration's.
        wanted: String,
        /// A wallet's.
        found: String,
    },
    /// `[mail]`
    #[error(transparent)]
    MailIn(#[from] MailInError),
    /// The store answered and then did not.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The sandbox's own workspace could not be made.
    #[error("the workspace `{SANDBOX_WORKSPACE}` could not be made: {0}")]
    Sandbox(#[from] CreateError),
}

impl AppError {
    /// Whether trying again without a change may work: another server still holds the file, the store is busy.
    pub fn is_transient(&self) -> bool {
        matches!(self, AppError::Open(OpenError::Locked { .. }) | AppError::Store(StoreError::Unavailable(_)))
    }
}

/// The store and what opens its contents.
pub struct Opened {
    /// The judge.
    pub store: Arc<SqliteStore>,
    /// Keys and MACs.
    pub vault: Arc<Vault>,
    /// The database.
    pub path: PathBuf,
}

/// Opens the store that the configuration names; `serve` takes the one place of a server.
pub fn open_store(config: &Config, sandbox: bool, serve: bool) -> Result<Opened, AppError> {
    let StoreUrl::Sqlite(path) = config.store_url().map_err(AppError::Url)?;
    let directory = directory_of(&path);
    if !directory.is_dir() {
        let mend = format!("{}: there is no directory {}: make it first", config.store.url, directory.display());
        return Err(AppError::Url(mend));
    }
    let vault = data_key(config, &path)?.vault();
    let options = OpenOptions { sandbox, serve, read_connections: config.store.read_connections };
    let store = SqliteStore::open(&path, options, &vault)?;
    Ok(Opened { store: Arc::new(store), vault: Arc::new(vault), path })
}

fn data_key(config: &Config, database: &Path) -> Result<DataKey, DataKeyError> {
    match &config.store.data_key_file {
        None => DataKey::beside(database),
        // A database without its key must not get a new one.
        Some(path) if database.metadata().is_ok_and(|found| found.len() > 0) => DataKey::load(path),
        Some(path) => DataKey::load_or_create(path),
    }
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// The directory that a database lies in.
pub fn directory_of(database: &Path) -> &Path {
    database.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where the data key of this configuration is.
pub fn data_key_path(config: &Config, database: &Path) -> PathBuf {
    config.store.data_key_file.clone().unwrap_or_else(|| DataKey::path_beside(database))
}

/// The accounts of the configuration, checked and guarded; whatever is half-configured is an error (P12).
pub fn accounts(config: &Config, clock: &Arc<dyn Clock>) -> Result<Providers, AppError> {
    // Whoever asks for the accounts wants to know whether all of them are whole.
    MailIn::from_config(&config.mail)?;
    let mut providers = Providers::default();
    if let Some(fcm) = &config.fcm {
        providers.fcm = Some(Arc::new(Fcm::from_config(fcm, Arc::clone(clock))?));
    }
    if let Some(apns) = &config.apns {
        providers.apns = Some(Arc::new(Apns::from_config(apns, Arc::clone(clock))?));
    }
    if let Some(smtp) = &config.providers.smtp {
        providers.email = Some(Arc::new(Smtp::from_config(smtp, Arc::clone(clock))?));
    }
    if let Some(ses) = &config.providers.ses {
        if providers.email.is_some() {
            return Err(SesConfigError::SmtpToo.into());
        }
        let ses = Arc::new(Ses::from_config(ses, Arc::clone(clock))?);
        providers.email = Some(ses.clone());
        providers.callbacks.push(ses);
    }
    if let Some(twilio) = &config.providers.twilio {
        let twilio = Arc::new(Twilio::from_config(twilio, config.server.public_url.as_deref())?);
        providers.text.push(twilio.clone());
        providers.callbacks.push(twilio);
    }
    if let Some(smpp) = &config.providers.smpp {
        let smpp = Arc::new(Smpp::from_config(smpp)?);
        providers.text.push(smpp.clone());
        providers.trunks.push(smpp);
    }
    if let Some(config_of_line) = &config.providers.line {
        let line = Arc::new(Line::from_config(config_of_line, config.server.public_url.as_deref())?);
        providers.text.push(line.clone());
        if config_of_line.notification {
            providers.text.push(Arc::new(line.notification()));
        }
        providers.callbacks.push(line);
    }
    if let Some(gateway) = &config.providers.gateway {
        let public_url = config.server.public_url.as_deref();
        let gateway = Arc::new(Gateway::from_config(gateway, public_url, Arc::clone(clock))?);
        providers.text.push(gateway.clone());
        providers.callbacks.push(gateway);
    }
    if let Some(solapi) = &config.providers.solapi {
        let solapi = Arc::new(Solapi::from_config(solapi, Arc::clone(clock))?);
        providers.text.push(solapi.clone());
        if solapi.hears() {
            providers.callbacks.push(solapi);
        }
    }
    providers.routes = text_routes(&config.text.routes, &providers)?;
    Ok(providers.guarded(clock))
}

/// Who carries XMS where; each of them is there and carries XMS.
fn text_routes(lines: &[String], providers: &Providers) -> Result<Routes, AppError> {
    // A line that cannot be read was refused with the rest of the configuration.
    let routes = Routes::parse(lines).unwrap_or_default();
    for name in routes.names() {
        let why = match providers.text_of(name) {
            None => "is not configured",
            Some(provider) if !provider.ways().contains(&Way::Xms) => "carries no SMS",
            Some(_) => continue,
        };
        return Err(AppError::Route { name: name.to_owned(), why });
    }
    Ok(routes)
}

/// The way for the workspaces' own push credentials.
pub fn app_accounts(config: &Config, clock: &Arc<dyn Clock>) -> Result<Accounts, AppError> {
    let apns = ApnsNet::from_config(&config.apns.clone().unwrap_or_default(), Arc::clone(clock))?;
    let fcm = config.fcm.clone().unwrap_or_default();
    Ok(Accounts::new(Arc::new(Live { apns, fcm, clock: Arc::clone(clock) }), Arc::clone(clock)))
}

/// Every way out, captured.
pub fn captured(capture: &Arc<Capture>) -> Providers {
    Providers {
        fcm: Some(capture.push(Via::Fcm)),
        apns: Some(capture.push(Via::Apns)),
        text: vec![capture.clone()],
        routes: Routes::default(),
        email: Some(capture.clone()),
        callbacks: Vec::new(),
        trunks: Vec::new(),
    }
}

/// What all workspaces share: the configuration's numbers and what can be sent by.
pub fn deployment(config: &Config, providers: &Providers, sandbox: bool) -> Deployment {
    let defaults = Policy::sandbox();
    let prices = wallet::prices(&config.wallet, sandbox);
    let policy = Policy {
        ack_wait_ms: config.followup.ack_wait_ms,
        services: providers.services(),
        wallet: wallet::terms(&config.wallet, &prices, sandbox),
        limits: crate::limits::of_deployment(&config.limits, prices, sandbox),
        claim_ms: failpoint::claim_ms(defaults.claim_ms),
        ..defaults
    };
    let opt_out = config.text.opt_out.iter().map(|told| (told.country, told.line.clone())).collect();
    let plans = Plans::of(&config.wallet, sandbox);
    let retention = config.retention;
    let mail = DeploymentMail {
        // Nobody's: a sandbox shows where answers would go.
        reply_domain: config.mail.reply_domain.clone().or_else(|| sandbox.then(|| SANDBOX_REPLY_DOMAIN.into())),
        spf: config.mail.spf.clone(),
        dns: Dns::new(&config.mail.dns_servers()),
    };
    Deployment { sandbox, policy, plans, public_url: config.link_base(sandbox), opt_out, retention, mail }
}

impl App {
    /// Opens everything and starts the engine. Call inside a tokio runtime.
    pub async fn build(config: &Config, time: Time, mode: Mode) -> Result<App, AppError> {
        let metrics = start_metrics();
        let sandbox = matches!(mode, Mode::Sandbox { .. });
        // Half an account stops a sandbox, too, and before anything is made on the disk.
        let for_now: Arc<dyn Clock> = Arc::new(SystemClock::start());
        accounts(config, &for_now)?;
        let courier = Courier::from_config(&config.wallet)?;
        let Opened { store, vault, path } = open_store(config, sandbox, true)?;
        one_currency(&*store, &config.wallet.currency).await?;
        let clock: Arc<dyn Clock> = match time {
            Time::System => Arc::new(SystemClock::resume(beside(&path, ".clock"), store.pending_count().await? > 0)),
            Time::Given(clock) => clock,
        };
        hit(Point::BootClock);
        let providers = match &mode {
            Mode::Live => accounts(config, &clock)?,
            Mode::Sandbox { capture, .. } => captured(capture),
        };
        let judge: Arc<dyn Store> = store.clone();
        let clocks = Arc::new(Clocks::new(clock));
        let deployment = deployment(config, &providers, sandbox);
        let registry = Registry::new(Arc::clone(&judge), Arc::clone(&vault), Arc::clone(&clocks), deployment);
        let registry = Arc::new(match mode {
            Mode::Live => registry.with_accounts(app_accounts(config, clocks.real())?),
            Mode::Sandbox { .. } => registry,
        });
        if sandbox {
            ensure_sandbox_workspace(&registry).await?;
        }
        let (callbacks, shown) = (providers.callbacks.clone(), providers.clone());
        let engine = Engine::start(Parts {
            store: Arc::clone(&judge),
            vault: Arc::clone(&vault),
            clocks: Arc::clone(&clocks),
            registry: Arc::clone(&registry),
            providers,
        });
        hit(Point::BootEngine);
        let (canary, domains) = keepers(&engine, &judge, &registry, &clocks);
        let asks = (!sandbox).then(|| config.clone());
        let golive = GoLive::new(asks, Arc::clone(&vault), Arc::clone(&clocks), Arc::clone(&canary));
        let render = metrics.clone();
        let api = Arc::new(Api {
            engine: engine.clone(),
            store: judge,
            vault,
            clocks: Arc::clone(&clocks),
            registry: Arc::clone(&registry),
            limits: limits(config, sandbox),
            golive,
            test_sends: TestSends::new(config.golive.test_numbers.clone()).unlimited_if(sandbox),
            test_pushes: TestPushes::default().unlimited_if(sandbox),
            metrics: Arc::new(move || render.render()),
            providers: shown,
            callbacks,
            mail_in: MailIn::from_config(&config.mail)?,
            ready: ready(&engine),
        });
        let billing = Billing { courier, api: Arc::clone(&api) };
        let (router, public_url, bounds) = (routes(api, mode), config.public_url(), bounds(config));
        Ok(App { store, engine, registry, clocks, router, canary, domains, billing, public_url, bounds, metrics })
    }

    /// What answers requests, for callers in the same process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Workspaces.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Time.
    pub fn clocks(&self) -> &Arc<Clocks> {
        &self.clocks
    }

    /// A part of the surface behind a listener.
    pub fn door(&self, listener: TcpListener, serves: Serves, tls: Option<Arc<Tls>>) -> Door {
        Door { listener, front: Front::new(self.router(), serves, &self.public_url), tls }
    }

    /// Serves everything on one listener, in plain HTTP.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Ended {
        let door = self.door(listener, Serves::ALL, None);
        self.serve_on(vec![door], shutdown).await
    }

    /// Serves until `shutdown`, then drains: no new connection, requests under way end, then sends under way. What is
    /// left is in the store and is judged again at the next start.
    pub async fn serve_on(self, doors: Vec<Door>, shutdown: impl Future<Output = ()>) -> Ended {
        let App { store, engine, clocks, canary, domains, billing, bounds, metrics, .. } = self;
        let trunks = Arc::new(Heard::new(Arc::clone(&billing.api))).listen();
        let unhealthy = unhealthy(store.poison_watch(), engine.broken_watch());
        let tls = doors.iter().find_map(|door| door.tls.clone());
        tokio::select! {
            reason = unhealthy => Ended::Unhealthy(reason),
            () = tidy(metrics) => Ended::Cut,
            () = renew(tls, clocks) => Ended::Cut,
            () = canary.keep() => Ended::Cut,
            () = domains.keep() => Ended::Cut,
            () = billing.keep() => Ended::Cut,
            drained = serve_all(doors, bounds, shutdown) => {
                hit(Point::DrainSends);
                engine.drain(half(bounds.drain)).await;
                trunks.stop().await;
                hit(Point::DrainEnds);
                if drained && engine.stats().sending == 0 { Ended::Drained } else { Ended::Cut }
            }
        }
    }
}

/// Keeps the certificate fresh while the server runs.
async fn renew(tls: Option<Arc<Tls>>, clocks: Arc<Clocks>) {
    match tls {
        Some(tls) => tls.keep_fresh(|| clocks.real_ms() + clocks.real().wall_offset_ms()).await,
        None => std::future::pending().await,
    }
}

/// Ends when the process has to be started anew, with the reason.
async fn unhealthy(
    mut poison: watch::Receiver<Option<String>>,
    mut broken: watch::Receiver<Option<&'static str>>,
) -> String {
    tokio::select! {
        poisoned = poison.wait_for(Option::is_some) => match poisoned {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The store is held until the server has ended: only its writer can be gone.
            Err(_) => "the store's writer ended".into(),
        },
        // The engine is held as long.
        Ok(part) = broken.wait_for(Option::is_some) => format!("{} ended by a fault", part.unwrap_or_default()),
    }
}

/// Those who look after what nobody asks for.
fn keepers(
    engine: &Engine,
    judge: &Arc<dyn Store>,
    registry: &Arc<Registry>,
    clocks: &Arc<Clocks>,
) -> (Arc<Canary>, Watch) {
    let canary = Canary::new(engine.clone(), Arc::clone(judge), Arc::clone(registry), Arc::clone(clocks));
    (Arc::new(canary), Watch::new(Arc::clone(registry), Arc::clone(judge)))
}

/// The API, and in a sandbox what belongs to it.
fn routes(api: Arc<Api>, mode: Mode) -> Router {
    let Mode::Sandbox { capture, phones_by } = mode else { return http::router(api, None) };
    let network = match phones_by {
        Some(base_url) => Network::Http(base_url),
        None => Network::InProcess(http::router(Arc::clone(&api), None)),
    };
    let sandbox = Sandbox::start(Arc::clone(&api), capture, network);
    http::router(api, Some(sandbox.router()))
}

fn half(drain: Duration) -> u64 {
    u64::try_from(drain.as_millis() / 2).unwrap_or(u64::MAX)
}

fn bounds(config: &Config) -> Bounds {
    let server = &config.server;
    Bounds {
        max_connections: server.max_connections,
        header_timeout: Duration::from_millis(server.header_timeout_ms),
        idle_timeout: Duration::from_millis(server.idle_timeout_ms),
        drain: Duration::from_millis(server.drain_ms),
    }
}

/// Rate limits, which a sandbox has none of, and the time a body may take.
fn limits(config: &Config, sandbox: bool) -> Limits {
    let server = &config.server;
    let (device, address) = match sandbox {
        true => (0, 0),
        false => (config.limits.device_requests_per_minute, config.limits.address_requests_per_minute),
    };
    let trusted = server.trusted_proxies.clone();
    let is_trusted = Arc::new(move |peer| trusted.iter().any(|network| network.contains(peer)));
    let limits = Limits::new(Duration::from_millis(server.body_timeout_ms), device, address, is_trusted);
    limits.forwarded_in(server.forwarded_header)
}

/// What `/readyz` asks beside the store: a server whose timer does not know yet what is pending would decide late.
fn ready(engine: &Engine) -> http::Check {
    let engine = engine.clone();
    Arc::new(move || match engine.broken() {
        Some(part) => Err(format!("{part} ended by a fault: start the process anew")),
        None if engine.timer().is_ready() => Ok(()),
        None => Err("the timer is being filled from the store".into()),
    })
}

/// A balance in one currency cannot pay prices in another.
async fn one_currency(store: &dyn Store, wanted: &str) -> Result<(), AppError> {
    let other = store.currencies().await?.into_iter().find(|currency| currency != wanted);
    other.map_or(Ok(()), |found| Err(AppError::Currency { wanted: wanted.to_owned(), found }))
}

/// The sandbox's workspace, whose keys everybody knows.
async fn ensure_sandbox_workspace(registry: &Registry) -> Result<(), AppError> {
    if registry.by_name(SANDBOX_WORKSPACE).await?.is_none() {
        let created = Created {
            workspace: SANDBOX_WORKSPACE.into(),
            api_key: "sk_sandbox".into(),
            app_key: "app_sandbox".into(),
            identity_secret: "0".repeat(64),
        };
        registry.create_with(&created).await?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "housekeeping of metrics: no rule sees it")]
async fn tidy(metrics: Metrics) {
    let mut ticks = tokio::time::interval(METRICS_EVERY);
    loop {
        ticks.tick().await;
        metrics.tidy();
    }
}
