//! What depth costs: one database with very many pending, and how the same figures grow with their number.

use super::deadlines::{self, Watch};
use super::host::{Guest, Host, store};
use super::load::{now, since};
use super::rates::{ack, create};
use super::report::{Burst, Depth, Lateness, Memory, Rate, Restart, Stall};
use super::seed::{Due, Pattern, post_pattern};
use super::traffic::{Line, Phone, reply};
use super::{Part, pause};
use crate::clock::{Clock as _, SystemClock};
use crate::registry::Created;
use backstop_domain::Ms;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Customers of the pending ones, and of those whose lateness is measured.
const CUSTOMERS: usize = 2_000;
/// What waits is due in a day: no measurement sees it.
const FAR_MS: Ms = 86_400_000;
/// Replies posted to a server before its memory is read: its caches are warm then.
const WARM: usize = 20_000;
/// How many are overdue after the kill: ten seconds' worth at 1,000 a second.
const OVERDUE: usize = 10_000;
/// From their seeding to their deadline: the server is started and killed in between.
const OVERDUE_AHEAD_MS: Ms = 10_000;
/// Replies, acks and deadlines measured at each depth.
const SAMPLE: usize = 20_000;
const SAMPLE_DEADLINES: usize = 3_000;

/// A database with customers in it and a pattern to fill it with.
pub(super) struct Site {
    database: PathBuf,
    connections: usize,
    busy: Created,
    waiting: Created,
    phones: Vec<Phone>,
    pattern: Pattern,
    /// The number of the next reply.
    next: usize,
}

/// What is measured on one deep database.
#[derive(Default)]
pub(super) struct Deep {
    pub(super) lateness: Option<Lateness>,
    pub(super) stall: Option<Stall>,
    pub(super) burst: Option<Burst>,
    pub(super) memory: Option<Memory>,
    pub(super) restart: Option<Restart>,
}

impl Site {
    pub(super) fn make(generator: &Runtime, database: PathBuf, connections: usize) -> Result<Site, String> {
        let host = Host::start(&database)?;
        let line = Line { address: host.address, connections };
        let (busy, waiting) = (host.workspace("busy")?, host.workspace("waiting")?);
        let phones = generator.block_on(async {
            let phones = line.register(&busy, CUSTOMERS).await?;
            line.register(&waiting, CUSTOMERS).await?;
            line.wait_shortly(&waiting).await?;
            post_pattern(&host, line, &busy).await?;
            Ok::<_, String>(phones)
        });
        host.stop();
        let pattern = generator.block_on(Pattern::find(&database, &busy, CUSTOMERS))?;
        Ok(Site { database, connections, busy, waiting, phones: phones?, pattern, next: 1 })
    }

    fn with_host<T>(&mut self, measure: impl FnOnce(&mut Site, &Host) -> Result<T, String>) -> Result<T, String> {
        let host = Host::start(&self.database)?;
        let measured = measure(self, &host);
        host.stop();
        measured
    }

    /// The workspace whose replies wait shortly, ready to be measured, and the busy one.
    fn watch<'a>(&'a mut self, host: &'a Host) -> (Watch<'a>, &'a Created) {
        let Site { connections, busy, waiting, next, .. } = self;
        let line = Line { address: host.address, connections: *connections };
        (Watch { host, line, workspace: waiting, customers: CUSTOMERS, next }, busy)
    }
}

/// Everything of `parts` that wants many pending.
pub(super) fn deep(
    generator: &Runtime,
    site: &mut Site,
    parts: &[Part],
    [pending, measured, crowd]: [usize; 3],
) -> Result<Deep, String> {
    let mut found = Deep::default();
    let wanted = |part| parts.contains(&part);
    let empty = if wanted(Part::Restart) { Some(warm_memory(generator, site)?) } else { None };
    generator.block_on(site.pattern.add(&site.database, pending, Due::From(time() + FAR_MS)))?;
    if wanted(Part::Lateness) || wanted(Part::Stall) {
        let database = site.database.clone();
        (found.lateness, found.stall) = site.with_host(|site, host| {
            let (mut watch, _) = site.watch(host);
            generator.block_on(async {
                let lateness = if wanted(Part::Lateness) { Some(watch.lateness(measured).await?) } else { None };
                let stall = if wanted(Part::Stall) { Some(watch.stall(&database).await?) } else { None };
                Ok((lateness, stall))
            })
        })?;
    }
    if wanted(Part::Burst) {
        let at = deadlines::seed_burst(&mut site.pattern, &site.database, crowd, time());
        let at = generator.block_on(at)?;
        let database = site.database.clone();
        found.burst = Some(site.with_host(|site, host| {
            let (mut watch, busy) = site.watch(host);
            generator.block_on(deadlines::burst(&mut watch, &database, busy, crowd, at))
        })?);
    }
    if let Some(empty) = empty {
        let full = warm_memory(generator, site)?;
        found.memory = Some(Memory::of(pending, empty, full));
        found.restart = Some(restart(generator, site, pending)?);
    }
    Ok(found)
}

