//! Providers that keep what they are given instead of sending it: for the sandbox, the demo, tests and the benchmark.

use super::mail::{Mail, Sender};
use super::{
    Alimtalk, Checked, Checking, EmailProvider, EmailSend, Envelope, LineMessage, Provider, PushProvider, PushSend,
    Sending, TextBody, TextProvider, TextSend, apns, fcm,
};
use crate::failpoint::{Point, hit, taken};
use backstop_domain::followup::Outcome;
use backstop_domain::text::{Form, Senders, Way};
use backstop_wire::PushProvider as PushKind;
use lettre::Address;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use utoipa::ToSchema;

/// Captured sends kept per workspace, the newest of them.
pub const MAX_PER_WORKSPACE: usize = 50_000;
/// Rules kept per workspace; the oldest goes first.
const MAX_RULES: usize = 1_000;
/// What a rate-limited attempt is told to wait.
const RATE_LIMIT_MS: i64 = 60_000;

/// What a captured send travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CapturedChannel)]
pub enum Channel {
    /// APNs and FCM.
    Push,
    /// Texts.
    Sms,
    /// Long texts of Korea.
    Lms,
    /// Kakao's Alimtalk.
    Alimtalk,
    /// LINE.
    Line,
    /// Emails.
    Email,
}

impl Channel {
    fn of(body: &TextBody) -> Channel {
        match body {
            TextBody::Xms { form: Form::Lms, .. } => Channel::Lms,
            TextBody::Xms { .. } => Channel::Sms,
            TextBody::Alimtalk(_) => Channel::Alimtalk,
            TextBody::Line(_) => Channel::Line,
        }
    }

    /// Whether what travelled by `other` is of this channel: a long text is one of the texts.
    fn holds(self, other: Channel) -> bool {
        self == other || (self, other) == (Channel::Sms, Channel::Lms)
    }

    fn name(self) -> &'static str {
        match self {
            Channel::Push => "push",
            Channel::Sms => "sms",
            Channel::Lms => "lms",
            Channel::Alimtalk => "alimtalk",
            Channel::Line => "line",
            Channel::Email => "email",
        }
    }
}

/// How a captured provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProviderBehaviour)]
pub enum Behaviour {
    /// Takes it.
    Accept,
    /// The token is dead; anything but a push is rejected.
    TokenGone,
    /// Refuses it for good.
    Reject,
    /// Never got it, and does not answer.
    Timeout,
    /// Got it, and does not answer.
    AcceptThenTimeout,
    /// Come back in 60 s.
    RateLimit,
    /// Takes it, and reports a failure afterwards.
    ReportFailed,
}

/// One send, as it would have left.
#[derive(Clone, Serialize, ToSchema)]
pub struct Captured {
    /// How.
    pub channel: Channel,
    /// Push token, E.164 number or address.
    pub to: String,
    /// `fu_…`.
    pub followup_id: String,
    /// `dev_…`, for a push.
    pub device_id: Option<String>,
    /// One row per effect key: a repeat under the same key updates `attempt` and `at`.
    pub effect_key: String,
    /// The latest attempt.
    pub attempt: u32,
    /// Push: the exact request body. Text: `{text, from}`. Email: `{from, to, envelope_from, subject,
    /// text, html, headers}`.
    pub payload: Value,
    /// RFC 3339, by the workspace's clock.
    pub at: String,
}

/// A provider's later word that what it had accepted has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The workspace's name.
    pub workspace: String,
    /// `fu_…`.
    pub followup_id: String,
    /// How.
    pub channel: Channel,
    /// Which attempt.
    pub attempt: u32,
    /// Of that attempt.
    pub effect_key: String,
    /// The vendor's code.
    pub error: String,
}

/// A push on its way to a virtual phone.
pub struct CapturedPush<'a> {
    /// Whose network carries it.
    pub kind: PushKind,
    /// The push.
    pub send: &'a PushSend,
}

impl CapturedPush<'_> {
    /// What the app on the phone is handed: APNs' user info, or FCM's data map. `None` for a push too large to send.
    pub fn received(&self) -> Option<Value> {
        match self.kind {
            PushKind::Apns => apns::body(self.send),
            PushKind::Fcm => fcm::body(self.send).map(|mut body| body["message"]["data"].take()),
        }
    }
}

