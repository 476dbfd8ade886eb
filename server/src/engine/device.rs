//! Work of the devices: registration, log-out, acks (C1–C3, P6, P9, P11).

use super::api::{AckInput, EngineError, Registration};
use super::customer;
use super::desk::{Again, Desk};
use super::find::Find;
use super::judge::judge;
use super::work::{Answer, Ask, Rank, Work, want_conversation, want_customer, want_followup, want_open};
use crate::store::{DeviceRow, FollowupRow, Row, StoreError, WorkspaceId};
use crate::vault::Carrier;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{AckVerdict, Acked, Event, Reason};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_wire::{AckOutcome, AckResult, Grade};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// How many times the rest of a follow-up may have been split off again before an ack stops following it.
const MAX_RESTS: usize = 100;

/// Devices of one customer; for one more, the one that was confirmed longest ago is logged out (invariant 7).
const MAX_DEVICES: usize = 100;

pub(super) struct Register {
    pub(super) ws: Arc<Workspace>,
    pub(super) registration: Registration,
}

impl Register {
    fn token_hash(&self, desk: &Desk<'_>) -> [u8; 32] {
        desk.vault.token_hash(self.ws.id, self.registration.provider, &self.registration.token)
    }
}

impl Ask for Register {
    type Answer = DeviceId;

    fn wants(&self, desk: &mut Desk<'_>) {
        let (ws, r) = (self.ws.id, &self.registration);
        for key in [Find::Install(ws, &r.install_id), Find::Token(ws, &self.token_hash(desk))] {
            if let Some(Row::Found(id)) = desk.want(key).as_deref() {
                want_device(desk, ws, *id);
            }
        }
        if let Some(customer_id) = &r.customer_id {
            want_customer(desk, ws, customer_id);
            let known = desk.want(Find::Customer(ws, customer_id));
            let known = known.as_ref().and_then(|row| row.as_customer());
            if known.is_some_and(|c| c.devices.len() >= MAX_DEVICES) {
                want_open(desk, ws, customer_id);
            }
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<DeviceId, EngineError>, Again> {
        self.register(desk)
    }
}

/// The device with its customer's open follow-ups: losing it may decide them.
fn want_device(desk: &mut Desk<'_>, ws: WorkspaceId, id: DeviceId) {
    let row = desk.want(Find::Device(ws, id));
    if let Some(customer_id) = row.as_ref().and_then(|row| row.as_device()).and_then(|d| d.customer_id.as_deref()) {
        want_customer(desk, ws, customer_id);
        want_open(desk, ws, customer_id);
    }
}

impl Register {
    fn register(&self, desk: &mut Desk<'_>) -> Result<Result<DeviceId, EngineError>, Again> {
        let (ws, r) = (self.ws.id, &self.registration);
        let now = desk.now(ws);
        let token_hash = self.token_hash(desk);
        let known = match desk.get(Find::Install(ws, &r.install_id))?.map(|row| &**row) {
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
        let Some(Row::Found(holder)) = desk.get(Find::Token(ws, &hash))?.map(|row| &**row) else { return Ok(()) };
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
}

impl Ask for Leave {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        want_device(desk, self.ws.id, self.device);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let Some(mut row) = desk.device(self.ws.id, self.device)?.cloned() else {
            return Ok(Err(EngineError::UnknownDevice));
        };
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
        Ok(Ok(()))
    }
}

/// The acks of one request. Their receipts were opened; whether they are this device's was checked with them (P11).
pub(super) struct AckRequest {
    ws: Arc<Workspace>,
    device: DeviceId,
    acks: Vec<AckInput>,
    answers: Mutex<Answers>,
}

/// What is known of them; the caller hears when all of it is.
struct Answers {
    of_each: Vec<Result<AckOutcome, EngineError>>,
    left: usize,
    to: Option<Answer<Vec<AckOutcome>>>,
}

/// Some acks of a request that are decided and stored together: as a rule all of them, so that the device that they
/// share is written once.
pub(super) struct Acks {
    request: Arc<AckRequest>,
    range: Range<usize>,
    results: Vec<Result<AckOutcome, EngineError>>,
}

impl Acks {
    pub(super) fn new(ws: Arc<Workspace>, device: DeviceId, acks: Vec<AckInput>, to: Answer<Vec<AckOutcome>>) -> Acks {
        let (range, left) = (0..acks.len(), acks.len());
        let answers = Mutex::new(Answers { of_each: vec![Ok(REFUSED); left], left, to: Some(to) });
        Acks { request: Arc::new(AckRequest { ws, device, acks, answers }), range, results: Vec::new() }
    }
}

impl Work for Acks {
    fn rank(&self) -> Rank {
        Rank::Ack
    }

    fn weight(&self) -> usize {
        self.range.len()
    }

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Device(self.request.ws.id, self.request.device));
        self.request.acks[self.range.clone()].iter().for_each(|ack| want_acked(desk, self.request.ws.id, ack));
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let request = &*self.request;
        self.results.clear();
        let (mut first_counted, mut opened) = (0, false);
        for ack in &request.acks[self.range.clone()] {
            let decided = Ack { ws: &request.ws, device: request.device, ack }.decide(desk)?;
            if let Ok(decided) = &decided {
                first_counted += usize::from(decided.first_counted);
                opened |= ack.grade == Grade::Opened && ack.of().is_some();
            }
            self.results.push(decided.map(|decided| decided.outcome));
        }
        remember(desk, &request.ws, request.device, first_counted, opened)
    }

    fn done(self: Box<Self>, stored: Result<(), StoreError>) {
        let mut answers = self.request.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = || Err(EngineError::Store(StoreError::Unavailable("the work was not run".into())));
        let mut results = self.results.into_iter();
        for at in self.range.clone() {
            answers.of_each[at] = match &stored {
                Ok(()) => results.next().unwrap_or_else(unsaid),
                Err(error) => Err(EngineError::Store(error.clone())),
            };
        }
        answers.left -= self.range.len();
        if answers.left == 0
            && let Some(to) = answers.to.take()
        {
            // Nobody waits any more: the caller went away. What was done stays done.
            let _ = to.send(std::mem::take(&mut answers.of_each).into_iter().collect());
        }
    }

    /// One that cannot be decided on must not take the others along.
    fn parts(&self) -> Vec<Box<dyn Work>> {
        let all = if self.range.len() < 2 { 0..0 } else { self.range.clone() };
        let one = |at| Acks { request: Arc::clone(&self.request), range: at..at + 1, results: Vec::new() };
        all.map(|at| Box::new(one(at)) as Box<dyn Work>).collect()
    }
}

fn want_acked(desk: &mut Desk<'_>, ws: WorkspaceId, ack: &AckInput) {
    let mut next = ack.of();
    for _ in 0..MAX_RESTS {
        let Some((id, covers)) = next else { break };
        want_followup(desk, ws, id);
        let row = desk.want(Find::Followup(ws, id));
        let Some(row) = row.as_ref().and_then(|row| row.as_followup()) else { break };
        want_conversation(desk, ws, &row.conversation_id, &row.customer_id);
        next = row.state.rest.and_then(|(rest, from)| beyond(rest, from, covers));
    }
}

/// What an ack covers of the rest that begins with reply `from`.
fn beyond(rest: FollowupId, from: u16, covers: u16) -> Option<(FollowupId, u16)> {
    (covers >= from).then(|| (rest, covers + 1 - from))
}

const REFUSED: AckOutcome = AckOutcome { result: AckResult::Refused, counted: false };
/// Nothing is kept of a test, so that each repeat is answered alike.
const TEST: AckOutcome = AckOutcome { result: AckResult::Accepted, counted: false };

impl AckInput {
    /// The follow-up that it is about, and how many of its replies.
    fn of(&self) -> Option<(FollowupId, u16)> {
        match self.receipt {
            Some(Carrier::Followup { id, covers }) => Some((id, covers)),
            Some(Carrier::Test) | None => None,
        }
    }
}

/// One of them.
struct Ack<'a> {
    ws: &'a Arc<Workspace>,
    device: DeviceId,
    ack: &'a AckInput,
}

