//! What must hold whatever happens, judged from outside: by what was committed, sent, taken, recorded and answered, and
//! by elapsed time. Every step asks it; a violation is a sentence.

use crate::store::{FollowupRow, Store};
use crate::work::Receipt;
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Followup, Kind, LegStatus, Policy, PublicState, Reason, Stage};
use backstop_domain::quiet::QuietHours;
use backstop_wire::Grade;
use std::collections::{BTreeMap, BTreeSet};

const DAY_MINUTES: Ms = 24 * 60;
/// Beyond outages, a wake-up is at most this late: commits, batches, the sweep.
const SLACK_MS: Ms = 4_000;
/// Beyond outages and holds, a text or email is claimed within this of its decision: an offer that was lost comes again
/// after 5 s, and may be lost again.
const CLAIMED_WITHIN_MS: Ms = 20_000;

/// A violated invariant, in a sentence.
pub(crate) type Verdict = Result<(), String>;

/// When a batch was decided: by elapsed time, and as its node was told by its clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) elapsed: Ms,
    pub(crate) told: Ms,
}

impl When {
    /// An instant of a row, by elapsed time.
    fn elapsed_at(self, at: Ms) -> Ms {
        self.elapsed + (at - self.told)
    }
}

/// One follow-up as it was seen from outside.
#[derive(Default)]
struct Seen {
    /// By elapsed time.
    deadline: Option<Ms>,
    due: Option<Ms>,
    outcome: Option<(PublicState, Option<Ms>, Option<Reason>)>,
    /// The newest version that its server heard to be durable.
    durable: u64,
    /// From when on its text and email could be claimed.
    ready: Option<Ms>,
}

/// One text or email.
#[derive(Default)]
struct Leg {
    /// When the live claim ends.
    claim_ends: Option<Ms>,
    claimed_at: Option<Ms>,
    /// A provider was called.
    called: bool,
    /// How often a provider took it.
    taken: u32,
    /// Tries of which a definite failure is known.
    definite: BTreeSet<u32>,
    /// The try that its provider first did not find, and at which question.
    absent: Option<(u32, u8)>,
    /// It waited for a morning or for a gap of its own.
    held: bool,
    /// The `Retry-After` of its newest try, if a provider named one.
    asked: Option<(u32, Ms)>,
    /// The same once the server has heard it.
    not_before: Option<Ms>,
}

/// Replies of one workspace and what became of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sum {
    begun: u64,
    ended: u64,
}

#[derive(Default)]
pub(crate) struct Oracle {
    /// What each customer's clock shows after UTC, in minutes.
    pub(crate) offsets: Vec<Ms>,
    /// Times in which nothing could be decided: no node up, or no store to write to.
    outages: Vec<(Ms, Ms)>,
    unable_since: Option<Ms>,
    followups: BTreeMap<i64, Seen>,
    legs: BTreeMap<(i64, Channel), Leg>,
    /// When each open follow-up is due.
    dues: BTreeSet<(Ms, i64)>,
    sums: BTreeMap<usize, Sum>,
    /// Conversation → (follow-up, channel, claim) of what providers took.
    left: BTreeMap<usize, Vec<(i64, Channel, Ms)>>,
    /// Conversation → (follow-up, its first claim) of answers.
    begun: BTreeMap<usize, Vec<(i64, Ms)>>,
    /// Acks that devices recorded durably.
    recorded: Vec<(Receipt, Grade)>,
    /// (Conversation, device) of acks that were recorded.
    showed: BTreeSet<(usize, usize)>,
    /// Conversation → the customer has seen up to here, by committed reads and messages.
    read: BTreeMap<usize, i64>,
    withdrawn: BTreeSet<(usize, u64)>,
    /// Replies the backend was told of, with the number it heard.
    posted: BTreeMap<(usize, u64), i64>,
    /// Outcomes that a living server heard and has not stored: by which node.
    heard: BTreeMap<(i64, Channel, u32), usize>,
    /// What was reached, and how often.
    pub(crate) reached: BTreeMap<&'static str, u64>,
    pub(crate) decisions: u64,
    pub(crate) acks: u64,
    pub(crate) messages: u64,
}

