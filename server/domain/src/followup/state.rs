//! What is known of one follow-up. One versioned value, stored whole in its row.

use super::outcome::Outcome;
use super::reason::{Reason, Skip};
use crate::Ms;
use crate::ids::{DeviceId, FollowupId};
use crate::text::{Form, Hop};
use crate::wallet::Hold;
use backstop_wire::{Environment, Grade, PushProvider};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The most replies that fold into one follow-up (D8); the next one starts its own.
pub const MAX_REPLIES: usize = 100;

/// What the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An answer to the customer.
    Reply,
    /// The agent started the chat (D6).
    Outreach,
}

/// Who wrote a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorKind {
    /// The company's person.
    #[default]
    Agent,
    /// A program; starts no text unless the workspace says so (D1).
    Bot,
}

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Through the company's app.
    Push,
    /// A text to the phone number.
    Text,
    /// An email.
    Email,
}

/// One agent reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The caller's id.
    #[serde(rename = "id")]
    pub message_id: String,
    /// Its number in the conversation.
    pub seq: i64,
    /// When it was accepted.
    #[serde(rename = "at")]
    pub accepted_at: Ms,
    /// Who wrote it.
    #[serde(rename = "by", default, skip_serializing_if = "is_agent")]
    pub author: AuthorKind,
    /// The agent took it back: it is shown nowhere any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub withdrawn: bool,
}

/// A follow-up: agent replies on their way to one customer outside the chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followup {
    /// Version of this shape.
    pub v: u8,
    /// What it is.
    pub kind: Kind,
    /// The replies 1…n, in order. Never empty.
    pub replies: Vec<Reply>,
    /// How many of them the customer has seen: by ack or by reading.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seen: u16,
    /// When its clock started.
    pub started_at: Ms,
    /// When it is decided at the latest.
    pub deadline_at: Ms,
    /// Where it stands.
    pub stage: Stage,
    /// One a device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushes: Vec<Push>,
    /// The text.
    pub text: Leg,
    /// The email.
    pub email: Leg,
    /// Channels the caller chose; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Vec<Channel>>,
    /// Apps the caller chose; all when absent (P1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
    /// The first counted ack after the fallback was decided (P8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ack_at: Option<Ms>,
    /// The follow-up that took over the replies after those that were acked or read (D8), and the number of the first
    /// of them as it was counted here, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<(FollowupId, u16)>,
    /// Read, taken back, cancelled or acked late: what has not left does not leave any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// When it last began its conversation's gap (D8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_at: Option<Ms>,
}

/// Where a follow-up stands. Exactly one of the last four is ever committed as its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Stage {
    /// The customer is online and has not read it (D2). Not a follow-up yet.
    Watching,
    /// Undecided: pushes are out or on their way.
    Waiting,
    /// Decided: text and email go, or wait to go.
    FallingBack {
        /// The commit of the decision.
        at: Ms,
        /// Why.
        why: Reason,
        /// Text and email wait until then (D8).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_until: Option<Ms>,
        /// What ended it while something was in flight.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Ended>,
    },
    /// A counted ack came in time.
    Acked {
        /// The commit.
        at: Ms,
        /// Whose; `None` = settled by the ack of a newer push of the conversation (P9).
        by: Option<DeviceId>,
    },
    /// A provider took a text or an email — or a late ack stopped the rest.
    FellBack {
        /// The commit of the decision to fall back.
        at: Ms,
        /// Why it fell back.
        why: Reason,
    },
    /// Read, answered or taken back before anything left.
    Cancelled {
        /// The commit.
        at: Ms,
        /// Why.
        why: Reason,
    },
    /// No channel exists, or each failed for good.
    Failed {
        /// The commit.
        at: Ms,
        /// Why.
        why: Reason,
    },
}

/// What ended a fallback before it was through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// A late ack.
    LateAck,
    /// A read, an answer, a cancel.
    Cancelled(Reason),
}

/// The push to one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Which.
    pub device: DeviceId,
    /// Carried by.
    pub via: PushProvider,
    /// How it stands.
    pub status: PushStatus,
    /// Replies that its newest version shows, counted from the first.
    pub covers: u16,
    /// Versions and tries so far.
    pub attempt: u32,
    /// When its status last changed.
    pub at: Ms,
    /// The APNs environment it goes to since the registered one refused its token (C3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Environment>,
    /// The provider's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The vendor's code for the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The acks of its receipts: replies covered, highest grade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<(u16, Grade)>,
    /// The highest of them: when the device recorded it by its own word, when it reached us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acked: Option<(Grade, Ms, Ms)>,
}