type OnReport = Arc<dyn Fn(Report) + Send + Sync>;
type OnPush = Arc<dyn Fn(&CapturedPush<'_>) + Send + Sync>;

/// The captured providers of all workspaces.
pub struct Capture {
    /// `None` = counting: nothing is kept, and no payload is built.
    max_per_workspace: Option<usize>,
    sender: Sender,
    workspaces: RwLock<HashMap<String, Arc<Mutex<Workspace>>>>,
    on_report: RwLock<Vec<OnReport>>,
    on_push: RwLock<Vec<OnPush>>,
}

impl Capture {
    /// Keeps the newest `max_per_workspace` sends of each workspace.
    pub fn new(max_per_workspace: usize) -> Arc<Capture> {
        Self::build(Some(max_per_workspace.max(1)))
    }

    /// Only counts sends and tells the subscribers; for the benchmark.
    pub fn counting() -> Arc<Capture> {
        Self::build(None)
    }

    fn build(max_per_workspace: Option<usize>) -> Arc<Capture> {
        let address = Address::new("follow-up", "backstop.invalid").expect("a valid address");
        Arc::new(Capture {
            max_per_workspace,
            sender: Sender { address, name: "Backstop".into() },
            workspaces: RwLock::default(),
            on_report: RwLock::default(),
            on_push: RwLock::default(),
        })
    }

    /// The provider for devices of `kind`; what it captures is the exact request body of that network.
    pub fn push(self: &Arc<Self>, kind: PushKind) -> Arc<dyn PushProvider> {
        Arc::new(CapturePush { kind, capture: self.clone() })
    }

    /// What was captured, oldest first.
    pub fn outbox(&self, workspace: &str, channel: Option<Channel>, followup_id: Option<&str>) -> Vec<Arc<Captured>> {
        let Some(workspace) = self.existing(workspace) else { return Vec::new() };
        let workspace = lock(&workspace);
        let wanted = |row: &&Arc<Captured>| {
            channel.is_none_or(|channel| channel.holds(row.channel))
                && followup_id.is_none_or(|id| row.followup_id == id)
        };
        workspace.rows.iter().filter(wanted).cloned().collect()
    }

    /// How many sends of `channel` were taken in all, repeats included.
    pub fn count(&self, workspace: &str, channel: Channel) -> u64 {
        self.existing(workspace).map(|workspace| lock(&workspace).counts[channel as usize]).unwrap_or_default()
    }

    /// How many sends were handed over in all, whatever came of them.
    pub fn attempts(&self, workspace: &str) -> u64 {
        self.existing(workspace).map(|workspace| lock(&workspace).attempts).unwrap_or_default()
    }

    /// How sends of `channel` are answered from now on: those to `to` and `token` where given (for a push both are its
    /// token), and the next `times` of them where given. Of several rules that fit, the latest decides.
    pub fn set_behaviour(
        &self,
        workspace: &str,
        channel: Channel,
        behaviour: Behaviour,
        to: Option<String>,
        token: Option<String>,
        times: Option<u32>,
    ) {
        let workspace = self.workspace(workspace);
        let rules = &mut lock(&workspace).rules;
        let rule = Rule { channel, behaviour, to, token, left: times };
        if rule.left.is_none() {
            rules.retain(|old| !rule.hides(old));
        }
        if rules.len() >= MAX_RULES {
            rules.pop_front();
        }
        rules.push_back(rule);
    }

    /// Calls `subscriber` with each push that a phone would receive, from within the send.
    pub fn subscribe(&self, subscriber: impl Fn(&CapturedPush<'_>) + Send + Sync + 'static) {
        self.on_push.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(subscriber));
    }

    /// Calls `subscriber` with each failure report, from within the send: a report may come before the send's own
    /// answer (W2), so the subscriber queues it.
    pub fn on_report(&self, subscriber: impl Fn(Report) + Send + Sync + 'static) {
        self.on_report.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(subscriber));
    }

    /// Drops everything about `workspace`.
    pub fn forget(&self, workspace: &str) {
        self.workspaces.write().unwrap_or_else(PoisonError::into_inner).remove(workspace);
    }

    fn existing(&self, workspace: &str) -> Option<Arc<Mutex<Workspace>>> {
        self.workspaces.read().unwrap_or_else(PoisonError::into_inner).get(workspace).cloned()
    }

    fn workspace(&self, workspace: &str) -> Arc<Mutex<Workspace>> {
        self.existing(workspace).unwrap_or_else(|| {
            let mut all = self.workspaces.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(workspace.to_owned()).or_default().clone()
        })
    }

    /// Answers one send as the rules say, and keeps it if the provider got it.
    fn take(&self, send: Attempt<'_>, payload: impl FnOnce() -> Result<Value, &'static str>) -> (Outcome, bool) {
        let workspace = self.workspace(&send.envelope.workspace);
        let behaviour = lock(&workspace).behaviour(&send);
        let refusal = match behaviour {
            Behaviour::TokenGone if send.channel == Channel::Push => {
                Some(Outcome::TokenGone { since_ms: None, error: "token_gone".into() })
            }
            Behaviour::TokenGone | Behaviour::Reject => Some(Outcome::Rejected { error: "rejected".into() }),
            Behaviour::RateLimit => {
                Some(Outcome::RetryAfter { after_ms: Some(RATE_LIMIT_MS), error: "rate_limited".into() })
            }
            Behaviour::Timeout => Some(Outcome::Unknown { error: "timeout".into() }),
            Behaviour::Accept | Behaviour::AcceptThenTimeout | Behaviour::ReportFailed => None,
        };
        if let Some(refusal) = refusal {
            return (refusal, false);
        }
        let payload = match self.max_per_workspace.map(|_| payload()).transpose() {
            Ok(payload) => payload,
            Err(error) => return (Outcome::Rejected { error: error.into() }, false),
        };
        let number = lock(&workspace).keep(&send, payload, self.max_per_workspace.unwrap_or_default());
        taken(send.channel.name(), send.envelope);
        if send.channel != Channel::Push {
            hit(Point::CaptureTaken);
        }
        if behaviour == Behaviour::ReportFailed {
            self.report(&send);
        }
        match behaviour {
            Behaviour::AcceptThenTimeout => (Outcome::Unknown { error: "timeout".into() }, true),
            _ => (Outcome::Accepted { provider_id: Some(format!("captured-{number}")) }, true),
        }
    }

    fn report(&self, send: &Attempt<'_>) {
        let subscribers = self.on_report.read().unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in subscribers {
            subscriber(Report {
                workspace: send.envelope.workspace.clone(),
                followup_id: send.envelope.followup_id.clone(),
                channel: send.channel,
                attempt: send.envelope.attempt,
                effect_key: send.envelope.effect_key.clone(),
                error: "report_failed".into(),
            });
        }
    }
}

