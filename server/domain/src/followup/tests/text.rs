//! What a text would be, judged at its claim (T4, T6).

use super::*;
use crate::text::{Country, Encoding, Form, Hop, NumberKind, Sender, TextPlan, Way};

const TEXT: Channel = Channel::Text;

fn plan(sender: Sender, shows: &[i64]) -> TextPlan {
    TextPlan {
        hop: Hop { way: Way::Xms, via: "text".into() },
        then: Vec::new(),
        passed: None,
        country: Country::parse("US"),
        number: NumberKind::Ordinary,
        form: Form::Sms,
        encoding: Encoding::Gsm7,
        segments: 2,
        sender,
        shows: shows.to_vec(),
    }
}

/// T4: its parts stand in the state from its claim on.
#[test]
fn t4_the_claim_keeps_how_many_parts_it_is() {
    let mut case = Case::falling_back();
    case.claiming(1, &plan(Sender::Shared(None), &[1]));
    assert_eq!((case.sends(TEXT), case.f.text.segments), (1, Some(2)));
    let stored = serde_json::to_value(&case.f).unwrap();
    assert_eq!(serde_json::from_value::<Followup>(stored).unwrap(), case.f);
}

/// D5, D8: what was planned before a reply joined or was taken back is not claimed; what is planned anew is.
#[test]
fn t4_a_plan_that_shows_other_replies_claims_nothing() {
    let mut case = Case::falling_back();
    case.claiming(1, &plan(Sender::Shared(None), &[1, 2])).claiming(1, &plan(Sender::Shared(None), &[]));
    assert_eq!((case.sends(TEXT), case.f.text.attempt), (0, 0));
    case.claiming(2, &plan(Sender::Shared(None), &[1]));
    assert_eq!(case.sends(TEXT), 1);
}

/// T6: a number that the account does not know sends nothing; the email goes on.
#[test]
fn t6_an_unregistered_number_sends_nothing() {
    let mut case = Case::falling_back();
    case.claiming(1, &plan(Sender::Unregistered, &[1]));
    assert_eq!((case.sends(TEXT), case.f.text.status), (0, LegStatus::Skipped(Skip::SenderUnregistered)));
    case.sent(2, Channel::Email, accepted());
    assert_eq!(case.state(), Some(PublicState::FellBack));
}

/// T6: outreach needs a number of the workspace's own.
#[test]
fn t6_outreach_needs_an_own_number() {
    for (sender, status) in [
        (Sender::Shared(Some("+15005550000".into())), LegStatus::Skipped(Skip::NoSender)),
        (Sender::Own("+15005550006".into()), LegStatus::Claimed(T0 + 1 + 15_000)),
    ] {
        let mut case = Case::around(&[]);
        case.open(T0, NewReply { kind: Some(Kind::Outreach), ..reply(1, T0) });
        case.claiming(1, &plan(sender, &[1]));
        assert_eq!(case.f.text.status, status);
    }
}