/// How a push stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushStatus {
    /// On its way to the provider; forgotten if unanswered until then.
    Claimed(Ms),
    /// The provider has it.
    Accepted,
    /// Goes again then.
    Retry(Ms),
    /// The token is dead.
    TokenGone,
    /// The customer cannot see pushes there any more.
    Unseen,
    /// The customer is not logged in there any more.
    LoggedOut,
    /// Refused for good.
    Refused,
    /// The provider takes it only after the deadline.
    Limited,
    /// It had not left when the follow-up was over.
    Stopped,
}

/// A text or email.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// How it stands.
    pub status: LegStatus,
    /// Tries so far.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub attempt: u32,
    /// One of them was accepted or may have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub left: bool,
    /// When its newest try was counted by the caps (S4); none = no try of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<Ms>,
    /// When its status last changed.
    pub at: Ms,
    /// The provider's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// The vendor's code for the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Parts of the newest try, for a text (T4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u16>,
    /// What its newest try went as, for a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// When it was first claimed this way, for a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Ms>,
    /// What could carry a text if this way fails for good, in order, as it was known at the claim (T1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Hop>,
    /// The ways of a text that were given up, oldest first, each as it stands (T2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Leg>,
    /// What was set aside for it or spent on it; given back, it is gone (S2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// For how long it was held (D10): nobody's delay, whatever the quiet hours are by now.
    #[serde(default, skip_serializing_if = "is_zero_ms")]
    pub held_ms: Ms,
}

/// How a text or email stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LegStatus {
    /// No fallback was decided.
    Idle,
    /// There is no such way out.
    Skipped(Skip),
    /// Decided; nobody has claimed it yet. Offered again at this time.
    Queued(Ms),
    /// A text that waits until then: it is quiet where the customer is (D10).
    Held(Ms),
    /// Its bytes may be leaving; the claim ends then.
    Claimed(Ms),
    /// Goes again then.
    Retry(Ms),
    /// The provider has it.
    Accepted,
    /// The provider has it, and is to say whether it arrived: it is asked, and a report is awaited (T2).
    Confirming(Inquiry),
    /// The provider reported it delivered.
    Delivered,
    /// May have left; a report is awaited until then.
    Unknown(Ms),
    /// May have left; its provider is asked, and a report is awaited.
    Asking(Inquiry),
    /// May have left; nobody will ever say.
    Unresolved,
    /// Failed for good, at once or by report.
    Failed,
    /// Stopped before it left.
    Stopped,
}

/// What is asked of a provider about a text that may have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// When it is asked next.
    pub at: Ms,
    /// How long an answer or a report is awaited.
    pub until: Ms,
    /// How often it was asked.
    #[serde(default, skip_serializing_if = "is_zero_u8")]
    pub asked: u8,
    /// The first time that it knew of no such text. One more, later, and the text has not left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<u8>,
    /// When it was claimed: it left after this, if it left.
    pub since: Ms,
    /// What the text is found by.
    pub mark: Mark,
}

/// What a text is found again by at its provider: keyed hashes, so that nothing of it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Of the number that it went to.
    pub number: u64,
    /// Of every character of it.
    pub body: u64,
}

/// `state` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicState {
    /// No provider has taken a push yet.
    Sending,
    /// A push was accepted; nobody knows whether it arrived.
    AwaitingAck,
    /// Text and email go, or wait to go.
    FallingBack,
    /// See [`Stage::Acked`].
    Acked,
    /// See [`Stage::FellBack`].
    FellBack,
    /// See [`Stage::Cancelled`].
    Cancelled,
    /// See [`Stage::Failed`].
    Failed,
}

impl PublicState {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            PublicState::Sending => "sending",
            PublicState::AwaitingAck => "awaiting_ack",
            PublicState::FallingBack => "falling_back",
            PublicState::Acked => "acked",
            PublicState::FellBack => "fell_back",
            PublicState::Cancelled => "cancelled",
            PublicState::Failed => "failed",
        }
    }

    /// Whether the outcome is committed.
    pub fn is_outcome(self) -> bool {
        matches!(self, PublicState::Acked | PublicState::FellBack | PublicState::Cancelled | PublicState::Failed)
    }
}

