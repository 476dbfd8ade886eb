//! Work that nobody asked for: wake-ups, claims, what providers answered and reported.

use super::desk::{Again, Desk};
use super::device::lose;
use super::find::Find;
use super::judge::{AskedText, judge, judge_text};
use super::mail;
use super::optout::{is_suppressed, shown, suppress, want};
use super::spending::{Destination, Purse};
use super::work::{Rank, Work, want_followup, want_open};
use crate::perform::UnderWay;
use crate::store::{DeviceRow, LinkRow, OptOutSource, Row, StoreError, SuppressionChannel, WorkspaceId};
use crate::timer::Place;
use crate::vault::Vault;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::device::Standing;
use backstop_domain::followup::{BLOCKED, Channel, Event, Found, LegStatus, OPTED_OUT, Outcome, Reason};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::mail::verdict;
use backstop_domain::text::{TextPlan, Way};
use backstop_wire::Environment;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A wake-up that is due.
pub(super) struct Woke {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) changed: bool,
    /// Whether it changed something; dropped unanswered when it was not durable.
    pub(super) to: Option<oneshot::Sender<bool>>,
    /// Its place among the timer's wake-ups under way.
    pub(super) _place: Option<Place>,
}

impl Work for Woke {
    fn rank(&self) -> Rank {
        Rank::Wake
    }

    fn wants(&self, desk: &mut Desk<'_>) {
        want_followup(desk, self.ws.id, self.id);
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
pub(crate) struct PushAnswered {
    pub(crate) ws: Arc<Workspace>,
    pub(crate) id: FollowupId,
    pub(crate) device: DeviceId,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
    /// Hash of the token it went to; `None` = it went nowhere.
    pub(crate) token_hash: Option<[u8; 32]>,
    /// The APNs environment it went to instead of the registered one (C3).
    pub(crate) elsewhere: Option<Environment>,
    /// Under way until it is durable.
    pub(crate) _under_way: UnderWay,
}

impl Work for PushAnswered {
    fn wants(&self, desk: &mut Desk<'_>) {
        let ws = self.ws.id;
        want_followup(desk, ws, self.id);
        let row = desk.want(Find::Followup(ws, self.id));
        if let Some((rest, _)) = row.as_ref().and_then(|row| row.as_followup()).and_then(|row| row.state.rest) {
            want_followup(desk, ws, rest);
        }
        if self.tells_of_token() {
            want_losable(desk, ws, self.device);
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let ws = self.ws.id;
        let mut outcome = self.judged(desk)?;
        let mut buried = None;
        if let Outcome::TokenGone { since_ms, error } = &outcome
            && let Some(row) = desk.device(ws, self.device)?.cloned()
        {
            // C3: of a token registered meanwhile the first environment was never asked.
            let started_at = desk.followup(ws, self.id)?.map_or(Ms::MIN, |row| row.state.started_at);
            let half_tried = matches!(self.outcome, Outcome::WrongEnvironment { .. }) && row.registered_at > started_at;
            // A provider that does not say since when speaks of the token as it was pushed to.
            let of_older = half_tried
                || since_ms.is_some_and(|since| since < row.registered_at)
                || self.token_hash.is_some_and(|hash| hash != row.token_hash);
            if of_older {
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
        if let (Some(environment), Some(hash), Outcome::Accepted { .. }) =
            (self.elsewhere, self.token_hash, &self.outcome)
        {
            remember_environment(desk, ws, self.device, hash, environment)?;
        }
        // After the follow-up itself, so that its delivery keeps the provider's own word.
        buried.map_or(Ok(()), |row| bury(desk, &self.ws, row))
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(followup = %self.id, %error, "a push's answer was not stored; it is sent again");
        }
    }
}

impl PushAnswered {
    /// Whether more may follow from it than for the follow-up: the device is dead, or lives in the other environment.
    fn tells_of_token(&self) -> bool {
        self.elsewhere.is_some() || matches!(self.outcome, Outcome::TokenGone { .. })
    }

    /// What the answer means after what was tried before.
    fn judged(&self, desk: &mut Desk<'_>) -> Result<Outcome, Again> {
        let row = desk.followup(self.ws.id, self.id)?;
        let push = row.and_then(|row| row.state.pushes.iter().find(|push| push.device == self.device));
        let newest = push.filter(|push| push.attempt == self.attempt);
        Ok(newest.map_or_else(|| self.outcome.clone(), |push| push.judged(&self.outcome).into_owned()))
    }
}

/// C3: the environment that took a token is the token's, and the next push goes there first.
pub(super) fn remember_environment(
    desk: &mut Desk<'_>,
    ws: WorkspaceId,
    device: DeviceId,
    token_hash: [u8; 32],
    environment: Environment,
) -> Result<(), Again> {
    let Some(row) = desk.device(ws, device)? else { return Ok(()) };
    if row.token_hash == token_hash && row.environment != Some(environment) {
        let row = DeviceRow { environment: Some(environment), ..row.clone() };
        desk.put(Row::Device(row));
    }
    Ok(())
}

/// C3: a dead token is pushed to no more, and nobody waits for it.
pub(super) fn bury(desk: &mut Desk<'_>, ws: &Arc<Workspace>, row: DeviceRow) -> Result<(), Again> {
    if row.standing != Standing::Registered {
        return Ok(());
    }
    let (id, customer_id) = (row.id, row.customer_id.clone());
    let now = desk.now(ws.id);
    desk.put(Row::Device(DeviceRow { standing: Standing::TokenGone(now), ..row }));
    match customer_id {
        Some(customer_id) => lose(desk, ws, &customer_id, id, Reason::TokenGone),
        None => Ok(()),
    }
}

/// The device, and what its customer's open follow-ups need: that its token is gone may decide them.
pub(super) fn want_losable(desk: &mut Desk<'_>, ws: WorkspaceId, device: DeviceId) {
    let row = desk.want(Find::Device(ws, device));
    let of = row.as_ref().and_then(|row| row.as_device()).and_then(|device| device.customer_id.as_deref());
    if let Some(customer_id) = of {
        want_open(desk, ws, customer_id);
    }
}

/// A free hand asks for a channel; the answer comes after the claim is durable.
pub(super) struct Claiming {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) channel: Channel,
    pub(super) planned: Option<Planned>,
    pub(super) answer: Claimed,
    pub(super) to: oneshot::Sender<Claimed>,
}

/// A text that is ready to leave, and what it was made of: it is claimed only while that holds.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) plan: TextPlan,
    /// Where it is counted.
    pub(crate) to: Destination,
    /// Which try it would be.
    pub(crate) attempt: u32,
    /// The customer's contact data as it was read, sealed.
    pub(crate) contact: Option<Vec<u8>>,
    /// Keyed hash of the number that it goes to.
    pub(crate) number_hash: [u8; 32],
    /// The same of the name that they answer by: on LINE the user's.
    pub(crate) texted_hash: [u8; 32],
    /// The link that it ends with: durable before the text leaves.
    pub(crate) link: Option<LinkRow>,
}

/// What became of asking for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Durably claimed.
    Yes(Claim),
    /// It is not to be sent, or not now, or not by this hand.
    No,
    /// What it was planned on has changed: plan it again.
    Stale,
}

/// A durable claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Which try of the channel it is.
    pub(crate) attempt: u32,
    /// From then on it counts as unanswered, by the workspace's clock.
    pub(crate) until: Ms,
}

