//! What a canary tells, on both sides of each of its times.

use super::*;
use crate::canary::{DECIDED_WITHIN_MS, HANDED_OVER_WITHIN_MS, Verdict, policy, verdict};

const DUE: Ms = 30 * S;

fn flying() -> Case {
    let mut case = Case::around(&[A]);
    // Its workspace has both switches off, and nothing to leave by.
    case.policy.channels = Channels { phone_number: false, email: false, bot_text: false };
    case.policy.services =
        Services { fcm: false, apns: false, text: Vec::new(), routes: Routes::default(), email: None };
    case.policy = policy(case.policy);
    case.open(T0, reply(1, T0));
    case.push_answered(100, A, accepted());
    case
}

fn told(case: &Case, after_ms: Ms) -> Verdict {
    verdict(&case.f, T0 + after_ms)
}

/// P3: whatever its workspace has, a canary is pushed, decided at its deadline, and handed over by email alone.
#[test]
fn a_canary_goes_the_whole_way() {
    let mut case = flying();
    assert_eq!((case.pushes().len(), told(&case, DUE)), (1, Verdict::Pending));
    case.woke(DUE);
    assert_eq!((case.offers(), told(&case, DUE)), (vec![Channel::Email], Verdict::Pending));
    case.sent(DUE + 10, Channel::Email, accepted());
    assert_eq!(told(&case, DUE + 60 * S), Verdict::Well);
    assert_eq!(Verdict::Well.complaint(), None);
}

/// Invariant 2: not decided, decided late, not handed over: each is another complaint.
#[test]
fn what_is_late_is_told() {
    let case = flying();
    assert_eq!(told(&case, DUE + DECIDED_WITHIN_MS), Verdict::Pending);
    assert_eq!(told(&case, DUE + DECIDED_WITHIN_MS + 1), Verdict::Undecided);
    for (decided_at, expected) in
        [(DUE + DECIDED_WITHIN_MS, Verdict::Well), (DUE + DECIDED_WITHIN_MS + 1, Verdict::Late)]
    {
        let mut case = flying();
        case.woke(decided_at).sent(decided_at + 1, Channel::Email, accepted());
        assert_eq!(told(&case, decided_at + 1), expected);
    }
    let mut case = flying();
    case.woke(DUE);
    assert_eq!(told(&case, DUE + HANDED_OVER_WITHIN_MS), Verdict::Pending);
    assert_eq!(told(&case, DUE + HANDED_OVER_WITHIN_MS + 1), Verdict::NotHandedOver);
}

/// One that was not pushed, or that somebody acknowledged, is no canary.
#[test]
fn another_end_is_told() {
    let mut unpushed = flying();
    unpushed.devices.clear();
    unpushed.open(T0, reply(1, T0));
    assert_eq!(told(&unpushed, 0), Verdict::Astray);
    let mut acked = flying();
    acked.acked(S, A, 1, Grade::Displayed);
    assert_eq!(told(&acked, S), Verdict::Astray);
    assert!(Verdict::Astray.complaint().is_some());
}
