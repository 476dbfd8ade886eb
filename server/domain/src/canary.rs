//! What a canary says of the server that it went through: a follow-up whose push nobody acknowledges, so that it has to
//! be decided at its deadline and handed to the fallback.

use crate::Ms;
use crate::followup::{Channels, Followup, Policy, PublicState, Services};
use crate::text::Routes;

/// After its deadline, for the commit of the decision; later is late.
pub const DECIDED_WITHIN_MS: Ms = 2_000;
/// After its deadline, for the hand-over to a provider.
pub const HANDED_OVER_WITHIN_MS: Ms = 10_000;

/// What is known by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is due yet.
    Pending,
    /// Decided and handed over in time.
    Well,
    /// Decided, but late.
    Late,
    /// Not decided, though it is due.
    Undecided,
    /// Decided, and nothing was handed over.
    NotHandedOver,
    /// It ended as no canary ends: its push or its email had nowhere to go.
    Astray,
}

impl Verdict {
    /// What is wrong, after "the last canary …"; `None` = nothing.
    pub fn complaint(self) -> Option<&'static str> {
        match self {
            Verdict::Pending | Verdict::Well => None,
            Verdict::Late => Some("was decided too late"),
            Verdict::Undecided => Some("was not decided in time"),
            Verdict::NotHandedOver => Some("was decided and not handed over"),
            Verdict::Astray => Some("ended in another way than it has to"),
        }
    }
}

/// What holds for canaries: what holds for the workspace that they sing for, with ways out of their own.
pub fn policy(of: Policy) -> Policy {
    Policy {
        channels: Channels { phone_number: false, email: true, bot_text: false },
        services: Services {
            fcm: true,
            apns: false,
            text: Vec::new(),
            routes: Routes::default(),
            email: Some("canary".into()),
        },
        // Nobody pays for what goes to nobody.
        wallet: None,
        ..of
    }
}

/// Judges a canary as it stands at `now`.
pub fn verdict(canary: &Followup, now: Ms) -> Verdict {
    let deadline = canary.deadline_at;
    match (canary.public_state(), canary.decided_at()) {
        (Some(PublicState::Sending | PublicState::AwaitingAck), _) if now > deadline + DECIDED_WITHIN_MS => {
            Verdict::Undecided
        }
        (Some(PublicState::Sending | PublicState::AwaitingAck), _) => Verdict::Pending,
        (Some(PublicState::FallingBack | PublicState::FellBack), Some(at)) if at < deadline => Verdict::Astray,
        (Some(PublicState::FallingBack | PublicState::FellBack), Some(at)) if at > deadline + DECIDED_WITHIN_MS => {
            Verdict::Late
        }
        (Some(PublicState::FallingBack), _) if now > deadline + HANDED_OVER_WITHIN_MS => Verdict::NotHandedOver,
        (Some(PublicState::FallingBack), _) => Verdict::Pending,
        (Some(PublicState::FellBack), _) => Verdict::Well,
        (Some(PublicState::Acked | PublicState::Cancelled | PublicState::Failed) | None, _) => Verdict::Astray,
    }
}