impl Oracle {
    pub(crate) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_insert(0) += 1;
    }

    pub(crate) fn followups(&self) -> u64 {
        self.sums.values().map(|sum| sum.begun).sum()
    }

    /// Whether anything can be decided from now on.
    pub(crate) fn able(&mut self, able: bool, now: Ms) {
        match (able, self.unable_since) {
            (true, Some(since)) => {
                self.outages.push((since, now));
                self.unable_since = None;
            }
            (false, None) => self.unable_since = Some(now),
            _ => {}
        }
    }

    fn outage_between(&self, from: Ms, to: Ms) -> Ms {
        let current = self.unable_since.map_or(0, |since| (to - since.max(from)).max(0));
        let near = self.outages.iter().rev().take_while(|(_, end)| *end > from);
        current + near.map(|(a, b)| ((*b).min(to) - (*a).max(from)).max(0)).sum::<Ms>()
    }

    fn too_late(&self, due: Ms, now: Ms, slack_ms: Ms) -> bool {
        now - due > slack_ms && now - due > slack_ms + self.outage_between(due, now)
    }

    /// P3: every step. Whatever is due is judged, with or without anybody who remembers it.
    pub(crate) fn nothing_is_overdue(&self, now: Ms) -> Verdict {
        match self.dues.first() {
            Some((due, id)) if self.too_late(*due, now, SLACK_MS) => {
                Err(format!("nobody judged {id}, which was due {} ms ago; outages explain less", now - due))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn saw(&mut self, conversation: usize, seq: i64) {
        let seen = self.read.entry(conversation).or_insert(0);
        *seen = (*seen).max(seq);
    }

    pub(crate) fn withdrew(&mut self, workspace: usize, message: u64) {
        self.withdrawn.insert((workspace, message));
    }

    /// D9: the same message is answered the same, whoever asks how often.
    pub(crate) fn posted(&mut self, workspace: usize, message: u64, seq: i64) -> Verdict {
        match self.posted.insert((workspace, message), seq) {
            Some(before) if before != seq => {
                Err(format!("message {message} of workspace {workspace} was number {before} and now is {seq}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn recorded(&mut self, conversation: usize, receipt: Receipt, grade: Grade) {
        self.recorded.push((receipt, grade));
        self.showed.insert((conversation, receipt.device));
    }

    /// A node heard what became of a try: it must store it as long as it lives.
    pub(crate) fn heard(&mut self, id: i64, channel: Channel, attempt: u32, node: usize) {
        self.heard.insert((id, channel, attempt), node);
    }

    pub(crate) fn outcome_stored(&mut self, id: i64, channel: Channel, attempt: u32) {
        self.heard.remove(&(id, channel, attempt));
    }

    pub(crate) fn forget_heard_by(&mut self, node: usize) {
        self.heard.retain(|_, by| *by != node);
    }

    fn leg(&mut self, id: i64, channel: Channel) -> &mut Leg {
        self.legs.entry((id, channel)).or_default()
    }

    /// This try certainly did not leave.
    pub(crate) fn definite(&mut self, id: i64, channel: Channel, attempt: u32) {
        self.leg(id, channel).definite.insert(attempt);
    }

    /// Its provider knows nothing of this try: twice, and it certainly did not leave. That it takes none of it later is
    /// judged by what customers get.
    pub(crate) fn absent(&mut self, id: i64, attempt: u32, inquiry: u8) {
        let leg = self.leg(id, Channel::Text);
        match leg.absent {
            Some((of, first)) if of == attempt && first < inquiry => {
                leg.definite.insert(attempt);
                self.reach("not found twice");
            }
            Some((of, _)) if of == attempt => {}
            _ => leg.absent = Some((attempt, inquiry)),
        }
    }

    /// A provider names the time of the next try.
    pub(crate) fn asked(&mut self, id: i64, channel: Channel, attempt: u32, at: Ms) {
        self.leg(id, channel).asked = Some((attempt, at));
    }

    /// A server heard that this version of a follow-up is durable.
    pub(crate) fn durable(&mut self, id: i64, version: u64) {
        let seen = self.followups.entry(id).or_default();
        seen.durable = seen.durable.max(version);
    }

    /// P2, P3, P8: a follow-up's row was committed.
    #[expect(clippy::too_many_arguments, reason = "a row before and after, and everything to judge it by")]
    pub(crate) fn committed(
        &mut self,
        id: i64,
        version: u64,
        before: Option<&FollowupRow>,
        after: &FollowupRow,
        when: When,
        now: Ms,
        policy: &Policy,
    ) -> Verdict {
        let (f, was) = (&after.state, before.map(|row| &row.state));
        self.nothing_answered_is_lost(id, version)?;
        self.counted(id, was, after)?;
        self.decided_in_time(id, was, f, when, now)?;
        self.only_shown_pushes_are_acked(id, after)?;
        for channel in [Channel::Text, Channel::Email] {
            self.leg(id, channel).held |= matches!(f.leg(channel).status, LegStatus::Held(_));
            if f.public_state() == Some(PublicState::Acked)
                && (f.leg(channel).attempt > 0 || self.leg(id, channel).called)
            {
                return Err(format!("{id} is acked, but a provider was called for {channel:?}"));
            }
            if f.leg(channel).attempt != was.map_or(0, |f| f.leg(channel).attempt) {
                self.claimed(id, was, after, channel, when, now, policy)?;
            } else if !matches!(f.leg(channel).status, LegStatus::Claimed(_)) {
                self.answered(id, after, channel);
            }
        }
        self.watches_no_longer_than_presence_lasts(id, after, when, policy)?;
        self.held_no_longer_than_the_gap(id, after, when, policy)?;
        let due = after.wake.map(|wake| when.elapsed_at(wake.at));
        if f.is_open() && due.is_none() {
            return Err(format!("{id} is open, and nothing will ever wake it"));
        }
        let seen = self.followups.entry(id).or_default();
        if let Some(old) = std::mem::replace(&mut seen.due, due) {
            self.dues.remove(&(old, id));
        }
        self.dues.extend(due.map(|due| (due, id)));
        self.cover(was, f);
        Ok(())
    }

    /// A claim is over: by an answer, or by its end.
    fn answered(&mut self, id: i64, row: &FollowupRow, channel: Channel) {
        let (status, error) = (row.state.leg(channel).status, row.state.leg(channel).error.as_deref());
        let attempt = row.state.leg(channel).attempt;
        let leg = self.leg(id, channel);
        if leg.claim_ends.take().is_some() && matches!(status, LegStatus::Retry(_)) && error == Some("429") {
            leg.not_before = leg.asked.filter(|(of, _)| *of == attempt).map(|(_, at)| at);
        }
        if status == LegStatus::Failed
            && let Some(left) = self.left.get_mut(&row.conversation)
        {
            // What a provider took and reported as failed reached nobody.
            left.retain(|(one, by, _)| (*one, *by) != (id, channel));
        }
    }

    /// Invariant 3: what a server was told is durable is what the next write finds.
    fn nothing_answered_is_lost(&self, id: i64, version: u64) -> Verdict {
        match self.followups.get(&id) {
            Some(seen) if version < seen.durable => {
                Err(format!("an answered commit of {id} is lost: version {} is {version} again", seen.durable))
            }
            _ => Ok(()),
        }
    }

    /// Invariant 1: exactly one outcome, and every follow-up of a workspace is open or has one.
    fn counted(&mut self, id: i64, was: Option<&Followup>, after: &FollowupRow) -> Verdict {
        let sum = self.sums.entry(after.workspace).or_default();
        sum.begun += u64::from(was.is_none());
        let f = &after.state;
        let ends = |f: &Followup| !matches!(f.stage, Stage::Watching | Stage::Waiting | Stage::FallingBack { .. });
        sum.ended += u64::from(ends(f) && !was.is_some_and(ends));
        let is = f.public_state().filter(|state| state.is_outcome()).map(|state| (state, f.decided_at(), f.reason()));
        let seen = self.followups.entry(id).or_default();
        match (seen.outcome, is) {
            (Some(was), is) if Some(was) != is => Err(format!("the outcome of {id} changed from {was:?} to {is:?}")),
            _ => {
                seen.outcome = is;
                Ok(())
            }
        }
    }

    /// P3: never early, by elapsed time; late only by what nobody could help.
    fn decided_in_time(&mut self, id: i64, was: Option<&Followup>, f: &Followup, when: When, now: Ms) -> Verdict {
        let waited = was.is_some_and(|f| f.stage == Stage::Waiting);
        let seen = self.followups.entry(id).or_default();
        if f.stage == Stage::Waiting && !waited {
            seen.deadline = Some(when.elapsed_at(f.deadline_at));
        }
        if let Stage::FallingBack { hold_until, .. } = f.stage {
            let held = hold_until.map(|until| when.elapsed_at(until));
            let fresh = !was.is_some_and(|f| matches!(f.stage, Stage::FallingBack { .. }));
            seen.ready = held.or(if fresh { Some(now) } else { seen.ready });
        }
        let (Stage::FallingBack { why, .. } | Stage::Failed { why, .. }) = f.stage else { return Ok(()) };
        let Some(deadline) = seen.deadline.filter(|_| waited) else { return Ok(()) };
        let by_deadline = matches!(why, Reason::NoAck | Reason::GradeTooLow | Reason::DeviceUnattended);
        if by_deadline && now < deadline {
            return Err(format!("{id} fell back {} ms early", deadline - now));
        }
        if self.too_late(deadline, now, SLACK_MS) {
            return Err(format!("{id} was decided {} ms late; outages explain less", now - deadline));
        }
        Ok(())
    }

    /// D2–D4: whoever counts as online says so again within minutes, or is offline.
    fn watches_no_longer_than_presence_lasts(
        &self,
        id: i64,
        row: &FollowupRow,
        when: When,
        policy: &Policy,
    ) -> Verdict {
        let presence = &policy.presence;
        let longest_ms = presence.idle_after_ms.max(presence.hidden_after_ms).max(presence.heartbeat_timeout_ms);
        match row.wake {
            Some(wake) if row.state.stage == Stage::Watching && wake.at - when.told > longest_ms => {
                Err(format!("{id} watches for {} ms without a word of its customer", wake.at - when.told))
            }
            _ => Ok(()),
        }
    }

    /// D8: and no text or email is held for longer than the gap, twice over.
    fn held_no_longer_than_the_gap(&self, id: i64, row: &FollowupRow, when: When, policy: &Policy) -> Verdict {
        match row.state.stage {
            Stage::FallingBack { hold_until: Some(until), .. } if until - when.told > 2 * policy.repeat_gap_ms => {
                Err(format!("{id} is held for {} ms", until - when.told))
            }
            _ => Ok(()),
        }
    }

    /// The nodes' clock was set: what was measured by it before says nothing of what comes.
    pub(crate) fn clock_set(&mut self) {
        self.left.clear();
    }

    /// P11: only a device that the push reached has acked it.
    fn only_shown_pushes_are_acked(&self, id: i64, row: &FollowupRow) -> Verdict {
        for push in row.state.pushes.iter().filter(|push| push.acked.is_some()) {
            let device = usize::try_from(push.device.0).expect("few devices");
            if !self.showed.contains(&(row.conversation, device)) {
                return Err(format!("{id} counts an ack of device {device}, which never saw a push of it"));
            }
        }
        Ok(())
    }

    /// A claim was committed: one at a time, for something still wanted, not too old, not within the gap, not after a
    /// try that may have left, and not before the provider wants it.
    #[expect(clippy::too_many_arguments, reason = "a claim, and everything to judge it by")]
    fn claimed(
        &mut self,
        id: i64,
        was: Option<&Followup>,
        row: &FollowupRow,
        channel: Channel,
        when: When,
        now: Ms,
        policy: &Policy,
    ) -> Verdict {
        let (f, attempt) = (&row.state, row.state.leg(channel).attempt);
        let LegStatus::Claimed(until) = f.leg(channel).status else {
            return Err(format!("{id} {channel:?} was tried without a claim"));
        };
        let leg = self.leg(id, channel);
        if leg.claim_ends.is_some_and(|until| now < until) {
            return Err(format!("{id} {channel:?} is claimed twice: the first claim is still alive"));
        }
        if attempt > 1 && !keyed(channel, policy) && !leg.definite.contains(&(attempt - 1)) {
            return Err(format!("{id} {channel:?} is tried again although the try before may have left"));
        }
        if leg.not_before.take().is_some_and(|at| now < at) {
            return Err(format!("{id} {channel:?} is tried again before the provider's Retry-After"));
        }
        leg.asked = None;
        leg.claim_ends = Some(when.elapsed_at(until));
        leg.claimed_at = Some(when.elapsed_at(f.leg(channel).at));
        if was.is_some_and(|f| f.stopped) {
            return Err(format!("{id} {channel:?} is claimed after it was stopped"));
        }
        let seen = self.read.get(&row.conversation).copied().unwrap_or(0);
        if !f.replies.iter().any(|r| r.seq > seen && !self.is_withdrawn(row.workspace, &r.message_id)) {
            return Err(format!("{id} {channel:?} is claimed although the customer has seen everything of it"));
        }
        let nights = policy.quiet.as_ref().map_or(0, |quiet| quiet_ms(quiet, when.told - f.deadline_at));
        if channel == Channel::Text && when.told > f.deadline_at + policy.fallback_horizon_ms + nights + SLACK_MS {
            return Err(format!("{id}: a text leaves {} ms after it was due", when.told - f.deadline_at));
        }
        let (at, offset) = (f.leg(channel).at, self.offsets[row.customer]);
        if let Some(quiet) =
            policy.quiet.as_ref().filter(|quiet| channel == Channel::Text && is_quiet(quiet, at, offset))
        {
            return Err(format!("{id}: a text leaves in the customer's quiet hours, {quiet:?}"));
        }
        let ready = self.followups.get(&id).and_then(|seen| seen.ready).filter(|_| !self.leg(id, channel).held);
        if let Some(ready) = ready.filter(|ready| attempt == 1 && self.too_late(*ready, now, CLAIMED_WITHIN_MS)) {
            return Err(format!("{id} {channel:?} was claimed {} ms after it could be", now - ready));
        }
        self.begins(id, row, when, policy)
    }

    fn begins(&mut self, id: i64, row: &FollowupRow, when: When, policy: &Policy) -> Verdict {
        let begun = self.begun.entry(row.conversation).or_default();
        if row.state.kind == Kind::Outreach || begun.iter().any(|(known, _)| *known == id) {
            return Ok(());
        }
        begun.push((id, when.elapsed));
        self.gap_kept(row.conversation, policy)
    }

    /// D8: no follow-up begins to leave within the gap after another of its conversation left. As the rules count: from
    /// decision to decision.
    fn gap_kept(&self, conversation: usize, policy: &Policy) -> Verdict {
        let begun = self.begun.get(&conversation).map_or(&[][..], Vec::as_slice);
        for (one, _, left_at) in self.left.get(&conversation).map_or(&[][..], Vec::as_slice) {
            let near = |at: Ms| at > *left_at && at - left_at < policy.repeat_gap_ms;
            if let Some((other, at)) = begun.iter().find(|(other, at)| other != one && near(*at)) {
                return Err(format!("{other} leaves {} ms after {one} of its conversation", at - left_at));
            }
        }
        Ok(())
    }

    fn is_withdrawn(&self, workspace: usize, message_id: &str) -> bool {
        message_id.parse().is_ok_and(|message| self.withdrawn.contains(&(workspace, message)))
    }

    /// P8: the first byte of a text or email goes out: its claim is durable, and it was never acked.
    pub(crate) fn sending(&mut self, store: &Store, id: i64, channel: Channel, attempt: u32, now: Ms) -> Verdict {
        let leg = self.leg(id, channel);
        leg.called = true;
        let Some(row) = store.followup(id) else { return Err(format!("{id} is sent but not stored")) };
        if row.state.leg(channel).attempt < attempt {
            return Err(format!("{id} {channel:?} is sent before its claim is durable"));
        }
        if row.state.public_state() == Some(PublicState::Acked) {
            return Err(format!("{id} {channel:?} is sent although it was acked"));
        }
        match leg.claimed_at {
            Some(at) if at <= now => Ok(()),
            _ => Err(format!("{id} {channel:?} is sent without a claim")),
        }
    }

    /// A push goes out: it was asked for by a commit, and is still of use (P10).
    pub(crate) fn pushing(&self, store: &Store, receipt: Receipt, attempt: u32, expired: bool) -> Verdict {
        let Receipt { followup, device, .. } = receipt;
        let device_id = crate::work::device_id(device);
        let push = store.followup(followup).and_then(|row| row.state.pushes.iter().find(|p| p.device == device_id));
        match push {
            Some(push) if push.attempt >= attempt && !expired => Ok(()),
            Some(push) if push.attempt >= attempt => {
                Err(format!("{followup} is pushed to {device} although it expired"))
            }
            _ => Err(format!("{followup} is pushed to {device} before its commit")),
        }
    }

    /// A provider really took it. Under a key, however often that happens is one effect.
    pub(crate) fn accepted(&mut self, row: &FollowupRow, id: i64, channel: Channel, policy: &Policy) -> Verdict {
        let leg = self.leg(id, channel);
        leg.taken += 1;
        let (times, claimed_at) = (leg.taken, leg.claimed_at);
        if times > 1 && !keyed(channel, policy) {
            return Err(format!("{id}: the customer gets the same text {times} times"));
        }
        self.reach(match (channel, times) {
            (_, 2..) => "repeated under its key",
            (Channel::Text, _) => "text accepted",
            _ => "email accepted",
        });
        let Some(at) = claimed_at.filter(|_| row.state.kind == Kind::Reply) else { return Ok(()) };
        self.left.entry(row.conversation).or_default().push((id, channel, at));
        self.gap_kept(row.conversation, policy)
    }

    fn cover(&mut self, was: Option<&Followup>, f: &Followup) {
        if was.and_then(Followup::public_state) != f.public_state()
            && let Some(state) = f.public_state()
        {
            self.reach(state.as_str());
            if let Some(reason) = f.reason() {
                self.reach(reason.as_str());
            }
        }
        if was.is_none_or(|f| f.rest.is_none()) && f.rest.is_some() {
            self.reach("split");
        }
        if was.is_none_or(|f| f.late_ack_at.is_none()) && f.late_ack_at.is_some() {
            self.reach("late ack");
        }
        if matches!(f.stage, Stage::FallingBack { hold_until: Some(_), .. }) {
            self.reach("held");
        }
        for channel in [Channel::Text, Channel::Email] {
            let status = f.leg(channel).status;
            if was.is_some_and(|f| f.leg(channel).status == status) {
                continue;
            }
            match status {
                LegStatus::Unknown(_) => self.reach("unknown text"),
                LegStatus::Unresolved => self.reach("unresolved"),
                LegStatus::Retry(_) => self.reach("retry"),
                LegStatus::Held(_) => self.reach("text held"),
                LegStatus::Delivered => self.reach("delivered"),
                _ => {}
            }
        }
    }

    /// Everything is quiet: nothing is open, nothing is lost, and the sums add up.
    pub(crate) fn settled(&self, store: &Store, workspaces: usize) -> Verdict {
        let mut home: BTreeMap<(usize, u64), i64> = BTreeMap::new();
        let mut sums: BTreeMap<usize, Sum> = BTreeMap::new();
        for (id, row) in store.followups() {
            if row.state.is_open() || row.wake.is_some() {
                return Err(format!("{id} never ends: {:?}", row.state));
            }
            let sum = sums.entry(row.workspace).or_default();
            (sum.begun, sum.ended) = (sum.begun + 1, sum.ended + 1);
            if self.followups.get(&id).is_none_or(|seen| seen.outcome.is_none() && row.state.public_state().is_some()) {
                return Err(format!("{id} has no outcome: {:?}", row.state.stage));
            }
            for reply in &row.state.replies {
                let message = reply.message_id.parse().map_err(|_| "a strange message id".to_owned())?;
                if let Some(other) = home.insert((row.workspace, message), id) {
                    return Err(format!("message {message} is in {other} and in {id}"));
                }
            }
        }
        if sums != self.sums || sums.len() > workspaces {
            return Err(format!("follow-ups do not add up: begun and ended {:?}, stored {sums:?}", self.sums));
        }
        for (message, row) in store.messages() {
            if home.get(&message) != Some(&row.followup) {
                return Err(format!("message {message:?} says {} but is in {:?}", row.followup, home.get(&message)));
            }
        }
        if let Some(lost) = self.posted.keys().find(|message| !home.contains_key(message)) {
            return Err(format!("message {lost:?} was accepted and is nowhere"));
        }
        if let Some(((id, channel, attempt), node)) = self.heard.first_key_value() {
            return Err(format!(
                "node {node} heard what became of {id} {channel:?} (try {attempt}) and never stored it"
            ));
        }
        self.recorded.iter().try_for_each(|(receipt, grade)| known(store, *receipt, *grade))
    }
}

/// Whether a repeat is one effect. Email is: its Message-ID is fixed.
/// D10, as a clock on a wall shows it.
fn is_quiet(quiet: &QuietHours, at: Ms, offset_minutes: Ms) -> bool {
    let shown = (at.div_euclid(60_000) + offset_minutes).rem_euclid(DAY_MINUTES);
    let (start, end) = (Ms::from(quiet.start_minute), Ms::from(quiet.end_minute));
    if start < end { start <= shown && shown < end } else { start <= shown || shown < end }
}

/// As much of a span as can have been quiet.
fn quiet_ms(quiet: &QuietHours, span_ms: Ms) -> Ms {
    let long = (Ms::from(quiet.end_minute) - Ms::from(quiet.start_minute)).rem_euclid(DAY_MINUTES);
    (span_ms / 60_000 / DAY_MINUTES + 1) * long * 60_000
}

fn keyed(channel: Channel, policy: &Policy) -> bool {
    channel == Channel::Email || policy.services.text.first().is_some_and(|t| t.idempotent)
}

/// C4: an ack that a device recorded reached the follow-up.
fn known(store: &Store, receipt: Receipt, grade: Grade) -> Verdict {
    let row = store.followup(receipt.followup).ok_or("a receipt of nothing")?;
    let device = crate::work::device_id(receipt.device);
    let covers = receipt.covers.min(row.state.count());
    let mut pushes = row.state.pushes.iter().filter(|push| push.device == device);
    if pushes.any(|push| push.acks.iter().any(|(n, g)| *n >= covers && *g >= grade)) {
        return Ok(());
    }
    Err(format!("the ack {receipt:?} {grade:?} was recorded on the device and never reached the follow-up"))
}
