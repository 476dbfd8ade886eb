//! One decision on the desk: facts from rows, the domain's word, rows from the decision.

use super::desk::{Again, Count, Desk, Handed};
use super::find::Find;
use super::spending::Purse;
use super::wallet;
use crate::replay::{Said, said};
use crate::store::{ConversationRow, CustomerRow, FollowupRow, HistoryEntry, Row};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::customer::{ContactSource, Outreach};
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{
    self, Acked, Alarm, Channel, Decision, Effect, Event, Facts, Followup, Inputs, LegStatus, Note, Outcome, Stage,
    Wake,
};
use backstop_domain::ids::FollowupId;
use backstop_domain::text::{TextPlan, Way};
use std::sync::Arc;

/// Judges one event of one follow-up and stages what comes of it. `Ok(None)` = there is no such follow-up.
pub(crate) fn judge(
    desk: &mut Desk<'_>,
    ws: &Arc<Workspace>,
    id: FollowupId,
    event: &Event,
) -> Result<Option<Judged>, Again> {
    judge_text(desk, ws, id, event, AskedText::default())
}

/// What is known of a text or email that asks to leave.
#[derive(Clone, Copy, Default)]
pub(crate) struct AskedText<'a> {
    /// What it would be.
    pub(crate) plan: Option<&'a TextPlan>,
    /// Whether its number opted out (T7).
    pub(crate) opted_out: bool,
    /// Whether an email's address is not to be written to (E5).
    pub(crate) marked: bool,
    /// Where it is or was counted.
    pub(crate) purse: Option<&'a Purse>,
}

/// The same, knowing what the text would be that asks to leave, and where it is or was counted.
pub(crate) fn judge_text(
    desk: &mut Desk<'_>,
    ws: &Arc<Workspace>,
    id: FollowupId,
    event: &Event,
    text: AskedText<'_>,
) -> Result<Option<Judged>, Again> {
    let now = desk.now(ws.id);
    let Some(row) = desk.hold(Find::Followup(ws.id, id))? else { return Ok(None) };
    let Some(row) = row.as_followup() else { return Ok(None) };
    let customer = desk.hold(Find::Customer(ws.id, &row.customer_id))?;
    let customer = customer.as_ref().and_then(|row| row.as_customer());
    let conversation = desk.hold(Find::Conversation(ws.id, &row.conversation_id, &row.customer_id))?;
    let conversation = conversation.as_ref().and_then(|row| row.as_conversation());
    let mut devices = devices(desk, ws, customer)?;
    // The acks of a device that logged out meanwhile stay valid.
    if let Event::Acked { device, .. } = event
        && devices.iter().all(|known| known.id != *device)
        && let Some(row) = desk.device(ws.id, *device)?
    {
        devices.push(ws.facts_of(row));
    }
    let spare = FollowupId(desk.spare_id());
    let AskedText { plan, opted_out, marked, purse } = text;
    let counters = purse.map(|purse| purse.read(desk)).transpose()?;
    let balance = wallet::read(desk, ws, Some(&row.state))?;
    let known = balance.as_ref().map(|balance| &balance.wallet);
    let around = facts(customer, &devices, conversation, now, &ws.policy, spare);
    let facts = Facts { plan, opted_out, address_marked: marked, counters, wallet: known, ..around };
    let is_erased = row.customer_id.is_empty();
    // S8: an erased text is not asked for, since what it would be found by is not kept.
    let unasked = match event {
        Event::MayHaveLeft { attempt, error, .. } if is_erased => {
            let outcome = Outcome::Unknown { error: error.clone() };
            Some(Event::FallbackAnswered { channel: Channel::Text, attempt: *attempt, outcome })
        }
        _ => None,
    };
    let event = unasked.as_ref().unwrap_or(event);
    let mut decision = followup::decide(&row.state, event, &facts, now, &ws.policy);
    let judged = Judged {
        acked: decision.acked,
        sends: sends(&decision.effects),
        suppresses: decision.effects.contains(&Effect::Suppress),
        blocks: decision.effects.iter().find_map(|effect| match effect {
            Effect::Block(way) => Some(*way),
            _ => None,
        }),
        changed: decision.changed,
    };
    if let Event::Woke = event
        && !decision.changed
    {
        desk.draft.rearmed.push(super::desk::Rearmed { workspace: ws.id, id, old: None, new: decision.wake });
    }
    if let (Some(purse), Some(counters)) = (purse, &decision.counters) {
        purse.write(desk, counters)?;
    }
    // S8: nothing that its customer could be known by is kept of an erased one.
    let noted = decision.note.as_ref().filter(|_| decision.changed && !is_erased);
    let inputs = noted.map(|_| Inputs::of(&row.state, event, &facts, settings(ws)));
    if let (Some(balance), Some(change)) = (balance, decision.wallet.take()) {
        balance.write(desk, ws, Some(id), *change);
    }
    if decision.changed {
        stage(desk, ws, row, decision, conversation, (now, inputs))?;
    }
    Ok(Some(judged))
}

