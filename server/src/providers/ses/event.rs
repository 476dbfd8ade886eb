//! What SES says of a mail later: one event, of one or several recipients.

use super::TAGS;
use super::reply::is_message_id;
use crate::engine::api::{MailReport, MailWord};
use crate::providers::Word;
use backstop_domain::ids::FollowupId;
use backstop_domain::mail::{Verdict, verdict};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A mail of ours has one recipient; a forged or foreign event does not make us work.
const MAX_RECIPIENTS: usize = 50;

/// Published by a configuration set (`eventType`), or by an identity (`notificationType`), which leaves out the tags.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: MailOf,
    #[serde(default)]
    bounce: Option<Bounce>,
    #[serde(default)]
    complaint: Option<Complaint>,
    #[serde(default)]
    delivery: Option<Delivery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MailOf {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    tags: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    destination: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    bounce_type: String,
    #[serde(default)]
    bounce_sub_type: String,
    #[serde(default)]
    bounced_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    #[serde(default)]
    complained_recipients: Vec<Recipient>,
    #[serde(default)]
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
struct Delivery {
    #[serde(default)]
    recipients: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
    #[serde(default)]
    status: Option<String>,
}

/// What an identity says does not name the mail that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nameless;

/// One word for each recipient that something is said of. A mail that is none of ours has no tags of ours.
pub(super) fn words(message: &str) -> Result<Vec<Word>, Nameless> {
    let Ok(event) = serde_json::from_str::<Event>(message) else { return Ok(Vec::new()) };
    let tags = event.mail.tags.as_ref().ok_or(Nameless)?;
    let Some(try_of) = event.mail.try_of(tags) else { return Ok(Vec::new()) };
    let said = event.said().into_iter().take(MAX_RECIPIENTS);
    Ok(said.map(|(recipient, word)| try_of.word(Some(recipient), word)).collect())
}

impl Event {
    fn said(&self) -> Vec<(String, MailWord)> {
        let all = |word: MailWord| self.mail.destination.iter().map(|to| (to.clone(), word.clone())).collect();
        let refused = |code: &str| MailWord::Failed { code: code.into(), verdict: Verdict::NotTheAddress };
        match self.event_type.as_str() {
            "Bounce" => self.bounce.as_ref().map(Bounce::said).unwrap_or_default(),
            "Complaint" => self.complaint.as_ref().map(Complaint::said).unwrap_or_default(),
            "Delivery" => {
                let recipients = self.delivery.iter().flat_map(|delivery| &delivery.recipients);
                recipients.map(|to| (to.clone(), MailWord::Delivered)).collect()
            }
            // SES found a virus, or no text to send.
            "Reject" => all(refused("rejected")),
            "Rendering Failure" => all(refused("rendering_failure")),
            // DeliveryDelay is followed by one of these; Send, Open and Click say nothing new.
            _ => Vec::new(),
        }
    }
}

impl Bounce {
    fn said(&self) -> Vec<(String, MailWord)> {
        let of = |to: &Recipient| self.word(to.status.as_deref()).map(|word| (to.email_address.clone(), word));
        self.bounced_recipients.iter().filter_map(of).collect()
    }

    fn word(&self, status: Option<&str>) -> Option<MailWord> {
        let status = status.filter(|status| is_status(status));
        let said = match (self.bounce_type.as_str(), self.bounce_sub_type.as_str()) {
            ("Permanent", "NoEmail" | "Suppressed" | "OnAccountSuppressionList") => Verdict::Dead,
            ("Permanent", _) => status.map_or(Verdict::Dead, verdict),
            (_, "MessageTooLarge" | "ContentRejected" | "AttachmentRejected") => Verdict::NotTheAddress,
            // SES calls an answer of an absent person one, too: without a status nothing failed.
            ("Transient", "General") if status.is_none() => return None,
            ("Transient", _) => Verdict::Strike,
            _ => Verdict::NotTheAddress,
        };
        let code = status.map_or_else(|| code_of(&self.bounce_type, &self.bounce_sub_type), str::to_owned);
        Some(MailWord::Failed { code, verdict: said })
    }
}

impl Complaint {
    fn said(&self) -> Vec<(String, MailWord)> {
        if self.complaint_feedback_type.as_deref() == Some("not-spam") {
            return Vec::new();
        }
        self.complained_recipients.iter().map(|to| (to.email_address.clone(), MailWord::Complained)).collect()
    }
}

/// Which try a mail was, by the tags that it was sent with.
struct TryOf {
    workspace: String,
    followup: FollowupId,
    attempt: u32,
    provider_id: Option<String>,
}

impl MailOf {
    fn try_of(&self, tags: &BTreeMap<String, Vec<String>>) -> Option<TryOf> {
        let [workspace, followup, attempt] = TAGS.map(|name| tags.get(name).and_then(|values| values.first()));
        Some(TryOf {
            workspace: workspace?.clone(),
            followup: FollowupId::parse(followup?)?,
            attempt: attempt?.parse().ok()?,
            provider_id: self.message_id.clone().filter(|id| is_message_id(id)),
        })
    }
}

impl TryOf {
    fn word(&self, recipient: Option<String>, word: MailWord) -> Word {
        let report = MailReport {
            followup: self.followup,
            attempt: Some(self.attempt),
            recipient,
            provider_id: self.provider_id.clone(),
            word,
        };
        Word::Mail { workspace: self.workspace.clone(), report }
    }
}

/// `5.1.1` (RFC 3463).
fn is_status(status: &str) -> bool {
    let parts: Vec<&str> = status.split('.').collect();
    let digits = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3 && matches!(parts[0], "4" | "5") && parts.iter().all(digits)
}

/// SES's own words for it, where the server gave no status: `permanent_suppressed`.
fn code_of(kind: &str, sub_kind: &str) -> String {
    let word = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(40).collect::<String>();
    format!("{}_{}", word(kind), word(sub_kind)).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn heard(event: Value) -> Vec<(Option<String>, MailWord)> {
        let id = FollowupId(1_795_370_400_000 << 20 | 7).to_string();
        let mail = json!({
            "timestamp": "2026-11-23T07:41:20.000Z", "messageId": "0100018f-1", "source": "f@example.com",
            "destination": ["a@customer.example"],
            "tags": { "workspace": ["shop"], "followup": [id], "attempt": ["2"], "ses:source-ip": ["192.0.2.1"] },
        });
        let mut event = event;
        event["mail"] = mail;
        let words = words(&event.to_string()).expect("it has tags").into_iter();
        let told = words.map(|word| match word {
            Word::Mail { workspace, report } => {
                assert_eq!((workspace.as_str(), report.attempt), ("shop", Some(2)));
                assert_eq!(report.provider_id.as_deref(), Some("0100018f-1"));
                (report.recipient, report.word)
            }
            _ => unreachable!("SES tells of mail alone"),
        });
        told.collect()
    }

    fn bounce(kind: &str, sub_kind: &str, status: Option<&str>) -> Vec<(Option<String>, MailWord)> {
        let mut recipient = json!({ "emailAddress": "a@customer.example" });
        if let Some(status) = status {
            recipient["status"] = json!(status);
        }
        let bounce = json!({ "bounceType": kind, "bounceSubType": sub_kind, "bouncedRecipients": [recipient] });
        heard(json!({ "eventType": "Bounce", "bounce": bounce }))
    }

    fn failed(code: &str, verdict: Verdict) -> Vec<(Option<String>, MailWord)> {
        vec![(Some("a@customer.example".into()), MailWord::Failed { code: code.into(), verdict })]
    }

    /// E5, W2: recorded events, and what each says of the address.
    #[test]
    fn events_become_words() {
        let to = || Some("a@customer.example".to_owned());
        assert_eq!(bounce("Permanent", "General", Some("5.1.1")), failed("5.1.1", Verdict::Dead));
        assert_eq!(
            bounce("Permanent", "OnAccountSuppressionList", None),
            failed("permanent_onaccountsuppressionlist", Verdict::Dead)
        );
        assert_eq!(bounce("Transient", "MailboxFull", Some("4.2.2")), failed("4.2.2", Verdict::Strike));
        assert_eq!(
            bounce("Transient", "ContentRejected", None),
            failed("transient_contentrejected", Verdict::NotTheAddress)
        );
        assert_eq!(
            bounce("Undetermined", "Undetermined", None),
            failed("undetermined_undetermined", Verdict::NotTheAddress)
        );
        // Somebody's answer that they are away.
        assert_eq!(bounce("Transient", "General", None), []);
        let delivery = json!({ "recipients": ["a@customer.example"], "smtpResponse": "250 ok" });
        assert_eq!(heard(json!({ "eventType": "Delivery", "delivery": delivery })), [(to(), MailWord::Delivered)]);
        let complaint = |kind: Value| {
            let recipients = [json!({ "emailAddress": "a@customer.example" })];
            json!({ "complainedRecipients": recipients, "complaintFeedbackType": kind })
        };
        let complained = |kind| heard(json!({ "eventType": "Complaint", "complaint": complaint(kind) }));
        assert_eq!(complained(json!("abuse")), [(to(), MailWord::Complained)]);
        assert_eq!(complained(Value::Null), [(to(), MailWord::Complained)]);
        assert_eq!(complained(json!("not-spam")), []);
        assert_eq!(
            heard(json!({ "eventType": "Reject", "reject": { "reason": "Bad content" } })),
            failed("rejected", Verdict::NotTheAddress)
        );
        assert_eq!(heard(json!({ "eventType": "DeliveryDelay", "deliveryDelay": {} })), []);
        assert_eq!(heard(json!({ "eventType": "Bounce" })), []);
    }

    /// W2: what is none of our mails, or not of SES at all, says nothing.
    #[test]
    fn what_is_not_ours_says_nothing() {
        for message in [
            "",
            "Successfully validated SNS topic for Amazon SES event publishing.",
            "{}",
            r#"{"eventType":"Delivery","mail":{"tags":{}},"delivery":{"recipients":["a@b.example"]}}"#,
            r#"{"eventType":"Delivery","mail":{"tags":{"workspace":["shop"],"followup":["1"],"attempt":["1"]}},
                "delivery":{"recipients":["a@b.example"]}}"#,
        ] {
            assert_eq!(words(message).map(|words| words.len()), Ok(0), "{message}");
        }
    }

    /// E5: an identity's notifications name no mail of ours, so whoever set them up instead of a configuration set
    /// hears of it.
    #[test]
    fn e5_what_an_identity_says_is_nameless() {
        for kind in ["Bounce", "Complaint", "Delivery"] {
            let notification = json!({
                "notificationType": kind,
                "mail": {
                    "timestamp": "2026-11-23T07:41:20.000Z", "messageId": "0100018f-1", "source": "f@example.com",
                    "sourceArn": "arn:aws:ses:eu-central-1:123456789012:identity/example.com",
                    "destination": ["a@customer.example"],
                },
            });
            assert_eq!(words(&notification.to_string()).err(), Some(Nameless), "{kind}");
        }
    }
}