impl Followup {
    /// What the API shows; `None` = not a follow-up (it watches, or was read while it did).
    pub fn public_state(&self) -> Option<PublicState> {
        Some(match &self.stage {
            Stage::Watching => return None,
            Stage::Waiting if self.pushes.iter().any(Push::was_accepted) => PublicState::AwaitingAck,
            Stage::Waiting => PublicState::Sending,
            Stage::FallingBack { .. } => PublicState::FallingBack,
            Stage::Acked { .. } => PublicState::Acked,
            Stage::FellBack { .. } => PublicState::FellBack,
            // Ended while it watched: its clock never started.
            Stage::Cancelled { .. } if self.deadline_at == 0 => return None,
            Stage::Cancelled { .. } => PublicState::Cancelled,
            Stage::Failed { .. } => PublicState::Failed,
        })
    }

    /// The commit of the outcome; for a fallback, of the decision to fall back.
    pub fn decided_at(&self) -> Option<Ms> {
        match self.stage {
            Stage::Watching | Stage::Waiting => None,
            Stage::FallingBack { at, .. }
            | Stage::Acked { at, .. }
            | Stage::FellBack { at, .. }
            | Stage::Cancelled { at, .. }
            | Stage::Failed { at, .. } => Some(at),
        }
    }

    /// Why it stands where it stands.
    pub fn reason(&self) -> Option<Reason> {
        match self.stage {
            Stage::Watching => Some(Reason::CustomerOnline),
            Stage::Waiting => None,
            Stage::Acked { by, .. } => Some(if by.is_some() { Reason::Acked } else { Reason::AckedByNewer }),
            Stage::FallingBack { why, .. }
            | Stage::FellBack { why, .. }
            | Stage::Cancelled { why, .. }
            | Stage::Failed { why, .. } => Some(why),
        }
    }

    /// Whether anything can still happen to it.
    pub fn is_open(&self) -> bool {
        match self.stage {
            Stage::Watching | Stage::Waiting | Stage::FallingBack { .. } => true,
            Stage::FellBack { .. } => self.text.status.is_moving() || self.email.status.is_moving(),
            Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => false,
        }
    }

    /// How many replies it holds.
    pub fn count(&self) -> u16 {
        u16::try_from(self.replies.len()).unwrap_or(u16::MAX)
    }

    /// The leg of a channel other than push.
    pub fn leg(&self, channel: Channel) -> &Leg {
        if channel == Channel::Email { &self.email } else { &self.text }
    }

    pub(crate) fn leg_mut(&mut self, channel: Channel) -> &mut Leg {
        if channel == Channel::Email { &mut self.email } else { &mut self.text }
    }

    /// Whether money is set aside for any of it, or was spent on it (S2).
    pub fn has_hold(&self) -> bool {
        let legs = [&self.text, &self.email].into_iter().chain(&self.text.tried);
        legs.into_iter().any(|leg| leg.hold.is_some())
    }

    /// The replies the customer has not seen and that were not taken back: what a text or email shows.
    pub fn unseen(&self) -> impl Iterator<Item = &Reply> {
        self.unseen_after(self.seen)
    }

    /// The same, had the customer seen the first `k`.
    pub(crate) fn unseen_after(&self, k: u16) -> impl Iterator<Item = &Reply> {
        self.replies.iter().skip(k as usize).filter(|r| !r.withdrawn)
    }
}

impl Push {
    fn was_accepted(&self) -> bool {
        self.status == PushStatus::Accepted || self.provider_id.is_some()
    }

    /// What a follow-up of the replies after the first `k` takes over of it: that it shows some of them, or is dead.
    pub(crate) fn showing_after(&self, k: u16) -> Option<Push> {
        let dead = matches!(self.status, PushStatus::TokenGone | PushStatus::Refused);
        if self.covers <= k && !dead {
            return None;
        }
        let mut push = Push { covers: self.covers.saturating_sub(k), ..self.clone() };
        push.acks.retain(|(covers, _)| *covers > k);
        push.acks.iter_mut().for_each(|(covers, _)| *covers -= k);
        let best = push.acks.iter().map(|(_, grade)| *grade).max();
        push.acked = best.zip(self.acked).map(|(grade, (_, recorded_at, at))| (grade, recorded_at, at));
        Some(push)
    }

