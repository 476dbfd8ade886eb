//! `backstop bench`: what this machine does, durable, over real HTTP, with the generator beside the server.
//!
//! The server is the real one on a fresh SQLite file (FULL), in this process but on threads of its own; what it sends
//! is counted and not kept. Every number is of answered requests: an answer comes after the commit.

mod load;
mod report;

use crate::app::{App, Mode, Time};
use crate::config::Config;
use crate::identity::customer_hash;
use crate::providers::capture::{Capture, CapturedPush};
use crate::registry::Created;
use backstop_wire::time::{from_rfc3339, to_rfc3339};
use load::{Caller, Run, drive, request, server_cpu_us};
use report::{Lateness, Rate, Report, Spread};
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Acks of one request, the most that one may carry.
const BATCH: usize = 100;
/// How many of those whose lateness is measured fall due each second, and how many are posted at a time.
const MEASURED_PER_SECOND: usize = 1_000;
const MEASURED_SLICE: usize = 50;
/// P3's floor: the shortest wait a workspace may have.
const SHORT_WAIT_MS: i64 = 1_000;
const TEXT: &str = "Hello! I have looked at your order: the parcel left our warehouse this morning and should reach \
                    you tomorrow before noon. Is there anything else that I can do for you?";

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Where the database is made; on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Replies of each kind of run.
    #[arg(long, default_value_t = 50_000)]
    count: usize,
    /// Pending follow-ups while lateness is measured; 0 leaves it out.
    #[arg(long, default_value_t = 100_000)]
    pending: usize,
    /// Follow-ups whose lateness is measured, a thousand a second.
    #[arg(long, default_value_t = 5_000)]
    measured: usize,
    /// Connections of the generator.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Shown in the result: what was measured.
    #[arg(long, default_value = "unnamed commit")]
    commit: String,
}