/// One attempt, whatever it carries.
struct Attempt<'a> {
    channel: Channel,
    envelope: &'a Envelope,
    to: &'a str,
    device_id: Option<&'a str>,
}

struct Rule {
    channel: Channel,
    behaviour: Behaviour,
    to: Option<String>,
    token: Option<String>,
    left: Option<u32>,
}

impl Rule {
    fn fits(&self, send: &Attempt<'_>) -> bool {
        let same = |wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| wanted == send.to);
        self.channel.holds(send.channel) && self.left != Some(0) && same(&self.to) && same(&self.token)
    }

    /// Whether `older` can never decide again once this rule stands.
    fn hides(&self, older: &Rule) -> bool {
        let covers = |mine: &Option<String>, theirs: &Option<String>| mine.is_none() || mine == theirs;
        self.channel == older.channel && covers(&self.to, &older.to) && covers(&self.token, &older.token)
    }
}

#[derive(Default)]
struct Workspace {
    rows: VecDeque<Arc<Captured>>,
    /// Effect key → number of its row, counted from the first row ever.
    numbers: HashMap<String, u64>,
    /// Rows that have left the ring.
    dropped: u64,
    /// Latest last.
    rules: VecDeque<Rule>,
    counts: [u64; 6],
    attempts: u64,
}

impl Workspace {
    fn behaviour(&mut self, send: &Attempt<'_>) -> Behaviour {
        self.attempts += 1;
        let Some(at) = self.rules.iter().rposition(|rule| rule.fits(send)) else { return Behaviour::Accept };
        let rule = &mut self.rules[at];
        let behaviour = rule.behaviour;
        if let Some(left) = &mut rule.left {
            *left -= 1;
            if *left == 0 {
                self.rules.remove(at);
            }
        }
        behaviour
    }

