//! How many a second: over HTTP with everything on, and by calls of the engine as the peers' libraries are called.

use super::host::{Host, Pushed};
use super::load::{Run, closed, cpu_us, process_cpu_us};
use super::report::Rate;
use super::traffic::{BATCH, Line, Phone, acks, all_pushed, reply, settled};
use crate::engine::api::{AckInput, CustomerInput, MessageBody, PostMessage, Posted, Registration};
use crate::registry::Created;
use crate::workspace::Workspace;
use backstop_domain::followup::{AuthorKind, Kind};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_wire::{Alerts, Grade, Platform, PushProvider};
use std::sync::{Arc, OnceLock};

/// Customers of the runs without HTTP.
const LIBRARY_CUSTOMERS: usize = 1_000;

/// Creates, then acks one by one; then again with a hundred acks a request, in the order of the replies and not.
pub(super) async fn over_http(host: &Host, line: Line, workspace: &Created, count: usize) -> Result<Vec<Rate>, String> {
    let count = count / BATCH * BATCH;
    let customers = (count / BATCH).max(1);
    let phones = line.register(workspace, customers).await?;
    let mut rates = Vec::new();
    let spread = |n: usize| n % customers;
    let in_order = |n: usize| n / BATCH;
    let whole: [(_, &dyn Fn(usize) -> usize, _); 3] = [
        ("acks, one a request", &spread, 1),
        ("acks, 100 a request, in order", &in_order, BATCH),
        ("acks, 100 a request, shuffled", &spread, BATCH),
    ];
    for (turn, (what, customer_of, each)) in whole.into_iter().enumerate() {
        let (created, cpu) = create(host, line, workspace, turn * count, count, customer_of).await?;
        if turn == 0 {
            rates.push(Rate::of("creates, with their pushes", &created, 1, cpu));
        }
        let (acked, cpu) = ack(&host.pushed, line, workspace, &phones, customer_of, each).await?;
        rates.push(Rate::of(what, &acked, each, cpu));
    }
    Ok(rates)
}

/// What server and generator used, in microseconds.
pub(super) type Cpu = (i64, i64);

/// Posts replies numbered from `first` and waits until their pushes have left.
pub(super) async fn create(
    host: &Host,
    line: Line,
    workspace: &Created,
    first: usize,
    count: usize,
    customer_of: &dyn Fn(usize) -> usize,
) -> Result<(Run, Cpu), String> {
    let creates = (0..count).map(|n| reply(workspace, first + n, customer_of(n))).collect();
    let before = cpu_us();
    let created = line.drive(creates).await?;
    let generator = cpu_us().1 - before.1;
    all_pushed(host, count).await?;
    settled(host).await?;
    Ok((created, (cpu_us().0 - before.0, generator)))
}

/// Acks everything that was pushed and not taken yet.
pub(super) async fn ack(
    pushed: &Pushed,
    line: Line,
    workspace: &Created,
    phones: &[Phone],
    customer_of: &dyn Fn(usize) -> usize,
    each: usize,
) -> Result<(Run, Cpu), String> {
    let receipts = pushed.take();
    let acks = acks(workspace, &receipts, phones, customer_of, each);
    let before = cpu_us();
    let acked = line.drive(acks).await?;
    let after = cpu_us();
    Ok((acked, (after.0 - before.0, after.1 - before.1)))
}

/// The peers' workload by calls of the engine: accept a reply that waits its 30 s, then ack nine of ten. The push of
/// each, which the peers do not have, comes on top. CPU is of the whole process, callers included.
pub(super) async fn by_calls(
    host: &Host,
    workspace: &Created,
    count: usize,
    lanes: usize,
) -> Result<[Rate; 2], String> {
    let ws = host.registry.by_key(&workspace.api_key).await.map_err(|error| error.to_string())?;
    let (ws, _) = ws.ok_or("the workspace is gone")?;
    let devices = people(host, &ws).await?;
    let created: Arc<Vec<OnceLock<FollowupId>>> = Arc::new((0..count).map(|_| OnceLock::new()).collect());
    let before_us = process_cpu_us();
    let (engine, workspace, ids) = (host.engine.clone(), Arc::clone(&ws), Arc::clone(&created));
    let creates = closed(count, lanes, move |n| {
        let (engine, ws, ids) = (engine.clone(), Arc::clone(&workspace), Arc::clone(&ids));
        async move {
            match engine.post_message(&ws, small(n)).await {
                Ok(Posted::Followup { followup_id, .. }) => ids[n].set(followup_id).map_err(|_| "twice".to_owned()),
                Ok(Posted::Watching) => Err("nobody is online".into()),
                Err(error) => Err(error.to_string()),
            }
        }
    });
    let creates = creates.await?;
    settled(host).await?;
    let creating_us = process_cpu_us() - before_us;
    let acked = created.iter().enumerate().filter(|(n, _)| n % 10 != 9);
    let acked: Arc<Vec<_>> = Arc::new(acked.filter_map(|(n, id)| Some((n, *id.get()?))).collect());
    let before_us = process_cpu_us();
    let (engine, count) = (host.engine.clone(), acked.len());
    let acks = closed(count, lanes, move |at| {
        let (engine, ws, (n, id)) = (engine.clone(), Arc::clone(&ws), acked[at]);
        let device = devices[n % devices.len()];
        async move {
            let (receipt, grade) = (Some((id, 1)), Grade::Displayed);
            let ack = AckInput { receipt, grade, recorded_at: 0, detail: None };
            match engine.acks(&ws, device, vec![ack]).await.map_err(|error| error.to_string())?.as_slice() {
                [result] if result.counted => Ok(()),
                results => Err(format!("not counted: {results:?}")),
            }
        }
    });
    let acks = acks.await?;
    let acking_us = process_cpu_us() - before_us;
    host.pushed.take();
    let rate = |what: &str, run: &Run, cpu| Rate::of(&format!("{what}, {lanes} in flight"), run, 1, (cpu, 0));
    Ok([rate("creates", &creates, creating_us), rate("acks", &acks, acking_us)])
}

async fn people(host: &Host, ws: &Arc<Workspace>) -> Result<Vec<DeviceId>, String> {
    let mut devices = Vec::with_capacity(LIBRARY_CUSTOMERS);
    for n in 0..LIBRARY_CUSTOMERS {
        let id = format!("u-{n}");
        let input = CustomerInput { phone: Some("+821012345678".into()), ..CustomerInput::default() };
        host.engine.put_customer(ws, id.clone(), input).await.map_err(|error| error.to_string())?;
        let registration = Registration {
            install_id: format!("install-{n}"),
            platform: Platform::Android,
            provider: PushProvider::Fcm,
            token: format!("token-{n}"),
            topic: None,
            environment: None,
            alerts: Alerts::Allowed,
            wire: vec![1],
            locale: None,
            customer_id: Some(id),
            authenticated_as: None,
        };
        devices.push(host.engine.register_device(ws, registration).await.map_err(|error| error.to_string())?);
    }
    Ok(devices)
}

/// As small as a peer's job.
fn small(n: usize) -> PostMessage {
    PostMessage {
        message_id: uuid::Uuid::now_v7().to_string(),
        conversation_id: format!("l-{}", uuid::Uuid::now_v7()),
        customer_id: format!("u-{}", n % LIBRARY_CUSTOMERS),
        kind: Some(Kind::Reply),
        author_kind: AuthorKind::Agent,
        body: MessageBody { author: None, text: format!("{{\"i\":{n}}}"), link: None },
        channels: None,
        customer: None,
        body_hash: [0; 32],
    }
}