impl Work for Claiming {
    fn rank(&self) -> Rank {
        Rank::Claim
    }

    fn wants(&self, desk: &mut Desk<'_>) {
        want_followup(desk, self.ws.id, self.id);
        if let Some(planned) = &self.planned {
            desk.want(Find::Suppression(self.ws.id, &planned.number_hash));
        }
        if self.channel == Channel::Email {
            mail::want_mark(desk, &self.ws, self.id);
        }
        let row = desk.want(Find::Followup(self.ws.id, self.id));
        if let Some(purse) = self.purse(row.as_deref(), desk.vault) {
            purse.want(desk);
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        if self.is_stale(desk)? {
            self.answer = Claimed::Stale;
            return Ok(());
        }
        let purse = self.purse(desk.get(Find::Followup(self.ws.id, self.id))?.map(|row| &**row), desk.vault);
        let purse = purse.as_ref();
        let text = match &self.planned {
            Some(Planned { plan, number_hash, .. }) => {
                let opted_out = is_suppressed(desk, self.ws.id, number_hash)?;
                AskedText { plan: Some(plan), opted_out, purse, ..AskedText::default() }
            }
            None if self.channel == Channel::Email => {
                AskedText { marked: mail::is_marked(desk, &self.ws, self.id)?, ..AskedText::default() }
            }
            None => AskedText::default(),
        };
        let judged = judge_text(desk, &self.ws, self.id, &Event::Claiming(self.channel), text)?;
        if let (Some(planned), true) = (&self.planned, judged.as_ref().is_some_and(|judged| judged.sends.is_some())) {
            // An SNS comes from an account, which is everybody's.
            let number = planned.plan.sender.number().filter(|_| planned.plan.hop.way == Way::Xms);
            let sender = number.unwrap_or_default().to_owned();
            desk.texted(self.ws.id, planned.texted_hash, sender, self.id);
        }
        let attempt = judged.and_then(|judged| judged.sends);
        let status = desk.followup(self.ws.id, self.id)?.map(|row| row.state.leg(self.channel).status);
        self.answer = match (attempt, status) {
            (Some(attempt), Some(LegStatus::Claimed(until))) => Claimed::Yes(Claim { attempt, until }),
            _ => Claimed::No,
        };
        if let (Claimed::Yes(_), Some(link)) = (self.answer, self.planned.as_ref().and_then(|p| p.link.as_ref())) {
            desk.put(Row::Link(link.clone()));
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.to.send(if result.is_ok() { self.answer } else { Claimed::No });
    }
}

impl Claiming {
    /// Where the text is counted, if it is.
    fn purse(&self, row: Option<&Row>, vault: &Vault) -> Option<Purse> {
        let planned = self.planned.as_ref().filter(|_| self.ws.policy.limits.caps.counts())?;
        Some(Purse::of(vault, row?.as_followup()?, &planned.to))
    }

    fn is_stale(&self, desk: &Desk<'_>) -> Result<bool, Again> {
        let Some(planned) = &self.planned else { return Ok(false) };
        let Some(row) = desk.followup(self.ws.id, self.id)? else { return Ok(false) };
        let customer = desk.customer(self.ws.id, &row.customer_id)?;
        let leg = row.state.leg(self.channel);
        Ok(!planned.plan.shows(&row.state)
            || planned.attempt != leg.attempt.saturating_add(1)
            || customer.is_none_or(|customer| customer.contact != planned.contact))
    }
}

/// Something a text or email provider said, at once or later.
pub(super) struct Said {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
    pub(super) event: Event,
    /// Where the text went that it is about.
    pub(super) number: Option<String>,
    /// Whether there is such a follow-up.
    pub(super) known: bool,
    pub(super) to: oneshot::Sender<Result<bool, StoreError>>,
}

impl Said {
    /// Where its text was counted, if it was: only then may something have to be given back.
    fn purse(&self, row: Option<&Row>, vault: &Vault) -> Option<Purse> {
        let (number, row) = (self.number.as_deref()?, row?.as_followup()?);
        row.state.text.counted_at.map(|_| Purse::of(vault, row, &Destination::of(vault, self.ws.id, number)))
    }

    /// The mail server's code, if it refused an email for good: that may be the address's fault (E5).
    fn refused_mail(&self) -> Option<&str> {
        match &self.event {
            Event::FallbackAnswered { channel: Channel::Email, outcome: Outcome::Rejected { error }, .. } => {
                Some(error)
            }
            _ => None,
        }
    }

    /// The number, if what was said may be that it opted out.
    fn opted_out(&self) -> Option<&str> {
        self.number.as_deref().filter(|_| self.error() == Some(OPTED_OUT))
    }

    /// Who it went to, if what was said may be that they blocked that way.
    fn blocked(&self) -> Option<&str> {
        self.number.as_deref().filter(|_| self.error() == Some(BLOCKED))
    }

    fn suppress(&self, desk: &mut Desk<'_>, to: (SuppressionChannel, &str)) -> Result<(), Again> {
        let shown = shown(desk, self.ws.id, self.id, to)?;
        suppress(desk, self.ws.id, to, OptOutSource::Provider, shown).map(drop)
    }

    fn error(&self) -> Option<&str> {
        match &self.event {
            Event::FallbackAnswered { outcome, .. } => outcome.error(),
            Event::Reported { error, .. } => error.as_deref(),
            Event::Asked { found: Found::Failed { error, .. }, .. } => Some(error.as_str()),
            _ => None,
        }
    }
}

/// The list that a way of a text is kept from people by (T7).
pub(crate) fn channel_of(way: Way) -> SuppressionChannel {
    match way {
        Way::Alimtalk => SuppressionChannel::Alimtalk,
        Way::Line => SuppressionChannel::Line,
        Way::Xms => SuppressionChannel::Text,
    }
}

impl Work for Said {
    fn wants(&self, desk: &mut Desk<'_>) {
        want_followup(desk, self.ws.id, self.id);
        if let Some(number) = self.opted_out() {
            want(desk, self.ws.id, SuppressionChannel::Text, number);
        }
        if let Some(who) = self.blocked() {
            [Way::Alimtalk, Way::Line].into_iter().for_each(|way| want(desk, self.ws.id, channel_of(way), who));
        }
        if self.refused_mail().is_some() {
            mail::want_mark(desk, &self.ws, self.id);
        }
        let row = desk.want(Find::Followup(self.ws.id, self.id));
        if let Some(purse) = self.purse(row.as_deref(), desk.vault) {
            purse.want(desk);
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let purse = self.purse(desk.get(Find::Followup(self.ws.id, self.id))?.map(|row| &**row), desk.vault);
        let text = AskedText { purse: purse.as_ref(), ..AskedText::default() };
        let judged = judge_text(desk, &self.ws, self.id, &self.event, text)?;
        self.known = judged.is_some();
        if let (true, Some(error)) = (judged.as_ref().is_some_and(|judged| judged.changed), self.refused_mail()) {
            mail::mark(desk, &self.ws, self.id, None, verdict(error))?;
        }
        if let (Some(way), Some(who)) = (judged.as_ref().and_then(|judged| judged.blocks), self.blocked()) {
            self.suppress(desk, (channel_of(way), who))?;
        }
        if let (true, Some(number)) = (judged.is_some_and(|judged| judged.suppresses), self.opted_out()) {
            self.suppress(desk, (SuppressionChannel::Text, number))?;
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.to.send(result.map(|()| self.known));
    }
}