/// What a server holds in RAM when it is ready, and after some traffic.
fn warm_memory(generator: &Runtime, site: &mut Site) -> Result<[u64; 2], String> {
    let guest = Guest::start(&site.database)?;
    let at_start = guest.rss_bytes()?;
    let line = Line { address: guest.address, connections: site.connections };
    let numbers = site.next..site.next + WARM;
    site.next += WARM;
    let replies = numbers.map(|n| reply(&site.busy, n, n % CUSTOMERS)).collect();
    generator.block_on(async {
        line.drive(replies).await?;
        // Their pushes leave, and what came of them is committed.
        pause(Duration::from_millis(500)).await;
        Ok::<_, String>(())
    })?;
    Ok([at_start, guest.rss_bytes()?])
}

/// Kills a server that has much pending before some of it is due, and starts it again after.
fn restart(generator: &Runtime, site: &mut Site, pending: usize) -> Result<Restart, String> {
    let due = time() + OVERDUE_AHEAD_MS;
    generator.block_on(site.pattern.add(&site.database, OVERDUE, Due::At(due)))?;
    Guest::start(&site.database)?.kill();
    let watched = store(&site.database)?.0;
    let left_ms = (due + 500 - time()).max(0);
    generator.block_on(pause(Duration::from_millis(left_ms as u64)));
    let began = now();
    let guest = Guest::start(&site.database)?;
    generator.block_on(async {
        loop {
            if deadlines::nothing_is_due(&watched, due).await? {
                break;
            }
            if since(began) > Duration::from_secs(60) {
                return Err("not everything overdue was decided within 60 s".to_owned());
            }
            pause(Duration::from_millis(5)).await;
        }
        Ok(())
    })?;
    let decided_ms = millis(since(guest.started));
    Ok(Restart { pending, ready_ms: millis(guest.ready), overdue: OVERDUE, overdue_decided_ms: decided_ms })
}

/// The same figures at 10³, 10⁴, … pending, up to `most`.
pub(super) fn growth(generator: &Runtime, site: &mut Site, most: usize) -> Result<Vec<Depth>, String> {
    let mut depths = Vec::new();
    let (mut seeded, mut depth) = (0, 1_000);
    while depth <= most {
        generator.block_on(site.pattern.add(&site.database, depth - seeded, Due::From(time() + FAR_MS)))?;
        seeded = depth;
        depths.push(at_depth(generator, site, depth)?);
        depth = if depth < most { (depth * 10).min(most) } else { usize::MAX };
    }
    Ok(depths)
}

fn at_depth(generator: &Runtime, site: &mut Site, pending: usize) -> Result<Depth, String> {
    let (creates, acks, lateness) = site.with_host(|site, host| {
        let line = Line { address: host.address, connections: site.connections };
        let first = site.next;
        site.next += SAMPLE;
        let (creates, acks) = generator.block_on(async {
            let of = |n: usize| n % CUSTOMERS;
            let (created, cpu) = create(host, line, &site.busy, first, SAMPLE, &of).await?;
            let (acked, acking) = ack(&host.pushed, line, &site.busy, &site.phones, &of, 1).await?;
            Ok::<_, String>((Rate::of("creates", &created, 1, cpu), Rate::of("acks", &acked, 1, acking)))
        })?;
        let lateness = generator.block_on(site.watch(host).0.lateness(SAMPLE_DEADLINES))?;
        host.pushed.take();
        Ok((creates, acks, lateness))
    })?;
    let guest = Guest::start(&site.database)?;
    let (ready_ms, rss_bytes) = (millis(guest.ready), guest.rss_bytes()?);
    let file_bytes = file_bytes(&site.database);
    Ok(Depth { pending, creates, acks, lateness, ready_ms, rss_bytes, file_bytes })
}

fn file_bytes(path: &Path) -> u64 {
    path.metadata().map_or(0, |found| found.len())
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn time() -> Ms {
    SystemClock::start().now_ms()
}