/// Measures and prints.
pub fn run(options: &Options) -> Result<(), String> {
    let dir = options.dir.join(format!("backstop-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let report = measure(options, &dir);
    std::fs::remove_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let report = report?;
    let text = if options.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
    } else {
        report.table()
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn measure(options: &Options, dir: &std::path::Path) -> Result<Report, String> {
    let fsync_before = report::fsync_probe(dir)?;
    let pushed = Arc::new(Pushed::default());
    let capture = Capture::counting();
    let kept = Arc::clone(&pushed);
    capture.subscribe(move |push| kept.keep(push));
    let server = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("server").build();
    let server = server.map_err(|error| error.to_string())?;
    let config = Config::load(
        None,
        [
            ("BACKSTOP__STORE__URL".to_owned(), format!("sqlite:{}", dir.join("bench.db").display())),
            ("BACKSTOP__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ],
    )
    .map_err(|error| error.to_string())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (app, listener) = server.block_on(async {
        let app = App::build(&config, Time::System, Mode::Sandbox { capture, phones_by: None })
            .await
            .map_err(|error| error.to_string())?;
        let listener = tokio::net::TcpListener::bind(config.server.listen).await.map_err(|error| error.to_string())?;
        Ok::<_, String>((app, listener))
    })?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let (registry, engine) = (Arc::clone(app.registry()), app.engine().clone());
    let [busy, waiting] = server.block_on(async {
        let busy = registry.create("busy").await.map_err(|error| error.to_string())?;
        let waiting = registry.create("waiting").await.map_err(|error| error.to_string())?;
        Ok::<_, String>([busy, waiting])
    })?;
    let serving = server.spawn(app.serve(listener, async {
        let _ = stopped.await;
    }));
    let generator = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let generator = generator.map_err(|error| error.to_string())?;
    let bench = Bench { options, address, pushed, pending: Box::new(move || engine.stats().pending) };
    let measured = generator.block_on(async {
        let rates = bench.rates(&busy).await?;
        let lateness = if options.pending > 0 { Some(bench.lateness(&busy, &waiting).await?) } else { None };
        Ok::<_, String>((rates, lateness))
    });
    drop(stop);
    // What is still pending would fall due: nothing of it is wanted any more.
    serving.abort();
    server.shutdown_timeout(Duration::from_secs(5));
    let (rates, lateness) = measured?;
    Ok(Report {
        commit: options.commit.clone(),
        optimised: !cfg!(debug_assertions),
        machine: report::machine(),
        connections: options.connections,
        fsync_before,
        fsync_after: report::fsync_probe(dir)?,
        rates,
        lateness,
    })
}

/// Receipts of the pushes that left, by the number in their conversation's name.
#[derive(Default)]
struct Pushed {
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

    fn len(&self) -> usize {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The receipts in the order of their replies.
    fn take(&self) -> Vec<String> {
        let mut receipts = std::mem::take(&mut *self.receipts.lock().unwrap_or_else(PoisonError::into_inner));
        receipts.sort_unstable();
        receipts.into_iter().map(|(_, receipt)| receipt).collect()
    }
}

/// A customer's phone as the generator plays it.
struct Phone {
    authorization: String,
}

struct Bench<'a> {
    options: &'a Options,
    address: SocketAddr,
    pushed: Arc<Pushed>,
    pending: Box<dyn Fn() -> usize>,
}

impl Bench<'_> {
    async fn drive(&self, requests: Vec<Vec<u8>>) -> Result<Run, String> {
        drive(self.address, self.options.connections, Arc::new(requests), false).await
    }

    /// Creates, then acks one by one; then again with a hundred acks a request, in the order of the replies and not.
    async fn rates(&self, workspace: &Created) -> Result<Vec<Rate>, String> {
        let count = self.options.count / BATCH * BATCH;
        let customers = (count / BATCH).max(1);
        let phones = self.register(workspace, customers).await?;
        let mut rates = Vec::new();
        let spread = |n: usize| n % customers;
        let in_order = |n: usize| n / BATCH;
        let mut first = 0;
        let whole: [(_, &dyn Fn(usize) -> usize, _); 3] = [
            ("acks, one a request", &spread, 1),
            ("acks, 100 a request, in order", &in_order, BATCH),
            ("acks, 100 a request, shuffled", &spread, BATCH),
        ];
        for (what, customer_of, each) in whole {
            let creates = (0..count).map(|n| reply(workspace, first + n, customer_of(n))).collect();
            let before_us = server_cpu_us();
            let created = self.drive(creates).await?;
            self.all_pushed(count).await?;
            if first == 0 {
                rates.push(Rate::of("creates, with their pushes", &created, 1, server_cpu_us() - before_us));
            }
            first += count;
            let receipts = self.pushed.take();
            let acks = acks(workspace, &receipts, &phones, customer_of, each);
            let before_us = server_cpu_us();
            let acked = self.drive(acks).await?;
            rates.push(Rate::of(what, &acked, each, server_cpu_us() - before_us));
        }
        Ok(rates)
    }

    /// Customers with a phone number, an address and one device each.
    async fn register(&self, workspace: &Created, customers: usize) -> Result<Vec<Phone>, String> {
        let secret = hex::decode(&workspace.identity_secret).map_err(|error| error.to_string())?;
        let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
        let put = |n: usize| {
            let body = json!({ "name": "Ada", "phone": "+821012345678", "email": "ada@example.com" }).to_string();
            request("PUT", &format!("/v1/customers/u-{n}"), &bearer, &body)
        };
        self.drive((0..customers).map(put).collect()).await?;
        let app = format!("backstop-app: {}\r\n", workspace.app_key);
        let register = |n: usize| {
            let id = format!("u-{n}");
            let body = json!({
                "install_id": format!("install-{n}"), "platform": "android", "provider": "fcm",
                "token": format!("token-{n}"), "alerts": "allowed", "wire": [1],
                "customer_id": id, "customer_hash": customer_hash(&secret, &id),
            });
            request("POST", "/v1/devices", &app, &body.to_string())
        };
        let requests = Arc::new((0..customers).map(register).collect());
        let run = drive(self.address, self.options.connections, requests, true).await?;
        let phone = |answer: &Vec<u8>| {
            let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
            let word = |key: &str| answer[key].as_str().map(str::to_owned).ok_or(format!("no {key} in {answer}"));
            Ok(Phone { authorization: format!("Backstop-Device {}.{}", word("device_id")?, word("device_key")?) })
        };
        run.answers.iter().map(phone).collect()
    }

    /// Waits until every reply's push has left.
    async fn all_pushed(&self, count: usize) -> Result<(), String> {
        for _ in 0..2_000 {
            if self.pushed.len() >= count {
                return Ok(());
            }
            pause(Duration::from_millis(5)).await;
        }
        Err(format!("only {} of {count} pushes left within 10 s", self.pushed.len()))
    }

    /// Fills the server with what waits its 30 s, then watches others fall due after 1 s.
    async fn lateness(&self, busy: &Created, waiting: &Created) -> Result<Lateness, String> {
        let settings = json!({ "ack_wait_ms": SHORT_WAIT_MS, "phone_number": true, "email": true }).to_string();
        let bearer = format!("authorization: Bearer {}\r\n", waiting.api_key);
        let mut caller = Caller::connect(self.address).await?;
        caller.ask(&request("PUT", "/v1/settings", &bearer, &settings)).await?;
        self.register(waiting, self.options.measured).await?;
        let customers = (self.options.count / BATCH).max(1);
        let fill = (0..self.options.pending).map(|n| reply(busy, 10_000_000 + n, n % customers)).collect();
        self.drive(fill).await?;
        let numbers: Vec<usize> = (0..self.options.measured).collect();
        let mut pending = 0;
        let mut turns = turns(Duration::from_millis((MEASURED_SLICE * 1_000 / MEASURED_PER_SECOND) as u64));
        for slice in numbers.chunks(MEASURED_SLICE) {
            turns.tick().await;
            self.drive(slice.iter().map(|n| reply(waiting, *n, *n)).collect()).await?;
            pending = pending.max((self.pending)());
        }
        // The last of them fall due, and what they send is accepted.
        pause(Duration::from_millis(SHORT_WAIT_MS as u64 + 2_000)).await;
        self.read_lateness(&bearer, pending).await
    }

    async fn read_lateness(&self, bearer: &str, pending: usize) -> Result<Lateness, String> {
        let (mut decided, mut accepted, mut early) = (Vec::new(), Vec::new(), 0);
        let mut caller = Caller::connect(self.address).await?;
        let mut path = "/v1/followups?limit=200".to_owned();
        loop {
            let answer = caller.ask(&request("GET", &path, bearer, "")).await?;
            let page: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
            for followup in page["data"].as_array().into_iter().flatten() {
                let at = |value: &Value| value.as_str().and_then(from_rfc3339);
                let Some(deadline) = at(&followup["deadline_at"]) else { continue };
                let late = at(&followup["decided_at"]).map_or(i64::from(u32::MAX), |at| at - deadline);
                early += usize::from(late < 0);
                decided.push(u32::try_from(late.max(0)).unwrap_or(u32::MAX));
                let deliveries = followup["deliveries"].as_array().into_iter().flatten();
                for sent in deliveries.filter(|d| d["channel"] != "push" && d["status"] == "accepted") {
                    let late = at(&sent["at"]).map_or(0, |at| at - deadline);
                    accepted.push(u32::try_from(late.max(0)).unwrap_or(u32::MAX));
                }
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/v1/followups?limit=200&after={cursor}"),
                None => break,
            }
        }
        decided.sort_unstable();
        accepted.sort_unstable();
        let (measured, decided_ms, accepted_ms) = (decided.len(), Spread::of(&decided), Spread::of(&accepted));
        Ok(Lateness { pending, measured, early, decided_ms, accepted_ms })
    }
}

/// One reply, in a conversation of its own so that nothing folds.
fn reply(workspace: &Created, number: usize, customer: usize) -> Vec<u8> {
    let bearer = format!("authorization: Bearer {}\r\n", workspace.api_key);
    let body = json!({
        "message_id": uuid::Uuid::now_v7().to_string(), "conversation_id": format!("c-{number}"),
        "customer_id": format!("u-{customer}"), "kind": "reply", "author": { "name": "Grace" }, "text": TEXT,
    });
    request("POST", "/v1/messages", &bearer, &body.to_string())
}

/// One request for every `each` receipts of a customer; the receipts are in the order of their replies.
fn acks(
    workspace: &Created,
    receipts: &[String],
    phones: &[Phone],
    customer_of: &dyn Fn(usize) -> usize,
    each: usize,
) -> Vec<Vec<u8>> {
    let at = to_rfc3339(0);
    let ack = |n: &usize| json!({ "receipt": receipts[*n], "grade": "displayed", "at": at });
    let build = |customer: usize, numbers: &[usize]| {
        let acks: Vec<Value> = numbers.iter().map(ack).collect();
        let authorization = &phones[customer].authorization;
        let extra = format!("backstop-app: {}\r\nauthorization: {authorization}\r\n", workspace.app_key);
        request("POST", "/v1/acks", &extra, &json!({ "acks": acks }).to_string())
    };
    if each == 1 {
        return (0..receipts.len()).map(|n| build(customer_of(n), &[n])).collect();
    }
    let mut of_customer = vec![Vec::new(); phones.len()];
    (0..receipts.len()).for_each(|n| of_customer[customer_of(n)].push(n));
    let batches =
        of_customer.iter().enumerate().flat_map(|(customer, all)| all.chunks(each).map(move |c| (customer, c)));
    batches.map(|(customer, numbers)| build(customer, numbers)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
fn turns(every: Duration) -> tokio::time::Interval {
    tokio::time::interval(every)
}
