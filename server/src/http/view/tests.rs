//! Follow-ups and deliveries as shown, from states as the domain makes them.

use super::*;
use crate::store::WorkspaceId;
use backstop_domain::followup::{Followup, Reason, Skip, Stage};
use backstop_domain::ids::{DeviceId, FollowupId};

fn row(state: serde_json::Value) -> FollowupRow {
    let state: Followup = serde_json::from_value(state).unwrap();
    FollowupRow {
        workspace: WorkspaceId(1),
        id: FollowupId(7 << 20),
        customer_id: "lucas".into(),
        conversation_id: "c".into(),
        version: 1,
        state,
        wake: None,
    }
}

fn state(stage: &Stage, push: Option<&Push>, text: LegStatus, email: LegStatus) -> serde_json::Value {
    let leg = |status| Leg {
        hold: None,
        status,
        attempt: 1,
        at: 31_000,
        provider: Some("capture".into()),
        provider_id: Some(String::new()),
        left: true,
        counted_at: None,
        error: None,
        segments: None,
        form: None,
        since: None,
        then: Vec::new(),
        tried: Vec::new(),
        held_ms: 0,
    };
    serde_json::json!({
        "v": 1, "kind": "reply", "started_at": 1_000, "deadline_at": 31_000, "stage": stage,
        "replies": [{"id": "m1", "seq": 1, "at": 1_000}, {"id": "m2", "seq": 2, "at": 2_000}],
        "pushes": push.into_iter().collect::<Vec<_>>(), "text": leg(text), "email": leg(email),
    })
}

fn a_push(status: PushStatus) -> Push {
    Push {
        device: DeviceId(9),
        via: PushProvider::Fcm,
        status,
        covers: 2,
        attempt: 1,
        at: 1_001,
        elsewhere: None,
        provider_id: Some("projects/x/1".into()),
        error: None,
        acks: Vec::new(),
        acked: None,
    }
}

/// P3: the fallback as callers see it: decided at the deadline, text and email handed over.
#[test]
fn a_fallback_shows_all_three_ways() {
    let stage = Stage::FellBack { at: 31_000, why: Reason::NoAck };
    let push = a_push(PushStatus::Accepted);
    let row = row(state(&stage, Some(&push), LegStatus::Accepted, LegStatus::Delivered));
    let (event, decision, why) = ("deadline".into(), "fall_back".into(), "no_ack".into());
    let entry = HistoryEntry { at: 31_000, event, decision, why, inputs: None };
    let shown = serde_json::to_value(followup(&row, vec![entry]).unwrap()).unwrap();
    let delivery = |channel: &str, provider: &str, id: Option<&str>, device: Option<String>, status: &str, at: &str| {
        serde_json::json!({
            "channel": channel, "provider": provider, "provider_id": id, "device_id": device, "status": status,
            "segments": null, "price": null, "at": at, "error": null, "ack": null,
        })
    };
    let (t1, t31) = ("1970-01-01T00:00:01.001Z", "1970-01-01T00:00:31.000Z");
    let expected = serde_json::json!({
        "followup_id": row.id.to_string(), "customer_id": "lucas", "conversation_id": "c", "message_ids": ["m1", "m2"],
        "kind": "reply", "state": "fell_back", "accepted_at": "1970-01-01T00:00:01.000Z", "deadline_at": t31,
        "decided_at": t31, "late_ack_at": null, "reason": "no_ack",
        "deliveries": [
            delivery("push", "fcm", Some("projects/x/1"), Some(DeviceId(9).to_string()), "accepted", t1),
            delivery("sms", "capture", None, None, "accepted", t31),
            delivery("email", "capture", None, None, "delivered", t31),
        ],
        "history": [{"at": t31, "event": "deadline", "decision": "fall_back", "why": "no_ack"}],
    });
    assert_eq!(shown, expected);
}

/// P2, P7: an ack shows its grade and both times; nothing was decided on text and email.
#[test]
fn an_ack_shows_grade_and_times() {
    let stage = Stage::Acked { at: 3_000, by: Some(DeviceId(9)) };
    let push = Push { acked: Some((Grade::Displayed, 2_500, 3_000)), ..a_push(PushStatus::Claimed(9_000)) };
    let row = row(state(&stage, Some(&push), LegStatus::Idle, LegStatus::Idle));
    let shown = deliveries(&row);
    assert_eq!(shown.len(), 1, "idle legs are not shown");
    let ack = shown[0].ack.as_ref().unwrap();
    assert_eq!((shown[0].status, ack.grade), ("delivered", "displayed"));
    assert_eq!(ack.recorded_at, "1970-01-01T00:00:02.500Z");
    assert_eq!(ack.received_at, "1970-01-01T00:00:03.000Z");
}

/// S7: every status has its word, every skip its reason.
#[test]
fn every_status_has_its_word() {
    let pushes = [
        (PushStatus::Claimed(1), "claimed", None),
        (PushStatus::Accepted, "accepted", None),
        (PushStatus::Retry(1), "queued", None),
        (PushStatus::TokenGone, "failed", Some("token_gone")),
        (PushStatus::Unseen, "failed", Some("cannot_be_seen")),
        (PushStatus::LoggedOut, "failed", Some("logged_out")),
        (PushStatus::Refused, "failed", Some("refused")),
        (PushStatus::Limited, "failed", Some("rate_limited")),
        (PushStatus::Stopped, "stopped", None),
    ];
    for (status, word, error) in pushes {
        let shown = push(&a_push(status));
        assert_eq!((shown.status, shown.error.as_deref()), (word, error), "{status:?}");
    }
    let legs = [
        (LegStatus::Skipped(Skip::NoContact), "skipped", Some("no_contact")),
        (LegStatus::Queued(1), "queued", None),
        (LegStatus::Retry(1), "queued", None),
        (LegStatus::Claimed(1), "claimed", None),
        (LegStatus::Accepted, "accepted", None),
        (LegStatus::Delivered, "delivered", None),
        (LegStatus::Unknown(1), "unknown", None),
        (LegStatus::Unresolved, "unknown", None),
        (LegStatus::Failed, "failed", None),
        (LegStatus::Stopped, "stopped", None),
    ];
    for (status, word, error) in legs {
        let row = row(state(&Stage::Waiting, None, status, LegStatus::Idle));
        let shown = deliveries(&row);
        assert_eq!((shown[0].channel, shown[0].status, shown[0].error.as_deref()), ("sms", word, error), "{status:?}");
    }
}

/// D2: a row that watches is no follow-up.
#[test]
fn watching_is_not_shown() {
    let row = row(state(&Stage::Watching, None, LegStatus::Idle, LegStatus::Idle));
    assert!(followup(&row, Vec::new()).is_none());
}
