//! What must hold whatever happens, judged from outside: by what was committed, sent, recorded and answered.

use crate::store::{FollowupRow, Store};
use crate::work::Receipt;
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Followup, Kind, LegStatus, Policy, PublicState, Reason, Stage};
use backstop_domain::ids::FollowupId;
use backstop_wire::Grade;
use std::collections::{BTreeMap, BTreeSet};

/// Beyond outages, a wake-up is at most this late: commits, batches, the sweep.
const SLACK_MS: Ms = 4_000;

/// A violated invariant, in a sentence.
pub(crate) type Verdict = Result<(), String>;

#[derive(Default)]
pub(crate) struct Oracle {
    /// Times in which nothing could be decided: no node up, or no store.
    outages: Vec<(Ms, Ms)>,
    /// Follow-ups whose text or email a provider was called for, with the channel.
    called: BTreeSet<(i64, Channel)>,
    /// Live claims: when they end.
    claims: BTreeMap<(i64, Channel), Ms>,
    /// What providers really took: (follow-up, channel) → how often.
    accepted: BTreeMap<(i64, Channel), u32>,
    /// When each way was last claimed.
    claimed_at: BTreeMap<(i64, Channel), Ms>,
    /// Conversation → (follow-up, claim) of what providers took.
    left: BTreeMap<usize, Vec<(i64, Ms)>>,
    /// Conversation → (follow-up, its first claim) of answers.
    begun: BTreeMap<usize, Vec<(i64, Ms)>>,
    /// Acks that devices recorded durably.
    recorded: Vec<(Receipt, Grade)>,
    /// Conversation → the customer has seen up to here, by committed reads and messages.
    seen: BTreeMap<usize, i64>,
    withdrawn: BTreeSet<u64>,
    /// Replies the backend was told of.
    posted: BTreeSet<u64>,
    /// What was reached, and how often.
    pub(crate) reached: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub(crate) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_insert(0) += 1;
    }

    pub(crate) fn outage(&mut self, from: Ms, to: Ms) {
        self.outages.push((from, to));
    }

    fn outage_between(&self, from: Ms, to: Ms) -> Ms {
        self.outages.iter().map(|(a, b)| ((*b).min(to) - (*a).max(from)).max(0)).sum()
    }

    pub(crate) fn saw(&mut self, conversation: usize, seq: i64) {
        let seen = self.seen.entry(conversation).or_insert(0);
        *seen = (*seen).max(seq);
    }

    pub(crate) fn withdrew(&mut self, message: u64) {
        self.withdrawn.insert(message);
    }

    pub(crate) fn posted(&mut self, message: u64) {
        self.posted.insert(message);
    }

    pub(crate) fn recorded(&mut self, receipt: Receipt, grade: Grade) {
        self.recorded.push((receipt, grade));
    }

    /// A wake-up was judged then.
    pub(crate) fn woke(&self, id: i64, due: Ms, now: Ms) -> Verdict {
        let allowed = SLACK_MS + self.outage_between(due, now);
        if now - due > allowed {
            return Err(format!("{id} woke {} ms late; outages explain {allowed}", now - due));
        }
        Ok(())
    }

    /// P2, P3, P8: a follow-up's row was committed.
    pub(crate) fn committed(
        &mut self,
        id: i64,
        before: Option<&FollowupRow>,
        after: &FollowupRow,
        now: Ms,
        policy: &Policy,
    ) -> Verdict {
        let f = &after.state;
        self.outcome_stays(id, before.map(|row| &row.state), f)?;
        self.decided_in_time(id, before.map(|row| &row.state), f, now)?;
        if f.public_state() == Some(PublicState::Acked) {
            for channel in [Channel::Text, Channel::Email] {
                if f.leg(channel).attempt > 0 || self.called.contains(&(id, channel)) {
                    return Err(format!("{id} is acked, but a provider was called for {channel:?}"));
                }
            }
        }
        for channel in [Channel::Text, Channel::Email] {
            let tries = before.map_or(0, |row| row.state.leg(channel).attempt);
            if f.leg(channel).attempt != tries {
                self.claimed(id, after, channel, now, policy)?;
            } else if !matches!(f.leg(channel).status, LegStatus::Claimed(_)) {
                self.claims.remove(&(id, channel));
            }
        }
        self.cover(before.map(|row| &row.state), f);
        Ok(())
    }

    fn outcome_stays(&self, id: i64, before: Option<&Followup>, after: &Followup) -> Verdict {
        let Some(before) = before.filter(|f| f.public_state().is_some_and(PublicState::is_outcome)) else {
            return Ok(());
        };
        let was = (before.public_state(), before.decided_at(), before.reason());
        let is = (after.public_state(), after.decided_at(), after.reason());
        if was != is {
            return Err(format!("the outcome of {id} changed from {was:?} to {is:?}"));
        }
        Ok(())
    }

    fn decided_in_time(&self, id: i64, before: Option<&Followup>, after: &Followup, now: Ms) -> Verdict {
        let waited = before.is_some_and(|f| f.stage == Stage::Waiting);
        let (Stage::FallingBack { why, .. } | Stage::Failed { why, .. }) = after.stage else { return Ok(()) };
        if !waited {
            return Ok(());
        }
        let by_deadline = matches!(why, Reason::NoAck | Reason::GradeTooLow | Reason::DeviceUnattended);
        if by_deadline && now < after.deadline_at {
            return Err(format!("{id} fell back {} ms early", after.deadline_at - now));
        }
        self.woke(id, after.deadline_at, now)
    }

    /// A claim was committed: one at a time, for something still wanted, not too old, not within the gap.
    fn claimed(&mut self, id: i64, row: &FollowupRow, channel: Channel, now: Ms, policy: &Policy) -> Verdict {
        let f = &row.state;
        if let Some(until) = self.claims.get(&(id, channel)).filter(|until| now < **until) {
            return Err(format!("{id} {channel:?} is claimed twice: the first claim lives until {until}"));
        }
        let LegStatus::Claimed(until) = f.leg(channel).status else {
            return Err(format!("{id} {channel:?} was tried without a claim"));
        };
        self.claims.insert((id, channel), until);
        let seen = self.seen.get(&row.conversation).copied().unwrap_or(0);
        let wanted = f.replies.iter().any(|r| r.seq > seen && !self.is_withdrawn(&r.message_id));
        if !wanted {
            return Err(format!("{id} {channel:?} is claimed although the customer has seen everything of it"));
        }
        if channel == Channel::Text && now > f.deadline_at + policy.fallback_horizon_ms + SLACK_MS {
            return Err(format!("{id}: a text leaves {} ms after it was due", now - f.deadline_at));
        }
        // As the rules count: from decision to decision.
        let at = f.leg(channel).at;
        self.claimed_at.insert((id, channel), at);
        let begun = self.begun.entry(row.conversation).or_default();
        if f.kind == Kind::Outreach || begun.iter().any(|(known, _)| *known == id) {
            return Ok(());
        }
        begun.push((id, at));
        self.gap_kept(row.conversation, policy)
    }

    /// D8: no follow-up begins to leave within the gap after another of its conversation left.
    fn gap_kept(&self, conversation: usize, policy: &Policy) -> Verdict {
        let none = Vec::new();
        let begun = self.begun.get(&conversation).unwrap_or(&none);
        for (one, left_at) in self.left.get(&conversation).unwrap_or(&none) {
            let near = |at: Ms| at > *left_at && at - left_at < policy.repeat_gap_ms;
            if let Some((other, at)) = begun.iter().find(|(other, at)| other != one && near(*at)) {
                return Err(format!("{other} leaves {} ms after {one} of its conversation", at - left_at));
            }
        }
        Ok(())
    }

    fn is_withdrawn(&self, message_id: &str) -> bool {
        message_id.parse().is_ok_and(|message| self.withdrawn.contains(&message))
    }

    /// P8: the first byte of a text or email goes out: its claim is durable, and it was never acked.
    pub(crate) fn sending(&mut self, store: &Store, id: i64, channel: Channel, attempt: u32) -> Verdict {
        self.called.insert((id, channel));
        let Some(row) = store.followup(FollowupId(id)) else { return Err(format!("{id} is sent but not stored")) };
        if row.state.leg(channel).attempt < attempt {
            return Err(format!("{id} {channel:?} is sent before its claim is durable"));
        }
        if row.state.public_state() == Some(PublicState::Acked) {
            return Err(format!("{id} {channel:?} is sent although it was acked"));
        }
        Ok(())
    }

    /// A provider really took it.
    pub(crate) fn accepted(&mut self, row: &FollowupRow, id: i64, channel: Channel, policy: &Policy) -> Verdict {
        let times = self.accepted.entry((id, channel)).or_insert(0);
        *times += 1;
        let keyed = channel == Channel::Email || policy.services.text.as_ref().is_some_and(|t| t.idempotent);
        if *times > 1 && !keyed {
            return Err(format!("{id}: the customer gets the same text {times} times"));
        }
        self.reach(if channel == Channel::Text { "text accepted" } else { "email accepted" });
        let Some(at) = self.claimed_at.get(&(id, channel)).filter(|_| row.state.kind == Kind::Reply) else {
            return Ok(());
        };
        self.left.entry(row.conversation).or_default().push((id, *at));
        self.gap_kept(row.conversation, policy)
    }

    fn cover(&mut self, before: Option<&Followup>, after: &Followup) {
        if before.and_then(Followup::public_state) != after.public_state()
            && let Some(state) = after.public_state()
        {
            self.reach(state.as_str());
            if let Some(reason) = after.reason() {
                self.reach(reason.as_str());
            }
        }
        if before.is_none_or(|f| f.rest.is_none()) && after.rest.is_some() {
            self.reach("split");
        }
        if before.is_none_or(|f| f.late_ack_at.is_none()) && after.late_ack_at.is_some() {
            self.reach("late ack");
        }
        if matches!(after.stage, Stage::FallingBack { hold_until: Some(_), .. }) {
            self.reach("held");
        }
        for channel in [Channel::Text, Channel::Email] {
            match after.leg(channel).status {
                LegStatus::Unknown(_) => self.reach("unknown text"),
                LegStatus::Unresolved => self.reach("unresolved"),
                LegStatus::Retry(_) => self.reach("retry"),
                _ => {}
            }
        }
    }

    /// Everything is quiet: nothing is open, nothing is lost.
    pub(crate) fn settled(&self, store: &Store) -> Verdict {
        let mut home: BTreeMap<u64, i64> = BTreeMap::new();
        for (id, row) in store.followups() {
            if row.state.is_open() || row.wake.is_some() {
                return Err(format!("{id} never ends: {:?}", row.state));
            }
            if row.state.stage == Stage::Watching {
                return Err(format!("{id} watches for ever"));
            }
            for reply in &row.state.replies {
                let message = reply.message_id.parse().map_err(|_| "a strange message id".to_owned())?;
                if let Some(other) = home.insert(message, id) {
                    return Err(format!("message {message} is in {other} and in {id}"));
                }
            }
        }
        for (message, row) in store.messages() {
            if home.get(&message) != Some(&row.followup) {
                return Err(format!("message {message} says {} but is in {:?}", row.followup, home.get(&message)));
            }
        }
        if let Some(lost) = self.posted.iter().find(|message| !home.contains_key(message)) {
            return Err(format!("message {lost} was accepted and is nowhere"));
        }
        self.recorded.iter().try_for_each(|(receipt, grade)| known(store, *receipt, *grade))
    }
}

/// C4: an ack that a device recorded reached the follow-up.
fn known(store: &Store, receipt: Receipt, grade: Grade) -> Verdict {
    let row = store.followup(FollowupId(receipt.followup)).ok_or("a receipt of nothing")?;
    let device = crate::work::device_id(receipt.device);
    let covers = receipt.covers.min(row.state.count());
    let mut pushes = row.state.pushes.iter().filter(|push| push.device == device);
    if pushes.any(|push| push.acks.iter().any(|(n, g)| *n >= covers && *g >= grade)) {
        return Ok(());
    }
    Err(format!("the ack {receipt:?} {grade:?} was recorded on the device and never reached the follow-up"))
}