    /// What a provider's answer to its newest try means: a token that both APNs environments refuse is dead (C3).
    pub fn judged<'a>(&self, outcome: &'a Outcome) -> Cow<'a, Outcome> {
        match outcome {
            Outcome::WrongEnvironment { error, .. } if self.elsewhere.is_some() => {
                Cow::Owned(Outcome::TokenGone { since_ms: None, error: error.clone() })
            }
            _ => Cow::Borrowed(outcome),
        }
    }

    /// Whether an ack may still come of it that ends the wait.
    pub fn is_hopeful(&self) -> bool {
        match self.status {
            PushStatus::Claimed(_) | PushStatus::Accepted | PushStatus::Retry(_) => {
                !matches!(self.acked, Some((Grade::Suppressed, ..)))
            }
            PushStatus::TokenGone
            | PushStatus::Unseen
            | PushStatus::LoggedOut
            | PushStatus::Refused
            | PushStatus::Limited
            | PushStatus::Stopped => false,
        }
    }
}

impl Leg {
    pub(crate) fn idle(at: Ms) -> Leg {
        Leg {
            status: LegStatus::Idle,
            attempt: 0,
            left: false,
            counted_at: None,
            at,
            provider: None,
            provider_id: None,
            error: None,
            segments: None,
            form: None,
            since: None,
            then: Vec::new(),
            tried: Vec::new(),
            hold: None,
            held_ms: 0,
        }
    }

    /// Whether its bytes have begun to leave: they left, may have left, or may be leaving now.
    pub fn has_begun(&self) -> bool {
        self.left || matches!(self.status, LegStatus::Claimed(_)) || self.tried.iter().any(|tried| tried.left)
    }

    /// How it ends when it is not tried again.
    pub(crate) fn stopped(&self) -> LegStatus {
        if self.left { LegStatus::Unresolved } else { LegStatus::Stopped }
    }

    /// Whether an answer to its newest try still says something.
    pub(crate) fn awaits(&self, outcome: &Outcome) -> bool {
        let is_final = matches!(
            outcome,
            Outcome::Accepted { .. }
                | Outcome::Rejected { .. }
                | Outcome::TokenGone { .. }
                | Outcome::WrongEnvironment { .. }
        );
        match self.status {
            LegStatus::Claimed(_) => true,
            // The claim ended before the answer came.
            LegStatus::Unknown(_) | LegStatus::Asking(_) => !matches!(outcome, Outcome::Unknown { .. }),
            // Given up, or about to be repeated under the same key: a final word settles or spares that. Nor is
            // repeated what was thought not to have left, and was taken after all.
            LegStatus::Unresolved => is_final,
            LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_) => {
                is_final && (self.left || matches!(outcome, Outcome::Accepted { .. }))
            }
            _ => false,
        }
    }
}

impl LegStatus {
    /// What its provider is asked, if it is.
    pub(crate) fn inquiry(&self) -> Option<&Inquiry> {
        match self {
            LegStatus::Asking(inquiry) | LegStatus::Confirming(inquiry) => Some(inquiry),
            _ => None,
        }
    }

    pub(crate) fn inquiry_mut(&mut self) -> Option<&mut Inquiry> {
        match self {
            LegStatus::Asking(inquiry) | LegStatus::Confirming(inquiry) => Some(inquiry),
            _ => None,
        }
    }

    /// Whether there is no such way out.
    pub fn is_skipped(self) -> bool {
        matches!(self, LegStatus::Skipped(_))
    }

    /// Whether something will still happen to it by itself.
    pub fn is_moving(self) -> bool {
        match self {
            LegStatus::Queued(_)
            | LegStatus::Held(_)
            | LegStatus::Claimed(_)
            | LegStatus::Retry(_)
            | LegStatus::Unknown(_)
            | LegStatus::Asking(_)
            | LegStatus::Confirming(_) => true,
            LegStatus::Idle
            | LegStatus::Skipped(_)
            | LegStatus::Accepted
            | LegStatus::Delivered
            | LegStatus::Unresolved
            | LegStatus::Failed
            | LegStatus::Stopped => false,
        }
    }

    /// Whether it waits to be claimed.
    pub(crate) fn is_due_or_will_be(self) -> bool {
        matches!(self, LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_))
    }
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

fn is_zero_ms(ms: &Ms) -> bool {
    *ms == 0
}

fn is_zero_u8(n: &u8) -> bool {
    *n == 0
}

fn is_zero_u32(n: &u32) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !b
}

fn is_agent(a: &AuthorKind) -> bool {
    *a == AuthorKind::Agent
}
