//! Whether APNs takes a credential, asked with a push to a device that cannot exist: what it refuses first tells.

use super::{Answer, Apns, Request, headers};
use crate::providers::transport;
use crate::providers::{CheckError, Checked};
use a2::{ErrorReason, NotificationOptions, Priority, PushType};
use backstop_wire::Environment;

/// Of the right form, and nobody's.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const BODY: &str = r#"{"aps":{"alert":"Backstop checks its credentials"}}"#;
/// Topics asked about; the others are of the same key.
const MAX_ASKED: usize = 4;

impl Apns {
    /// Asks for each topic in the credential's environment. APNs judges the provider token first, so the refusal of
    /// the device token (`BadDeviceToken`) says that everything before it is right.
    pub(super) async fn probe(&self) -> Result<Checked, CheckError> {
        let topics: Vec<Option<&str>> = match self.topics.as_slice() {
            [] => vec![None],
            topics => topics.iter().take(MAX_ASKED).map(|topic| Some(topic.as_str())).collect(),
        };
        let mut checked = None;
        for topic in topics {
            checked = Some(self.ask(topic).await?);
        }
        let place = word(self.environment);
        let message = format!("APNs takes key {} of team {} ({place})", self.key_id, self.team_id);
        Ok(Checked { message, vendor_ahead_ms: checked.flatten() })
    }

    /// The vendor's clock minus ours, if it takes the credential for this topic.
    async fn ask(&self, topic: Option<&str>) -> Result<Option<i64>, CheckError> {
        let options = NotificationOptions {
            apns_push_type: Some(PushType::Alert),
            // Nothing is kept for anybody: now or never.
            apns_expiration: Some(0),
            apns_priority: Some(Priority::High),
            apns_topic: topic,
            ..NotificationOptions::default()
        };
        let request = Request {
            environment: self.environment,
            token: NOBODY,
            headers: headers(&options),
            body: BODY.as_bytes().to_vec(),
        };
        let lane = self.lanes[self.environment as usize].pick();
        let token = self.tokens.get();
        let exchange = self.exchange(&lane.client, &request, &token.authorization);
        let Ok(answer) = tokio::time::timeout(self.timeout, exchange).await else {
            lane.timed_out();
            return Err(self.unreachable("does not answer in time"));
        };
        let Answer::Came { status, headers, body, vendor_ahead_ms } = answer else {
            return Err(self.unreachable("cannot be reached over HTTP/2"));
        };
        lane.answered();
        let reply = self.reply(self.environment, status, &headers, None, &body);
        match (status, reply.reason()) {
            (200, _)
            | (
                _,
                Some(
                    ErrorReason::BadDeviceToken
                    | ErrorReason::DeviceTokenNotForTopic
                    | ErrorReason::Unregistered
                    | ErrorReason::ExpiredToken,
                ),
            ) => Ok(vendor_ahead_ms),
            // Without a topic nobody can be pushed to; the token was judged before.
            (_, Some(ErrorReason::MissingTopic)) if topic.is_none() => Ok(vendor_ahead_ms),
            (_, reason) => Err(self.refusal(status, reason.as_ref(), topic, vendor_ahead_ms)),
        }
    }

    fn refusal(
        &self,
        status: u16,
        reason: Option<&ErrorReason>,
        topic: Option<&str>,
        vendor_ahead_ms: Option<i64>,
    ) -> CheckError {
        let (key, team) = (&self.key_id, &self.team_id);
        let (here, there) = (word(self.environment), word(self.environment.other()));
        let clock = transport::clock_is_off(vendor_ahead_ms);
        match (reason, clock) {
            (Some(ErrorReason::ExpiredProviderToken | ErrorReason::InvalidProviderToken), Some(clock)) => {
                CheckError::refused(format!("APNs refuses our token: {clock}"), "set the clock, best by NTP")
            }
            (Some(ErrorReason::ExpiredProviderToken), None) => CheckError::refused(
                "APNs calls a fresh token expired (ExpiredProviderToken)",
                "check this server's clock, best set by NTP",
            ),
            (Some(ErrorReason::InvalidProviderToken | ErrorReason::MissingProviderToken), _) => CheckError::refused(
                format!("APNs refuses key {key} of team {team} (InvalidProviderToken)"),
                "key, key_id and team_id must belong together and the key must not be revoked: compare them under Keys \
                 in your Apple account",
            ),
            (Some(ErrorReason::BadEnvironmentKeyIdInToken), _) => CheckError::refused(
                format!("key {key} is not for the {here} environment (BadEnvironmentKeyIdInToken)"),
                format!("set environment to {there}, or make a key for {here} under Keys in your Apple account"),
            ),
            (Some(ErrorReason::BadTopic | ErrorReason::TopicDisallowed), _) => CheckError::refused(
                format!("key {key} of team {team} may not push to {}", topic.unwrap_or("any topic")),
                "topics are bundle ids of that team's apps: correct it, or use the key of the app's own team",
            ),
            (Some(ErrorReason::TooManyProviderTokenUpdates), _) => CheckError::unreachable(
                format!("team {team} changes its tokens too often (TooManyProviderTokenUpdates)"),
                "something else signs with this team's keys more than once in 20 minutes: find it, or wait",
            ),
            (_, _) if status == 403 => CheckError::refused(
                format!("APNs refuses key {key} of team {team} (403)"),
                "check the key and what it may be used for under Keys in your Apple account",
            ),
            _ => self.unreachable(&format!("answers {status}")),
        }
    }

    fn unreachable(&self, how: &str) -> CheckError {
        let host = self.hosts[self.environment as usize].host_str().unwrap_or("APNs").to_owned();
        CheckError::unreachable(
            format!("{host} {how}"),
            "let this machine reach it on port 443 (or 2197, by base_url), HTTP/2 without interception",
        )
    }
}

fn word(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "production",
        Environment::Sandbox => "sandbox",
    }
}
