//! Rows to store: one of each kind, filled in everywhere.

use backstop_domain::Ms;
use backstop_domain::customer::{Consent, ContactSource};
use backstop_domain::device::Standing;
use backstop_domain::followup::{PushStatus, Reason, Stage, Wake, WakeReason};
use backstop_domain::ids::{DeviceId, FollowupId, next_id};
use backstop_domain::presence::{Presence, PresencePolicy};
use backstop_server::store::{
    ConversationRow, CustomerRow, DeviceRow, Direction, FollowupRow, HistoryEntry, MessageRow, Op, Row, WorkspaceId,
    WorkspaceRow,
};
use backstop_wire::{Alerts, Environment, Grade, Platform, PresenceState, PushProvider};
use std::sync::atomic::{AtomicI64, Ordering};

/// The instant at which every test begins.
pub const T0: Ms = 1_795_370_400_000;

/// An id that no other row of this process has.
pub fn fresh_id(at: Ms) -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let next = |last| Some(next_id(last, at, 0));
    let before = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap();
    next_id(before, at, 0)
}

pub fn workspace(name: &str) -> WorkspaceRow {
    WorkspaceRow {
        id: WorkspaceId(0),
        version: 1,
        name: name.to_owned(),
        identity_secrets: vec![vec![1, 2, 3], vec![0, 255]],
        trusted_keys: vec!["-----BEGIN PUBLIC KEY-----\n…".to_owned()],
        settings: r#"{"a":1}"#.to_owned(),
        settings_set: None,
        frozen_at: None,
        created_at: T0,
    }
}

pub fn customer(ws: WorkspaceId, id: &str) -> CustomerRow {
    let mut presence = Presence::default();
    let policy = PresencePolicy { idle_after_ms: 270_000, hidden_after_ms: 270_000, heartbeat_timeout_ms: 60_000 };
    presence.report("tab \"1\"", PresenceState::Hidden, Some(5), T0, &policy);
    CustomerRow {
        workspace: ws,
        customer_id: id.to_owned(),
        version: 0,
        wrapped_key: vec![1; 73],
        contact: Some(vec![0, 1, 2, 255]),
        has_phone: true,
        has_email: false,
        contact_at: T0 - 2,
        contact_source: ContactSource::FollowUp,
        consents: vec![Consent {
            purpose: "outreach".into(),
            wording_version: Some("2026-11".into()),
            at: T0 - 3,
            source: Some("checkout".into()),
            withdrawn_at: None,
        }],
        locale: Some("ko-KR".to_owned()),
        time_zone: Some("Asia/Seoul".to_owned()),
        devices: vec![DeviceId(1), DeviceId(i64::MAX)],
        presence,
        engaged_at: Some(T0 - 1),
        created_at: T0,
    }
}

pub fn conversation(ws: WorkspaceId, id: &str, customer: &str) -> ConversationRow {
    ConversationRow {
        workspace: ws,
        conversation_id: id.to_owned(),
        customer_id: customer.to_owned(),
        version: 0,
        next_seq: 2,
        wrote_at: Some(T0),
        left_at: None,
        texted_at: Some(T0 + 2),
        open: vec![FollowupId(7), FollowupId(9)],
    }
}

pub fn message(ws: WorkspaceId, id: &str, customer: &str) -> MessageRow {
    MessageRow {
        workspace: ws,
        message_id: id.to_owned(),
        version: 0,
        conversation_id: "chat".to_owned(),
        customer_id: customer.to_owned(),
        seq: 1,
        direction: Direction::ToCustomer,
        body_hash: [9; 32],
        body: Some(vec![1; 40]),
        followup: None,
        answer: r#"{"state":"sending"}"#.to_owned(),
        accepted_at: T0,
    }
}

