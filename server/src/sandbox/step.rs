//! Turning a sandbox clock: from due instant to due instant, each one settled before the next.

use super::Sandbox;
use crate::failpoint::{Point, hit};
use crate::problem::{Code, Problem};
use crate::store::Lane;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use utoipa::ToSchema;

/// The furthest one call turns a clock: a year.
pub(super) const MAX_ADVANCE_MS: Ms = 366 * 86_400_000;
/// Longer than any send takes: beyond it something hangs.
const INSTANT: Duration = Duration::from_secs(30);
/// Rounds at one instant that change nothing, after which a row that stays due is a fault and not work.
const IDLE_ROUNDS: usize = 3;

/// What came of an advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stepped {
    /// The workspace's time now, RFC 3339.
    #[schema(format = DateTime)]
    pub now: String,
    /// Decisions made on the way: wake-ups that changed something, and acks of virtual phones.
    pub decided: usize,
    /// Sends handed to captured providers on the way.
    pub performed: u64,
}

impl Sandbox {
    /// Freezes the workspace's clock if it still runs, then moves it on by `ms`: at each instant at which something is
    /// due, phones first, then deadlines, then everything that follows from both. One advance at a time; where it was
    /// cut off the next one goes on.
    pub async fn advance(&self, ws: &Arc<Workspace>, ms: Ms) -> Result<Stepped, Problem> {
        let yard = self.yard(ws);
        let _turn = yard.turn.lock().await;
        let (api, id) = (&self.0.api, ws.id);
        let start = api.clocks.now_ms(id);
        // In memory first: from here on nothing of it is judged on real time, and the timer leaves it alone.
        self.stand(ws, start).await?;
        let target = start.saturating_add(ms);
        let (reacted, sent) = (yard.reacted.load(Ordering::Acquire), self.0.capture.attempts(&ws.name));
        let mut decided = self.instant(ws, start).await?;
        let (mut now, mut idle_rounds) = (start, 0);
        loop {
            let due = api.store.due(Lane::Frozen(id), target, 1).await?.first().map(|due| due.wake.at);
            let Some(next) = due.into_iter().chain(yard.next()).min().filter(|at| *at <= target) else { break };
            if next > now {
                now = next;
                self.stand(ws, now).await?;
                idle_rounds = 0;
            }
            let changed = self.instant(ws, now).await?;
            decided += changed;
            idle_rounds = if changed == 0 { idle_rounds + 1 } else { 0 };
            if idle_rounds > IDLE_ROUNDS {
                tracing::error!(workspace = %ws.name, now, "a row stays due although nothing changes it");
                return Err(Problem::new(Code::Internal, "a follow-up stays due although nothing changes it"));
            }
        }
        self.stand(ws, target).await?;
        let kept = api.registry.deployment().retention;
        crate::retention::turned(&api.store, kept, id, start, target).await?;
        decided += yard.reacted.load(Ordering::Acquire) - reacted;
        let performed = self.0.capture.attempts(&ws.name) - sent;
        Ok(Stepped { now: backstop_wire::time::to_rfc3339(target), decided, performed })
    }

    /// The clock stands there, durably, before anything is decided at that time.
    async fn stand(&self, ws: &Workspace, at: Ms) -> Result<(), Problem> {
        self.0.api.clocks.freeze(ws.id, at);
        hit(Point::ClockMoved);
        self.0.api.store.freeze(ws.id, at).await?;
        hit(Point::ClockKept);
        Ok(())
    }

    /// Everything that is due at this instant, and what follows from it at once; answers how many wake-ups changed
    /// something. At one instant an ack comes before a deadline (P8).
    async fn instant(&self, ws: &Arc<Workspace>, at: Ms) -> Result<usize, Problem> {
        let yard = self.yard(ws);
        let settle = || async {
            let busy = Problem::new(Code::StoreUnavailable, "sends are still under way; advance by 0 to go on");
            tokio::time::timeout(INSTANT, ws.activity.settled()).await.map_err(|_| busy)
        };
        settle().await?;
        while let Some(reaction) = yard.take_due(at) {
            yard.react(&self.0.api.clocks, reaction).await;
            settle().await?;
        }
        let changed = self.0.api.engine.wake_due(ws, at).await?;
        settle().await?;
        Ok(changed)
    }
}
