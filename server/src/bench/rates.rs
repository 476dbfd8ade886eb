//! How many a second over HTTP, with everything on.

use super::host::{Host, Pushed};
use super::load::{Run, cpu_us};
use super::report::Rate;
use super::traffic::{BATCH, Line, Phone, acks, all_pushed, reply, settled};
use crate::registry::Created;

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