/// What the caller of [`judge`] may need of it.
pub(crate) struct Judged {
    pub(crate) acked: Option<Acked>,
    /// The attempt that it claimed a text or email for.
    pub(crate) sends: Option<u32>,
    /// The number of its text opted out.
    pub(crate) suppresses: bool,
    /// Its recipient blocked that way of a text.
    pub(crate) blocks: Option<Way>,
    pub(crate) changed: bool,
}

fn sends(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send { attempt, .. } => Some(*attempt),
        Effect::SendPush { .. }
        | Effect::Offer(_)
        | Effect::Ask { .. }
        | Effect::Suppress
        | Effect::Block(_)
        | Effect::Alarm(_) => None,
    })
}

/// What the rules need to know of the customer's devices.
pub(crate) fn devices(
    desk: &Desk<'_>,
    ws: &Workspace,
    customer: Option<&CustomerRow>,
) -> Result<Vec<DeviceFacts>, Again> {
    let mut facts = Vec::new();
    for id in customer.map(|c| c.devices.as_slice()).unwrap_or_default() {
        if let Some(row) = desk.device(ws.id, *id)? {
            facts.push(ws.facts_of(row));
        }
    }
    Ok(facts)
}

/// The facts around a follow-up of this customer in this conversation.
pub(crate) fn facts<'a>(
    customer: Option<&'a CustomerRow>,
    devices: &'a [DeviceFacts],
    conversation: Option<&ConversationRow>,
    now: Ms,
    policy: &followup::Policy,
    spare: FollowupId,
) -> Facts<'a> {
    Facts {
        phone: customer.is_some_and(|c| c.has_phone),
        email: customer.is_some_and(|c| c.has_email),
        time_zone: customer.and_then(|c| c.time_zone.as_deref()),
        source: customer.map(source).unwrap_or_default(),
        devices,
        online_until: customer.and_then(|c| c.presence.online_until(now, &policy.presence)),
        wrote: conversation.is_some_and(|c| c.wrote_at.is_some()),
        left_at: conversation.and_then(|c| c.left_at),
        engaged_at: customer.and_then(|c| c.engaged_at),
        plan: None,
        counters: None,
        wallet: None,
        opted_out: false,
        address_marked: false,
        spare,
    }
}

/// What the contact data serves, by where it came from and what the customer agreed to (S8).
fn source(customer: &CustomerRow) -> ContactSource {
    Outreach::of(customer.contact_source, &customer.consents).source(customer.contact_source)
}