struct Decided {
    outcome: AckOutcome,
    /// It is the first of its device that counts for its follow-up.
    first_counted: bool,
}

impl Ack<'_> {
    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Decided, EngineError>, Again> {
        let ws = self.ws.id;
        if desk.device(ws, self.device)?.is_none() {
            return Ok(Err(EngineError::UnknownDevice));
        }
        let outcome = if self.ack.receipt == Some(Carrier::Test) { TEST } else { REFUSED };
        let mut decided = Decided { outcome, first_counted: false };
        let mut next = self.ack.of();
        for _ in 0..MAX_RESTS {
            let Some((id, covers)) = next else { break };
            let event = Event::Acked {
                device: self.device,
                covers,
                grade: self.ack.grade,
                recorded_at: self.ack.recorded_at,
                detail: self.ack.detail.clone(),
            };
            let judged = judge(desk, self.ws, id, &event)?;
            let Some(acked) = judged.and_then(|j| j.acked) else { break };
            decided.outcome = told(acked);
            decided.first_counted |= acked.first_counted;
            let row = desk.hold(Find::Followup(ws, id))?;
            let Some(row) = row.as_ref().and_then(|row| row.as_followup()) else { break };
            if acked.counted {
                self.settle_older(desk, row)?;
            }
            // The split that this very ack made holds only replies it did not show.
            next = row.state.rest.and_then(|(rest, from)| beyond(rest, from, covers));
        }
        Ok(Ok(decided))
    }

    /// P9: older waiting follow-ups of the conversation are settled by the newer ack.
    fn settle_older(&self, desk: &mut Desk<'_>, row: &FollowupRow) -> Result<(), Again> {
        let conversation = desk.conversation(self.ws.id, &row.conversation_id, &row.customer_id)?;
        let open = conversation.map(|c| c.open.as_slice()).unwrap_or_default();
        let older: Vec<FollowupId> = open.iter().copied().filter(|open| *open < row.id).collect();
        for older in older {
            judge(desk, self.ws, older, &Event::AckedByNewer { device: self.device })?;
        }
        Ok(())
    }
}

/// P6: what the device's acks came to.
fn remember(
    desk: &mut Desk<'_>,
    ws: &Workspace,
    device: DeviceId,
    first_counted: usize,
    opened: bool,
) -> Result<(), Again> {
    if first_counted == 0 && !opened {
        return Ok(());
    }
    let now = desk.now(ws.id);
    let Some(mut row) = desk.device(ws.id, device)?.cloned() else { return Ok(()) };
    for _ in 0..first_counted {
        let acks = std::mem::take(&mut row.counted_acks);
        row.counted_acks = DeviceFacts::with_counted_ack(acks, now, &ws.policy.unread);
    }
    if opened {
        row.used_at = now;
    }
    desk.put(Row::Device(row));
    Ok(())
}

fn told(acked: Acked) -> AckOutcome {
    let result = match acked.verdict {
        AckVerdict::Accepted => AckResult::Accepted,
        AckVerdict::Late => AckResult::Late,
        AckVerdict::Duplicate => AckResult::Duplicate,
        AckVerdict::Refused => AckResult::Refused,
    };
    AckOutcome { result, counted: acked.counted }
}
