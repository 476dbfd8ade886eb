//! Work of the devices: registration, log-out, acks (C1–C3, P6, P9, P11).

use super::api::{AckInput, EngineError, Registration};
use super::customer;
use super::desk::{Again, Desk};
use super::judge::judge;
use super::message::{Answer, answer};
use super::work::{Rank, Work, want_conversation, want_customer, want_followup, want_open};
use crate::store::{DeviceRow, Key, Row, StoreError, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{AckVerdict, Acked, Event, Reason};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_wire::{AckOutcome, AckResult, Grade};
use std::sync::Arc;

/// How many times the rest of a follow-up may have been split off again before an ack stops following it.
const MAX_RESTS: usize = 100;

/// Devices of one customer; for one more, the one that was confirmed longest ago is logged out (invariant 7).
const MAX_DEVICES: usize = 100;

pub(super) struct Register {
    pub(super) ws: Arc<Workspace>,
    pub(super) registration: Registration,
    pub(super) result: Option<Result<DeviceId, EngineError>>,
    pub(super) to: Answer<DeviceId>,
}

impl Register {
    fn token_hash(&self, desk: &Desk<'_>) -> [u8; 32] {
        desk.vault.token_hash(self.ws.id, self.registration.provider, &self.registration.token)
    }
}

impl Work for Register {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let (ws, r) = (self.ws.id, &self.registration);
        for key in [Key::Install(ws, r.install_id.clone()), Key::Token(ws, self.token_hash(desk))] {
            if let Some(Row::Found(id)) = desk.peek(&key) {
                want_device(desk, ws, *id, keys);
            }
            keys.push(key);
        }
        if let Some(customer_id) = &r.customer_id {
            let known = desk.peek(&Key::Customer(ws, customer_id.clone())).and_then(Row::as_customer);
            if known.is_some_and(|c| c.devices.len() >= MAX_DEVICES) {
                want_open(desk, ws, customer_id, keys);
            }
            want_customer(desk, ws, customer_id, keys);
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.register(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}

/// The device with its customer's open follow-ups: losing it may decide them.
fn want_device(desk: &Desk<'_>, ws: WorkspaceId, id: DeviceId, keys: &mut Vec<Key>) {
    let key = Key::Device(ws, id);
    if let Some(customer_id) = desk.peek(&key).and_then(Row::as_device).and_then(|d| d.customer_id.clone()) {
        want_customer(desk, ws, &customer_id, keys);
        want_open(desk, ws, &customer_id, keys);
    }
    keys.push(key);
}

impl Register {
    fn register(&self, desk: &mut Desk<'_>) -> Result<Result<DeviceId, EngineError>, Again> {
        let (ws, r) = (self.ws.id, &self.registration);
        let now = desk.now(ws);
        let token_hash = self.token_hash(desk);
        let known = match desk.get(&Key::Install(ws, r.install_id.clone()))? {
            Some(Row::Found(id)) => desk.device(ws, *id)?.cloned(),
            _ => None,
        };
        if let Some(known) = &known
            && r.authenticated_as != Some(known.id)
            && r.customer_id.is_none()
        {
            return Ok(Err(EngineError::DeviceProofRequired));
        }
        self.take_token(desk, known.as_ref().map(|d| d.id), token_hash, now)?;
        let id = known.as_ref().map_or_else(|| DeviceId(desk.spare_id()), |d| d.id);
        let before = known.as_ref().and_then(|d| d.customer_id.clone());
        let customer_id = r.customer_id.clone().or_else(|| before.clone());
        if let Some(old) = before.as_ref().filter(|old| customer_id.as_ref() != Some(*old)) {
            lose(desk, &self.ws, old, id, Reason::NoDevice)?;
            unlink(desk, ws, old, id)?;
        }
        let row = self.row(desk, known, id, customer_id.clone(), token_hash, now);
        let seen = row.alerts.can_show();
        desk.put(Row::Device(row));
        if let Some(customer_id) = &customer_id {
            self.make_room(desk, customer_id, id)?;
            link(desk, ws, customer_id, id, now)?;
            if !seen && before.as_ref() == Some(customer_id) {
                lose(desk, &self.ws, customer_id, id, Reason::AlertsDenied)?;
            }
        }
        Ok(Ok(id))
    }

    fn make_room(&self, desk: &mut Desk<'_>, customer_id: &str, id: DeviceId) -> Result<(), Again> {
        let ws = self.ws.id;
        let devices = desk.customer(ws, customer_id)?.map(|c| c.devices.clone()).unwrap_or_default();
        if devices.len() < MAX_DEVICES || devices.contains(&id) {
            return Ok(());
        }
        let mut oldest = None;
        for device in devices {
            let confirmed_at = desk.device(ws, device)?.map_or(Ms::MIN, |row| row.confirmed_at);
            oldest = oldest.into_iter().chain([(confirmed_at, device)]).min();
        }
        let Some((_, oldest)) = oldest else { return Ok(()) };
        lose(desk, &self.ws, customer_id, oldest, Reason::NoDevice)?;
        unlink(desk, ws, customer_id, oldest)?;
        if let Some(row) = desk.device(ws, oldest)?.cloned() {
            desk.put(Row::Device(DeviceRow { customer_id: None, ..row }));
        }
        Ok(())
    }

    fn row(
        &self,
        desk: &Desk<'_>,
        known: Option<DeviceRow>,
        id: DeviceId,
        customer_id: Option<String>,
        token_hash: [u8; 32],
        now: Ms,
    ) -> DeviceRow {
        let (ws, r) = (self.ws.id, &self.registration);
        let same = known.as_ref().filter(|d| d.token_hash == token_hash && d.standing == Standing::Registered);
        DeviceRow {
            workspace: ws,
            id,
            version: known.as_ref().map_or(0, |d| d.version),
            install_id: r.install_id.clone(),
            customer_id,
            platform: r.platform,
            provider: r.provider,
            token: desk.vault.seal(ws, "devices", &id.to_string(), "token", r.token.as_bytes()),
            token_hash,
            topic: r.topic.clone(),
            environment: r.environment,
            alerts: r.alerts,
            wire: r.wire.clone(),
            locale: r.locale.clone(),
            standing: Standing::Registered,
            registered_at: same.map_or(now, |d| d.registered_at),
            confirmed_at: now,
            used_at: now,
            counted_acks: known.map(|d| d.counted_acks).unwrap_or_default(),
        }
    }

    /// C2: a token is held by one installation at a time. Another that held it has none now.
    fn take_token(&self, desk: &mut Desk<'_>, own: Option<DeviceId>, hash: [u8; 32], now: Ms) -> Result<(), Again> {
        let ws = self.ws.id;
        let Some(Row::Found(holder)) = desk.get(&Key::Token(ws, hash))? else { return Ok(()) };
        let holder = *holder;
        if Some(holder) == own {
            return Ok(());
        }
        let Some(mut row) = desk.device(ws, holder)?.cloned() else { return Ok(()) };
        let customer_id = row.customer_id.clone();
        row.standing = Standing::TokenGone(now);
        // Unique in the workspace, and no token hashes to it.
        row.token_hash = crate::vault::sha256(format!("taken from {holder} at {now}").as_bytes());
        desk.put(Row::Device(row));
        if let Some(customer_id) = customer_id {
            lose(desk, &self.ws, &customer_id, holder, Reason::TokenGone)?;
        }
        Ok(())
    }
}

fn link(desk: &mut Desk<'_>, ws: WorkspaceId, customer_id: &str, id: DeviceId, now: Ms) -> Result<(), Again> {
    let mut row = customer::or_new(desk, ws, customer_id, now)?;
    if !row.devices.contains(&id) {
        row.devices.push(id);
        desk.put(Row::Customer(row));
    }
    Ok(())
}

fn unlink(desk: &mut Desk<'_>, ws: WorkspaceId, customer_id: &str, id: DeviceId) -> Result<(), Again> {
    if let Some(mut row) = desk.customer(ws, customer_id)?.filter(|c| c.devices.contains(&id)).cloned() {
        row.devices.retain(|d| *d != id);
        desk.put(Row::Customer(row));
    }
    Ok(())
}

/// Tells the customer's open follow-ups that nothing more can be hoped for from this device (P5).
pub(super) fn lose(
    desk: &mut Desk<'_>,
    ws: &Arc<Workspace>,
    customer_id: &str,
    device: DeviceId,
    why: Reason,
) -> Result<(), Again> {
    for id in desk.open_of(ws.id, customer_id)? {
        judge(desk, ws, id, &Event::DeviceLost { device, why })?;
    }
    Ok(())
}

/// Log-out or removal of a device.
pub(super) struct Leave {
    pub(super) ws: Arc<Workspace>,
    pub(super) device: DeviceId,
    pub(super) delete: bool,
    pub(super) result: Option<Result<(), EngineError>>,
    pub(super) to: Answer<()>,
}

impl Work for Leave {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_device(desk, self.ws.id, self.device, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let Some(mut row) = desk.device(self.ws.id, self.device)?.cloned() else {
            self.result = Some(Err(EngineError::UnknownDevice));
            return Ok(());
        };
        self.result = Some(Ok(()));
        let customer_id = row.customer_id.take();
        if let Some(customer_id) = &customer_id {
            // A device that is gone acks nothing more. One that is logged out may still ack what it showed before.
            if self.delete {
                lose(desk, &self.ws, customer_id, self.device, Reason::NoDevice)?;
            }
            unlink(desk, self.ws.id, customer_id, self.device)?;
        }
        if self.delete {
            desk.delete_device(&row);
        } else if customer_id.is_some() {
            desk.put(Row::Device(row));
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}

/// One ack. Its receipt was opened; whether it is this device's was checked with it (P11).
pub(super) struct Ack {
    pub(super) ws: Arc<Workspace>,
    pub(super) device: DeviceId,
    pub(super) ack: AckInput,
    pub(super) result: Option<Result<AckOutcome, EngineError>>,
    pub(super) to: Answer<AckOutcome>,
}

impl Work for Ack {
    fn rank(&self) -> Rank {
        Rank::Ack
    }

    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let ws = self.ws.id;
        keys.push(Key::Device(ws, self.device));
        let Some((id, covers)) = self.ack.receipt else { return };
        let mut next = Some((id, covers));
        for _ in 0..MAX_RESTS {
            let Some((id, covers)) = next else { break };
            want_followup(desk, ws, id, keys);
            let row = desk.peek(&Key::Followup(ws, id)).and_then(Row::as_followup);
            if let Some(row) = row {
                want_conversation(desk, ws, &row.conversation_id, &row.customer_id, keys);
            }
            next = row.and_then(|row| row.state.rest).and_then(|(rest, from)| beyond(rest, from, covers));
        }
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.ack(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}

/// What an ack covers of the rest that begins with reply `from`.
fn beyond(rest: FollowupId, from: u16, covers: u16) -> Option<(FollowupId, u16)> {
    (covers >= from).then(|| (rest, covers + 1 - from))
}

const REFUSED: AckOutcome = AckOutcome { result: AckResult::Refused, counted: false };

impl Ack {
    fn ack(&self, desk: &mut Desk<'_>) -> Result<Result<AckOutcome, EngineError>, Again> {
        let ws = self.ws.id;
        if desk.device(ws, self.device)?.is_none() {
            return Ok(Err(EngineError::UnknownDevice));
        }
        let Some((id, covers)) = self.ack.receipt else { return Ok(Ok(REFUSED)) };
        let mut last = REFUSED;
        let mut first_counted = false;
        let mut next = Some((id, covers));
        for _ in 0..MAX_RESTS {
            let Some((id, covers)) = next else { break };
            let event = Event::Acked {
                device: self.device,
                covers,
                grade: self.ack.grade,
                recorded_at: self.ack.recorded_at,
                detail: self.ack.detail.clone(),
            };
            let judged = judge(desk, &self.ws, id, &event)?;
            let Some(acked) = judged.and_then(|j| j.acked) else { break };
            last = outcome(acked);
            first_counted |= acked.first_counted;
            let row = desk.followup(ws, id)?.cloned();
            if acked.counted
                && let Some(row) = &row
            {
                self.settle_older(desk, row.id, &row.conversation_id, &row.customer_id)?;
            }
            // The split that this very ack made holds only replies it did not show.
            next = row.and_then(|r| r.state.rest).and_then(|(rest, from)| beyond(rest, from, covers));
        }
        self.remember(desk, first_counted)?;
        Ok(Ok(last))
    }

    /// P9: older waiting follow-ups of the conversation are settled by the newer ack.
    fn settle_older(&self, desk: &mut Desk<'_>, id: FollowupId, conversation: &str, of: &str) -> Result<(), Again> {
        let open = desk.conversation(self.ws.id, conversation, of)?.map(|c| c.open.clone()).unwrap_or_default();
        for older in open.into_iter().filter(|open| *open < id) {
            judge(desk, &self.ws, older, &Event::AckedByNewer)?;
        }
        Ok(())
    }

    /// P6: what the device's acks came to.
    fn remember(&self, desk: &mut Desk<'_>, first_counted: bool) -> Result<(), Again> {
        let now = desk.now(self.ws.id);
        let opened = self.ack.grade == Grade::Opened;
        if !first_counted && !opened {
            return Ok(());
        }
        let Some(mut row) = desk.device(self.ws.id, self.device)?.cloned() else { return Ok(()) };
        if first_counted {
            let acks = std::mem::take(&mut row.counted_acks);
            row.counted_acks = DeviceFacts::with_counted_ack(acks, now, &self.ws.policy.unread);
        }
        if opened {
            row.used_at = now;
        }
        desk.put(Row::Device(row));
        Ok(())
    }
}

fn outcome(acked: Acked) -> AckOutcome {
    let result = match acked.verdict {
        AckVerdict::Accepted => AckResult::Accepted,
        AckVerdict::Late => AckResult::Late,
        AckVerdict::Duplicate => AckResult::Duplicate,
        AckVerdict::Refused => AckResult::Refused,
    };
    AckOutcome { result, counted: acked.counted }
}