/// Turns a decision into rows, history, effects and counts.
fn stage(
    desk: &mut Desk<'_>,
    ws: &Arc<Workspace>,
    before: &FollowupRow,
    decision: Decision,
    conversation: Option<&ConversationRow>,
    (now, inputs): (Ms, Option<Inputs>),
) -> Result<(), Again> {
    if !ws.canary {
        count(desk, before, &decision, now);
    }
    let id = before.id;
    let rest = decision.rest;
    if (decision.left || decision.returned || rest.is_some())
        && let Some(mut conversation) = conversation.cloned()
    {
        if decision.left {
            conversation.left_at = Some(now);
            // The words that the first text owes (T7) are no part of an SNS.
            if decision.next.text.left && decision.next.text.form().way() == Way::Xms {
                conversation.texted_at.get_or_insert(now);
            }
        } else if decision.returned {
            // Nothing of it left after all, and what left before it was older than the gap when it was claimed.
            conversation.left_at = None;
        }
        conversation.open.extend(rest.as_ref().map(|r| r.id));
        desk.put(Row::Conversation(conversation));
    }
    if let Some(note) = &decision.note {
        desk.history(ws.id, id, entry(note, now, inputs.as_ref()));
    }
    put(desk, ws, before.with(decision.next, decision.wake), decision.effects);
    if let Some(rest) = rest {
        let inputs = Inputs::of_rest(&rest.next, settings(ws));
        let row = FollowupRow { id: rest.id, version: 0, ..before.with(rest.next, rest.wake) };
        for reply in &row.state.replies {
            if let Some(message) = desk.message(ws.id, &reply.message_id)? {
                let moved = crate::store::MessageRow { followup: Some(rest.id), ..message.clone() };
                desk.put(Row::Message(moved));
            }
        }
        desk.history(ws.id, rest.id, entry(&rest.note, now, Some(&inputs)));
        put(desk, ws, row, rest.effects);
    }
    Ok(())
}

impl FollowupRow {
    /// The row as a decision leaves it.
    pub(super) fn with(&self, state: Followup, wake: Option<Wake>) -> FollowupRow {
        FollowupRow {
            workspace: self.workspace,
            id: self.id,
            customer_id: self.customer_id.clone(),
            conversation_id: self.conversation_id.clone(),
            version: self.version,
            state,
            wake,
        }
    }
}

/// Writes a decided follow-up and hands on what is to be done about it.
pub(super) fn put(desk: &mut Desk<'_>, ws: &Arc<Workspace>, row: FollowupRow, effects: Vec<Effect>) {
    let row = desk.put(Row::Followup(Arc::new(row)));
    let Row::Followup(row) = &*row else { return };
    let pushes = effects.iter().any(|effect| matches!(effect, Effect::SendPush { .. }));
    let around = Arc::new(if pushes { desk.around(row) } else { Vec::new() });
    for effect in effects {
        match effect {
            // Staged by the work that brought the word: it knows the number.
            Effect::Suppress | Effect::Block(_) => {}
            Effect::Alarm(Alarm::Overdue) => desk.draft.counts.push(Count::Alarm("overdue_text")),
            Effect::Alarm(Alarm::Filled(filled)) => desk.draft.counts.push(Count::Filled(ws.id, filled)),
            effect => {
                let (row, around) = (Arc::clone(row), Arc::clone(&around));
                let handed = Handed { workspace: Arc::clone(ws), row, effect, around };
                desk.draft.effects.push(handed);
            }
        }
    }
}

/// The version of the settings that decisions are made by.
pub(super) fn settings(ws: &Workspace) -> i64 {
    ws.settings_set.as_ref().map_or(1, |set| set.version)
}

pub(crate) fn entry(note: &Note, at: Ms, inputs: Option<&Inputs>) -> HistoryEntry {
    let Said { event, decision, why } = said(note);
    HistoryEntry {
        at,
        event,
        decision,
        why,
        inputs: inputs.map(|inputs| serde_json::to_string(inputs).expect("numbers and words serialize")),
    }
}

fn count(desk: &mut Desk<'_>, before: &FollowupRow, decision: &Decision, now: Ms) {
    let was = before.state.public_state();
    if let (false, LegStatus::Skipped(skip)) = (before.state.text.status.is_skipped(), decision.next.text.status)
        && skip.is_stop()
    {
        desk.draft.counts.push(Count::TextStop(before.id, skip.as_str()));
    }
    let is = decision.next.public_state();
    if let Some(is) = is.filter(|is| is.is_outcome() && was != Some(*is)) {
        desk.draft.counts.push(Count::Outcome(is.as_str()));
        if let Stage::Acked { .. } = decision.next.stage {
            desk.draft.counts.push(Count::AckLatencyMs(now - decision.next.started_at));
        }
    }
    let decided = before.state.stage == Stage::Waiting
        && matches!(decision.next.stage, Stage::FallingBack { .. } | Stage::Failed { .. });
    if decided && now >= before.state.deadline_at {
        desk.draft.counts.push(Count::LatenessMs(now - before.state.deadline_at));
    }
}
