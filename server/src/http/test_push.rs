//! `POST /v1/devices/{id}/test-push`: a real push to the device that asks for one, for the SDK's self-test.

use super::Api;
use super::request::{Answer, Device, NoBody, Reply, Segment};
use crate::engine::api::Tested;
use crate::problem::Problem;
use crate::store::{Key, Row, WorkspaceId};
use axum::extract::State;
use axum::http::StatusCode;
use backstop_domain::Ms;
use backstop_domain::followup::Outcome;
use backstop_domain::ids::DeviceId;
use backstop_wire::time::to_rfc3339;
use backstop_wire::{PushProvider, TestOutcome, TestPushed};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One device's test pushes, and one token's, are at least this far apart.
const EVERY_MS: Ms = 60_000;
/// Devices that are remembered for a minute; more than that many tests a minute are refused.
const MAX_DEVICES: usize = 65_536;
const MAX_REASON_CHARS: usize = 64;
/// Enough for every provider's own time-out, and less than the SDK's.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// When each device asked last, and for each token. A restart forgets.
pub struct TestPushes {
    asked: Mutex<HashMap<Asked, Ms>>,
    /// A sandbox's: nothing leaves.
    unlimited: bool,
    answer_within: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Device(WorkspaceId, DeviceId),
    Token(WorkspaceId, [u8; 32]),
}

impl Default for TestPushes {
    fn default() -> TestPushes {
        TestPushes { asked: Mutex::default(), unlimited: false, answer_within: ANSWER_WITHIN }
    }
}

/// Pushes to the device itself, to see what comes of it
///
/// A real push by the way and the credentials of a follow-up's, to the device that asks, titled "Test" and of use for
/// 30 s. No follow-up belongs to it, no text or email follows, nothing counts it; its receipt can be acknowledged like
/// any other. The answer is what the push service said, 12 s later at most. The body is empty or `{}`. Once a minute.
///
/// It is sent whether or not alerts are allowed and somebody is logged in: whether it would be seen, the device knows.
/// `outcome` and `reason` say what to mend. `token_gone`: get a new token from the system and register it.
/// `rejected` with `no_push_credentials`: give the device's app its key (`PUT /v1/apps/{app_id}`), or the server one
/// (`[apns]`, `[fcm]`); with `no_topic`, `bad_topic` or `topic_not_configured`: register with the app's bundle id, and
/// list it beside the key; with `bad_device_token`: register the token in hexadecimal, as the system gives it; with a
/// word of the push service (`InvalidProviderToken`, `SENDER_ID_MISMATCH`): the key is not the app's; see
/// `GET /v1/providers`. `retry_after`: the push service or the way to it is in trouble (`unreachable`), or its account
/// is left alone for a while (`account_paused`). `unknown`: no answer in time; the push may arrive all the same.
#[utoipa::path(post, path = "/v1/devices/{device_id}/test-push", tag = "device",
    params(("device_id" = String, Path, description = "`dev_…`, the caller itself")),
    responses((status = 202, description = "What the push service said", body = super::openapi::TestPushed)))]
pub(super) async fn post(State(api): State<Arc<Api>>, device: Device, Segment(id): Segment, _: NoBody) -> Answer {
    device.must_be(&id)?;
    let Device { workspace, id } = device;
    let row = api.store.load(vec![Key::Device(workspace.id, id)]).await?.into_iter().next().flatten();
    // Its key fits and it is gone: it registers again.
    let row = row.as_ref().and_then(Row::as_device).ok_or_else(Problem::unauthorized)?.clone();
    let asked = asked(workspace.id, id, row.token_hash);
    api.test_pushes.take(asked, api.clocks.real_ms())?;
    let (provider, environment) = (row.provider, row.environment);
    let sending = api.engine.test_push(&workspace, row);
    let tested = match tokio::time::timeout(api.test_pushes.answer_within, sending).await {
        Ok(tested) => tested.inspect_err(|_| api.test_pushes.give_back(asked))?,
        Err(_) => Tested { outcome: Outcome::Unknown { error: "timeout".into() }, environment },
    };
    Ok(Reply::json(StatusCode::ACCEPTED, &answer(provider, tested, api.clocks.now_ms(workspace.id))))
}

/// Whom a test push is counted for: the device, and its token, which anybody who knows it can register under another
/// device.
fn asked(ws: WorkspaceId, device: DeviceId, token_hash: [u8; 32]) -> [Asked; 2] {
    [Asked::Device(ws, device), Asked::Token(ws, token_hash)]
}