/// A follow-up that waits for an ack until 30 s after `at`.
pub fn followup(ws: WorkspaceId, customer: &str, at: Ms) -> FollowupRow {
    let id = FollowupId(fresh_id(at));
    // As JSON: a field that is added later has a default, or old rows would not read.
    let state = serde_json::json!({
        "v": 1, "kind": "reply", "started_at": at, "deadline_at": at + 30_000, "stage": {"is": "waiting"},
        "replies": [{"id": format!("m-{}", id.0), "seq": 1, "at": at}],
        "pushes": [
            {"device": 5, "via": "fcm", "status": {"claimed": at + 10_000}, "covers": 1, "attempt": 1, "at": at},
        ],
        "text": {"status": "idle", "at": at}, "email": {"status": "idle", "at": at},
    });
    FollowupRow {
        workspace: ws,
        id,
        customer_id: customer.to_owned(),
        conversation_id: "chat".to_owned(),
        version: 0,
        state: serde_json::from_value(state).unwrap(),
        wake: Some(Wake { at: at + 30_000, why: WakeReason::Deadline }),
    }
}

/// The same follow-up once it was acked; to be put over the version that was loaded.
pub fn acked(mut row: FollowupRow) -> FollowupRow {
    let at = row.state.started_at + 400;
    row.state.pushes[0].acked = Some((Grade::Displayed, at, at));
    row.state.pushes[0].status = PushStatus::Accepted;
    row.state.stage = Stage::Acked { at, by: Some(DeviceId(5)) };
    row.wake = None;
    row
}

/// The same follow-up in another stage.
pub fn staged(mut row: FollowupRow, stage: Stage, wake: Option<Ms>) -> FollowupRow {
    row.state.stage = stage;
    row.wake = wake.map(|at| Wake { at, why: WakeReason::Retry });
    row
}

pub fn failed(at: Ms) -> Stage {
    Stage::Failed { at, why: Reason::NoFallbackRoute }
}

pub fn device(ws: WorkspaceId, install: &str) -> DeviceRow {
    let id = fresh_id(T0);
    let mut token_hash = [0; 32];
    token_hash[..8].copy_from_slice(&id.to_be_bytes());
    DeviceRow {
        workspace: ws,
        id: DeviceId(id),
        version: 0,
        install_id: install.to_owned(),
        customer_id: Some("lucas".to_owned()),
        platform: Platform::Ios,
        provider: PushProvider::Apns,
        token: vec![3; 90],
        token_hash,
        topic: Some("com.example".to_owned()),
        environment: Some(Environment::Sandbox),
        alerts: Alerts::Quiet,
        wire: vec![1, 2],
        locale: None,
        standing: Standing::TokenGone(T0 + 1),
        registered_at: T0,
        confirmed_at: T0 + 2,
        used_at: T0 + 3,
        counted_acks: vec![T0, T0 + 1],
    }
}

pub fn entry(event: &str) -> HistoryEntry {
    let (event, decision, why) = (event.to_owned(), "push".to_owned(), "nothing".to_owned());
    HistoryEntry { at: T0, event, decision, why, inputs: Some("{}".to_owned()) }
}

/// A write of this row.
pub fn put(row: impl Into<AnyRow>) -> Op {
    Op::put(row.into().0)
}

/// Any row that can be written.
pub struct AnyRow(pub Row);

impl From<CustomerRow> for AnyRow {
    fn from(row: CustomerRow) -> Self {
        AnyRow(Row::Customer(row))
    }
}

impl From<ConversationRow> for AnyRow {
    fn from(row: ConversationRow) -> Self {
        AnyRow(Row::Conversation(row))
    }
}

impl From<MessageRow> for AnyRow {
    fn from(row: MessageRow) -> Self {
        AnyRow(Row::Message(row))
    }
}

impl From<FollowupRow> for AnyRow {
    fn from(row: FollowupRow) -> Self {
        AnyRow(Row::Followup(std::sync::Arc::new(row)))
    }
}

impl From<DeviceRow> for AnyRow {
    fn from(row: DeviceRow) -> Self {
        AnyRow(Row::Device(row))
    }
}