    /// Keeps one send, and returns its number.
    fn keep(&mut self, send: &Attempt<'_>, payload: Option<Value>, max: usize) -> u64 {
        let count = &mut self.counts[send.channel as usize];
        *count += 1;
        let Some(payload) = payload else { return *count };
        let key = &send.envelope.effect_key;
        let row = Arc::new(Captured {
            channel: send.channel,
            to: send.to.to_owned(),
            followup_id: send.envelope.followup_id.clone(),
            device_id: send.device_id.map(str::to_owned),
            effect_key: key.clone(),
            attempt: send.envelope.attempt,
            payload,
            at: backstop_wire::time::to_rfc3339(send.envelope.at_ms),
        });
        if let Some(&number) = self.numbers.get(key) {
            self.rows[(number - self.dropped) as usize] = row;
            return number;
        }
        if self.rows.len() >= max
            && let Some(oldest) = self.rows.pop_front()
        {
            self.numbers.remove(&oldest.effect_key);
            self.dropped += 1;
        }
        let number = self.dropped + self.rows.len() as u64;
        self.rows.push_back(row);
        self.numbers.insert(key.clone(), number);
        number
    }
}

/// What a panicking thread left is whole: each change is one call.
fn lock(workspace: &Mutex<Workspace>) -> MutexGuard<'_, Workspace> {
    workspace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// [`Capture`] as one of the push networks.
struct CapturePush {
    kind: PushKind,
    capture: Arc<Capture>,
}

impl Provider for CapturePush {
    fn name(&self) -> &'static str {
        "capture"
    }

    fn check(&self) -> Checking<'_> {
        captured("pushes")
    }
}

impl PushProvider for CapturePush {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        let send = Attempt {
            channel: Channel::Push,
            envelope: &push.envelope,
            to: &push.token,
            device_id: Some(&push.device_id),
        };
        let body = || match self.kind {
            PushKind::Apns => apns::body(push),
            PushKind::Fcm => fcm::body(push),
        };
        let (outcome, arrived) = self.capture.take(send, || body().ok_or("payload_too_large"));
        if arrived {
            let subscribers = self.capture.on_push.read().unwrap_or_else(PoisonError::into_inner).clone();
            for subscriber in subscribers {
                subscriber(&CapturedPush { kind: self.kind, send: push });
            }
        }
        Box::pin(std::future::ready(outcome))
    }
}

fn captured(what: &str) -> Checking<'static> {
    let message = format!("{what} are captured: nothing leaves the house");
    Box::pin(std::future::ready(Ok(Checked { message, vendor_ahead_ms: None })))
}

impl Provider for Capture {
    fn name(&self) -> &'static str {
        "capture"
    }

    fn check(&self) -> Checking<'_> {
        captured("texts and mails")
    }
}

impl TextProvider for Capture {
    fn ways(&self) -> &'static [Way] {
        &[Way::Alimtalk, Way::Line, Way::Xms]
    }

    /// So that the sandbox counts to Korea as a relay there does.
    fn is_korean(&self) -> bool {
        true
    }

    /// Like most vendors of texts, so that what a sandbox shows is what an ambiguous text really does.
    fn idempotent(&self) -> bool {
        false
    }

    /// One number, of the range that is kept for stories; it counts as everybody's own.
    fn senders(&self) -> Senders {
        Senders { shared: Some("+12025550100".into()), is_everybodys: true, ..Senders::default() }
    }

    fn send<'a>(&'a self, text: &'a TextSend) -> Sending<'a> {
        let to = match &text.body {
            TextBody::Line(LineMessage { user_id: Some(user), .. }) => user,
            _ => &text.to,
        };
        let send = Attempt { channel: Channel::of(&text.body), envelope: &text.envelope, to, device_id: None };
        let (outcome, _) = self.take(send, || Ok(said(text)));
        Box::pin(std::future::ready(outcome))
    }
}

/// What would have left.
fn said(send: &TextSend) -> Value {
    match &send.body {
        TextBody::Xms { subject: Some(subject), text, .. } => {
            json!({ "subject": subject, "text": text, "from": send.from })
        }
        TextBody::Xms { text, .. } => json!({ "text": text, "from": send.from }),
        TextBody::Alimtalk(Alimtalk { sender_profile, template_id, variables, text, buttons }) => {
            let buttons: Vec<_> = buttons.iter().map(|b| json!({ "name": b.name, "url": b.url })).collect();
            json!({
                "sender_profile": sender_profile, "template_id": template_id, "variables": variables, "text": text,
                "buttons": buttons,
            })
        }
        TextBody::Line(LineMessage { text, link, .. }) => json!({ "text": text, "link": link }),
    }
}

impl EmailProvider for Capture {
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a> {
        let send = Attempt { channel: Channel::Email, envelope: &email.envelope, to: &email.to, device_id: None };
        let (outcome, _) = self.take(send, || Mail::compose(email, &self.sender).map(|mail| mail.payload()));
        Box::pin(std::future::ready(outcome))
    }
}