fn answer(provider: PushProvider, tested: Tested, now: Ms) -> TestPushed {
    let outcome = match tested.outcome {
        Outcome::Accepted { .. } => TestOutcome::Accepted,
        Outcome::TokenGone { .. } => TestOutcome::TokenGone,
        Outcome::WrongEnvironment { .. } | Outcome::Rejected { .. } => TestOutcome::Rejected,
        Outcome::RetryAfter { .. } | Outcome::Postponed { .. } => TestOutcome::RetryAfter,
        Outcome::Unknown { .. } => TestOutcome::Unknown,
    };
    let environment = tested.environment.filter(|_| provider == PushProvider::Apns);
    let reason = tested.outcome.error().and_then(word).map(str::to_owned);
    TestPushed { provider, outcome, reason, environment, at: to_rfc3339(now) }
}

/// The code at the beginning: what follows it is for whoever runs the server.
fn word(error: &str) -> Option<&str> {
    let word = error.split([':', ' ']).next()?;
    let is_code = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    (is_code && (1..=MAX_REASON_CHARS).contains(&word.len())).then_some(word)
}

impl TestPushes {
    /// None is one too many.
    pub fn unlimited_if(self, unlimited: bool) -> TestPushes {
        TestPushes { unlimited, ..self }
    }

    /// What is not known by then is answered as unknown.
    pub fn answered_within(self, answer_within: Duration) -> TestPushes {
        TestPushes { answer_within, ..self }
    }

    /// It came to nothing: the same may be asked again.
    fn give_back(&self, of: [Asked; 2]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for key in of {
            asked.remove(&key);
        }
    }

    /// The device's and its token's one of this minute; refused with the time at which there is one again.
    fn take(&self, of: [Asked; 2], now: Ms) -> Result<(), Problem> {
        if self.unlimited {
            return Ok(());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = of.iter().filter_map(|key| asked.get(key)).filter(|at| now - **at < EVERY_MS).max() {
            return Err(Problem::rate_limited(at + EVERY_MS - now));
        }
        if asked.len() >= 2 * MAX_DEVICES {
            asked.retain(|_, at| now - *at < EVERY_MS);
        }
        if asked.len() >= 2 * MAX_DEVICES {
            return Err(Problem::rate_limited(EVERY_MS));
        }
        asked.extend(of.map(|key| (key, now)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WS: WorkspaceId = WorkspaceId(1);

    /// Invariant 7: one a minute, each device for itself, on both sides of the minute; no more devices than there is
    /// room for.
    #[test]
    fn one_a_minute() {
        let pushes = TestPushes::default();
        let hash = |device: i64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&device.to_le_bytes());
            hash
        };
        let take = |device: i64, now: Ms| pushes.take(asked(WS, DeviceId(device), hash(device)), now).is_ok();
        assert!(take(1, 0) && !take(1, EVERY_MS - 1) && take(2, 1));
        assert!(pushes.take(asked(WorkspaceId(2), DeviceId(1), hash(1)), 1).is_ok(), "another workspace's");
        assert!(pushes.take(asked(WS, DeviceId(9), hash(1)), 1).is_err(), "the same token under another device");
        assert!(pushes.take(asked(WS, DeviceId(1), hash(9)), 1).is_err(), "the same device with another token");
        assert!(take(1, EVERY_MS) && !take(1, EVERY_MS));
        let many = 10..10 + MAX_DEVICES as i64;
        assert_eq!(many.filter(|device| take(*device, EVERY_MS + 1)).count(), MAX_DEVICES - 1, "beside the first one");
        assert!(!take(3, EVERY_MS + 1) && take(3, 2 * EVERY_MS + 1), "there is room again a minute later");
        let sandbox = TestPushes::default().unlimited_if(true);
        assert!((0..100).all(|_| sandbox.take(asked(WS, DeviceId(1), hash(1)), 0).is_ok()));
    }

    /// Invariant 9: a device is told codes, never what an operator's log holds beside them.
    #[test]
    fn a_reason_is_one_code() {
        for (error, expected) in [
            ("BadDeviceToken", Some("BadDeviceToken")),
            ("InvalidProviderToken: our clock is 3600 s behind", Some("InvalidProviderToken")),
            ("account_paused: UNAVAILABLE", Some("account_paused")),
            ("http_502", Some("http_502")),
            ("", None),
            (": x", None),
            ("what?", None),
            (&"x".repeat(65), None),
        ] {
            assert_eq!(word(error), expected, "{error}");
        }
    }
}
