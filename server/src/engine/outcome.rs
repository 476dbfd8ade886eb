//! Work that nobody asked for: wake-ups, claims, what providers answered and reported.

use super::desk::{Again, Desk};
use super::device::lose;
use super::judge::judge;
use super::work::{Rank, Work, want_followup, want_open};
use crate::store::{DeviceRow, Key, Row, StoreError};
use crate::workspace::{Busy, Workspace};
use backstop_domain::Ms;
use backstop_domain::device::Standing;
use backstop_domain::followup::{Channel, Effect, Event, Outcome, Reason};
use backstop_domain::ids::{DeviceId, FollowupId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A wake-up that is due.
pub(super) struct Woke {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) changed: bool,
    /// Whether it changed something; dropped unanswered when it was not durable.
    pub(super) to: Option<oneshot::Sender<bool>>,
}

impl Work for Woke {
    fn rank(&self) -> Rank {
        Rank::Wake
    }

    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_followup(desk, self.ws.id, self.id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.changed = judge(desk, &self.ws, self.id, &Event::Woke)?.is_some_and(|judged| judged.changed);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        if let (Some(to), Ok(())) = (self.to, result) {
            let _ = to.send(self.changed);
        }
    }
}

/// A push provider's answer. What nobody waits for rides along with the next commit.
pub(super) struct PushAnswered {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) device: DeviceId,
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
    /// Under way until it is durable.
    pub(super) _busy: Busy,
}

impl Work for PushAnswered {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let ws = self.ws.id;
        want_followup(desk, ws, self.id, keys);
        let row = desk.peek(&Key::Followup(ws, self.id)).and_then(Row::as_followup);
        if let Some((rest, _)) = row.and_then(|row| row.state.rest) {
            want_followup(desk, ws, rest, keys);
        }
        if let Outcome::TokenGone { .. } = self.outcome {
            let key = Key::Device(ws, self.device);
            if let Some(customer_id) = desk.peek(&key).and_then(Row::as_device).and_then(|d| d.customer_id.clone()) {
                want_open(desk, ws, &customer_id, keys);
            }
            keys.push(key);
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let ws = self.ws.id;
        let mut outcome = self.outcome.clone();
        let mut buried = None;
        if let Outcome::TokenGone { since_ms, error } = &self.outcome
            && let Some(row) = desk.device(ws, self.device)?.cloned()
        {
            // A provider that does not say since when speaks of the token as it was pushed to.
            let since_ms = match since_ms {
                Some(since_ms) => Some(*since_ms),
                None => self.claimed_at(desk)?,
            };
            if since_ms.is_none_or(|since| since < row.registered_at) {
                // C3: it speaks of an older registration; this one is alive and was not pushed to.
                outcome = Outcome::RetryAfter { after_ms: None, error: error.clone() };
            } else {
                buried = Some(row);
            }
        }
        let event = Event::PushAnswered { device: self.device, attempt: self.attempt, outcome };
        judge(desk, &self.ws, self.id, &event)?;
        let rest = desk.followup(ws, self.id)?.and_then(|row| row.state.rest);
        if let Some((rest, _)) = rest {
            judge(desk, &self.ws, rest, &event)?;
        }
        // After the follow-up itself, so that its delivery keeps the provider's own word.
        buried.map_or(Ok(()), |row| self.bury(desk, row))
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(followup = %self.id, %error, "a push's answer was not stored; it is sent again");
        }
    }
}

impl PushAnswered {
    /// When the try that was answered began; `None` = a newer one has begun since.
    fn claimed_at(&self, desk: &Desk<'_>) -> Result<Option<Ms>, Again> {
        let row = desk.followup(self.ws.id, self.id)?;
        let pushes = row.map(|row| row.state.pushes.as_slice()).unwrap_or_default();
        Ok(pushes.iter().find(|p| p.device == self.device && p.attempt == self.attempt).map(|p| p.at))
    }

    /// C3: a dead token is pushed to no more, and nobody waits for it.
    fn bury(&self, desk: &mut Desk<'_>, row: DeviceRow) -> Result<(), Again> {
        if row.standing != Standing::Registered {
            return Ok(());
        }
        let now = desk.now(self.ws.id);
        let customer_id = row.customer_id.clone();
        desk.put(Row::Device(DeviceRow { standing: Standing::TokenGone(now), ..row }));
        match customer_id {
            Some(customer_id) => lose(desk, &self.ws, &customer_id, self.device, Reason::TokenGone),
            None => Ok(()),
        }
    }
}

/// A free hand asks for a channel; the answer comes after the claim is durable.
pub(super) struct Claiming {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) channel: Channel,
    pub(super) attempt: Option<u32>,
    pub(super) to: oneshot::Sender<Option<u32>>,
}

impl Work for Claiming {
    fn rank(&self) -> Rank {
        Rank::Wake
    }

    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_followup(desk, self.ws.id, self.id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let judged = judge(desk, &self.ws, self.id, &Event::Claiming(self.channel))?;
        self.attempt = judged.and_then(|judged| {
            judged.effects.iter().find_map(|effect| match effect {
                Effect::Send { attempt, .. } => Some(*attempt),
                Effect::SendPush { .. } | Effect::Offer(_) | Effect::Alarm(_) => None,
            })
        });
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.to.send(self.attempt.filter(|_| result.is_ok()));
    }
}

/// Something a text or email provider said, at once or later.
pub(super) struct Said {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) event: Event,
    pub(super) to: oneshot::Sender<Result<(), StoreError>>,
}

impl Work for Said {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_followup(desk, self.ws.id, self.id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        judge(desk, &self.ws, self.id, &self.event)?;
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.to.send(result);
    }
}
