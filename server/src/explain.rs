//! The story of one follow-up in sentences: what happened when, what was decided and why, and where it stands (S7).

use crate::replay::{Differs, Incomplete, Replayed, Said};
use crate::store::{FollowupRow, HistoryEntry};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Followup, Kind, Leg, LegStatus, Push, PushStatus, Reason, Skip, Stage};
use backstop_domain::limits::Scope;
use backstop_domain::text::Form;
use backstop_domain::wallet::{Charge, Hold, HoldState};
use backstop_wire::time::to_rfc3339;
use backstop_wire::{Grade, PushProvider};

/// One sentence a line: what it is, each line of its history at its time since the start, where it stands, and what
/// became of each way out. Holds ids of callers, so it belongs on a screen and not in a log.
pub fn sentences(row: &FollowupRow, history: &[HistoryEntry]) -> Vec<String> {
    let followup = &row.state;
    let began = followup.replies.first().map_or(followup.started_at, |reply| reply.accepted_at);
    let mut told = vec![headline(row, began)];
    told.extend(history.iter().map(|entry| format!("{}  {}", since(began, entry.at), line(entry))));
    told.push(outcome(followup, began));
    told.extend(followup.pushes.iter().map(push));
    let legs = [(Channel::Text, &followup.text), (Channel::Email, &followup.email)];
    told.extend(followup.text.tried.iter().filter_map(|leg| leg_sentence(Channel::Text, leg)));
    told.extend(legs.into_iter().filter_map(|(channel, leg)| leg_sentence(channel, leg)));
    told
}

/// What came of making its decisions again, a sentence a line.
pub fn replay_sentences(replayed: &Replayed, settings_now: i64) -> Vec<String> {
    let decisions = |n: usize| if n == 1 { "1 decision".to_owned() } else { format!("{n} decisions") };
    let mut told = Vec::new();
    if let Some(then) = replayed.settings_then.filter(|then| *then != settings_now) {
        told.push(format!("It was decided by version {then} of the settings; now they have version {settings_now}."));
    }
    let alike = decisions(replayed.alike);
    told.push(match (&replayed.differs, replayed.incomplete) {
        (None, None) => format!("Made again by the rules and settings of now, its {alike} would all be the same."),
        (Some(_), _) => {
            format!("Made again by the rules and settings of now, {alike} would be the same before one differs.")
        }
        (None, Some(Incomplete::NotKept)) => {
            format!(
                "{alike} could be made again; what the next was made on was erased, or is older than its being kept."
            )
        }
        (None, Some(Incomplete::NotUnderstood)) => {
            format!("{alike} could be made again; what the next was made on was kept by another version.")
        }
    });
    if let Some(Differs { at, then, now }) = &replayed.differs {
        let say = |said: &Said| {
            let Said { event, decision, why } = said.clone();
            line(&HistoryEntry { at: *at, event, decision, why, inputs: None })
        };
        told.push(format!("At {} it was: {}", to_rfc3339(*at), say(then)));
        told.push(match now {
            Some(now) => format!("Now it would be: {}", say(now)),
            None => "Now nothing would come of it.".to_owned(),
        });
        told.push("What followed from there cannot be told.".to_owned());
    }
    told
}

fn headline(row: &FollowupRow, began: Ms) -> String {
    let followup = &row.state;
    let what = match (followup.kind, followup.replies.len()) {
        (Kind::Reply, 1) => "one reply".to_owned(),
        (Kind::Reply, n) => format!("{n} replies"),
        (Kind::Outreach, 1) => "one message of an agent who started the chat".to_owned(),
        (Kind::Outreach, n) => format!("{n} messages of an agent who started the chat"),
    };
    let (id, customer, conversation) = (row.id, &row.customer_id, &row.conversation_id);
    let at = to_rfc3339(began);
    format!("{id} carries {what} to customer {customer} in conversation {conversation}, accepted at {at}.")
}

fn since(began: Ms, at: Ms) -> String {
    let ms = at - began;
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}.{:03} s", ms.abs() / 1000, ms.abs() % 1000)
}

/// What one line of history says.
fn line(entry: &HistoryEntry) -> String {
    let why = serde_json::from_value(serde_json::Value::from(entry.why.as_str())).ok();
    // A provider's or device's code that was an input stands behind the event.
    let (event, detail) = match entry.event.split_once(':') {
        Some((event, detail)) => (event, Some(detail)),
        None => (entry.event.as_str(), None),
    };
    let because = why.and_then(phrase).map(|phrase| format!(": {phrase}")).unwrap_or_default();
    let code = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    let text = match (event, entry.decision.as_str()) {
        ("accepted", "push") => "The reply was accepted and a push set out.",
        ("accepted", "watch") => "The reply was accepted; the customer is online, so it is only watched.",
        ("joined", "push") => "Another reply joined it; the push that shows both takes the place of the one before.",
        ("joined", "watch") => "Another reply joined it; the customer is still online.",
        ("presence", "start") => "The customer went away without reading: the clock started and a push set out.",
        ("retry", "push_again") => "The push was sent again.",
        ("text", "next_way") => return format!("This way of the text failed for good{code}: the next one is tried."),
        ("claim", "next_way") => return format!("This way of the text was passed over{code}: the next one is tried."),
        ("report", "next_way") => "Nobody said whether it arrived: a text goes in its place, and may be a second one.",
        ("report", "unconfirmed") => "Nobody said whether it arrived; nothing follows it.",
        ("text" | "report", "delivered_before") => "An earlier way of the text was reported delivered after all.",
        ("text" | "report", "failed_before") => return format!("An earlier way of the text failed after all{code}."),
        ("text" | "report", "accepted_before") => "An earlier way of the text was taken after all.",
        ("push" | "text" | "email", answer) => return answered(event, answer, &because, &code),
        ("device", "lost") => return format!("A device can no longer show the push{because}."),
        ("ack", "acked") if why == Some(Reason::AckedByNewer) => {
            "A newer push of the conversation was acknowledged, which settles this one too."
        }
        ("ack", "acked") => "A device acknowledged the push: it was received, and nothing else is sent.",
        ("ack", "late") => {
            "A device acknowledged the push too late: the decision stands, what had not left is stopped."
        }
        ("ack", "note") => return format!("A device reported the push{code}{because}."),
        (_, "rest") => "The replies after those live on as a follow-up of their own.",
        ("seen", "cancel") => return format!("It is over{because}."),
        ("seen", "shorten") => return format!("A part of it was seen{because}: only the rest is still sent."),
        ("withdrawn", _) => "The agent took a reply back.",
        ("cancel", _) => return format!("What had not left was stopped{because}."),
        ("claim", "send_text") => return format!("The text was handed to its provider{}.", passed(detail)),
        ("claim", "send_email") => "The email was handed to its provider.",
        ("claim", "hold") if why == Some(Reason::QuietHours) => "The text waits for the end of the quiet hours.",
        ("held", "over") => "What held the text is over: it goes.",
        ("joined", "hold") => return format!("Another reply joined what waits{because}."),
        ("claim", "hold") => "Text and email wait: others of this conversation left moments ago.",
        ("claim", "skip") => return format!("A way out was skipped{code}."),
        ("claim", "unknown") => "The server was interrupted while it sent: whether it left is not known.",
        ("report", "delivered") => "The provider reported it delivered.",
        ("report", "failed") => return format!("The provider reported that it failed{code}."),
        ("report", "unresolved") => "No report came: whether it arrived will not be known.",
        (event, "fall_back") if detail == Some(Reason::QuietHours.as_str()) => {
            let occasion = occasion(event);
            return format!("{occasion}it falls back; the text waits for the end of the quiet hours{because}.");
        }
        (event, "fall_back") => return format!("{}text and email go{because}{code}.", occasion(event)),
        (event, "failed") => return format!("{}nothing else can be sent{because}{code}.", occasion(event)),
        (event, decision) => return format!("{event}: {decision}{because}{code}."),
    };
    text.to_owned()
}

/// The ways that were not taken, and why.
fn passed(words: Option<&str>) -> String {
    words.map(|words| format!(", after these ways were passed over: {words}")).unwrap_or_default()
}

/// What led to a fallback, as the beginning of its sentence.
fn occasion(event: &str) -> &'static str {
    match event {
        "accepted" | "started" => "The reply was accepted, and at once ",
        "joined" => "Another reply joined it, and at once ",
        "deadline" => "The deadline came: ",
        "ack" | "push" | "device" => "No push can be hoped for any more, so at once ",
        _ => "At once ",
    }
}

fn answered(channel: &str, answer: &str, because: &str, code: &str) -> String {
    match (channel, answer) {
        (_, "fall_back") => format!("{}text and email go{because}{code}.", occasion("push")),
        (_, "failed") => format!("{}nothing else can be sent{because}{code}.", occasion("push")),
        (_, "accepted") => format!("The {channel} provider took the {channel}; whether it arrives is not known yet."),
        (_, "token_gone") => format!("The push provider said that the token is dead{code}."),
        (_, "wrong_environment") => {
            format!("APNs does not know the token in this environment{code}: the push went to the other one at once.")
        }
        (_, "rejected") => format!("The {channel} provider refused the {channel}{code}."),
        (_, "retry_after") => format!("The {channel} provider asked to try again later{code}."),
        (_, "postponed") => format!("The {channel} did not leave yet{code}: it is tried again."),
        (_, "unknown") => format!("The {channel} provider did not answer: the {channel} may have left{code}."),
        (_, other) => format!("The {channel} provider answered {other}{code}."),
    }
}

/// Where it stands.
fn outcome(followup: &Followup, began: Ms) -> String {
    let why = followup.reason().and_then(phrase).unwrap_or("the reason was not kept");
    let after = |at: Ms| since(began, at).trim_start_matches('+').to_owned();
    let late = followup.late_ack_at.map(|at| format!(" An acknowledgement came late, after {}.", after(at)));
    let text = match &followup.stage {
        Stage::Watching => "It is watched: it starts when the customer goes away without reading.".to_owned(),
        Stage::Waiting => {
            let at = after(followup.deadline_at);
            format!("It is undecided: without an acknowledgement it falls back {at} after its start.")
        }
        Stage::FallingBack { at, .. } => format!("It has been falling back since {}: {why}.", after(*at)),
        Stage::Acked { at, .. } => format!("Outcome: acknowledged after {}; no text and no email.", after(*at)),
        Stage::FellBack { at, .. } => format!("Outcome: fell back after {}: {why}.", after(*at)),
        Stage::Cancelled { at, .. } => format!("Outcome: cancelled after {}: {why}.", after(*at)),
        Stage::Failed { at, .. } => format!("Outcome: failed after {}: {why}.", after(*at)),
    };
    text + &late.unwrap_or_default()
}

fn push(push: &Push) -> String {
    let device = push.device;
    let via = match push.via {
        PushProvider::Apns => "APNs",
        PushProvider::Fcm => "FCM",
    };
    let tries = if push.attempt > 1 { format!(", {} times", push.attempt) } else { String::new() };
    let code = push.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    let status = match (push.acked, push.status) {
        (Some((grade, ..)), _) => match grade {
            Grade::Suppressed => "arrived and could not be shown",
            Grade::Opened => "was opened",
            Grade::Displayed => "was displayed",
            Grade::Received | Grade::Unknown => "was received",
        },
        (None, PushStatus::Claimed(_)) => "is on its way to the provider",
        (None, PushStatus::Accepted) => "was taken by the provider and never acknowledged",
        (None, PushStatus::Retry(_)) => "will be tried again",
        (None, PushStatus::TokenGone) => "had a dead token",
        (None, PushStatus::Unseen) => "cannot be seen there any more",
        (None, PushStatus::LoggedOut) => "is for somebody who is not logged in there any more",
        (None, PushStatus::Refused) => "was refused",
        (None, PushStatus::Limited) => "is not taken before the deadline",
        (None, PushStatus::Stopped) => "was stopped before it left",
    };
    format!("Push to {device} by {via}{tries}: it {status}{code}.")
}

fn leg_sentence(channel: Channel, leg: &Leg) -> Option<String> {
    let name = match (channel, leg.form) {
        (Channel::Email, _) => "Email",
        (_, Some(Form::Sms)) => "SMS",
        (_, Some(Form::Lms)) => "LMS",
        (_, Some(Form::Alimtalk)) => "Alimtalk",
        (_, Some(Form::Line)) => "LINE message",
        (_, None) => "Text",
    };
    let by = leg.provider.as_ref().map(|provider| format!(" by {provider}")).unwrap_or_default();
    let code = leg.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    let status = match leg.status {
        LegStatus::Idle => return None,
        LegStatus::Skipped(skip) => return Some(format!("{name}: not sent, {}.", skipped(skip))),
        LegStatus::Queued(_) => "is waiting to be sent",
        LegStatus::Held(until) => {
            return Some(format!("{name}: it is held until {}.", to_rfc3339(until)));
        }
        LegStatus::Claimed(_) => "is on its way to the provider",
        LegStatus::Retry(_) => "will be tried again",
        LegStatus::Accepted => "was taken by the provider",
        LegStatus::Confirming(_) => "was taken by the provider, which is to say whether it arrived",
        LegStatus::Delivered => "was delivered",
        LegStatus::Unknown(_) => "may have left; a report is awaited",
        LegStatus::Asking(_) => "may have left; the provider is asked for it",
        LegStatus::Unresolved => "may have left; nobody will ever say",
        LegStatus::Failed => "failed for good",
        LegStatus::Stopped => "was stopped before it left",
    };
    let paid = leg
        .hold
        .as_ref()
        .filter(|hold| hold.charge.micros > 0)
        .map(|hold| format!(" {}", cost(hold)))
        .unwrap_or_default();
    Some(format!("{name}{by}: it {status}{code}.{paid}"))
}

/// S2: what it cost, or is held for it.
fn cost(hold: &Hold) -> String {
    let Charge { kind, country, parts, micros, .. } = &hold.charge;
    let to = country.map(|country| format!(" to {country}")).unwrap_or_default();
    let parts = if *parts == 1 { "one part".to_owned() } else { format!("{parts} parts") };
    let price = format!("{} {}", amount(*micros), hold.currency);
    let what = format!("for {parts} of {}{to}", kind.as_str());
    match hold.state {
        HoldState::Held => format!("{price} {what} is set aside until its provider says what became of it."),
        HoldState::Captured => format!("It cost {price} {what}."),
    }
}

/// Millionths as a decimal fraction, without zeros at its end.
fn amount(micros: i64) -> String {
    let fraction = format!("{:06}", micros.unsigned_abs() % 1_000_000);
    let sign = if micros < 0 { "-" } else { "" };
    format!("{sign}{}.{}", micros.unsigned_abs() / 1_000_000, fraction.trim_end_matches('0'))
        .trim_end_matches('.')
        .to_owned()
}

fn skipped(skip: Skip) -> &'static str {
    match skip {
        Skip::SwitchedOff => "the workspace has it switched off",
        Skip::NoContact => "no number or address is known",
        Skip::NotChosen => "the caller chose other channels",
        Skip::BotAuthor => "only bots replied",
        Skip::Purpose => "the contact data serves only answers",
        Skip::NoProvider => "no provider is configured",
        Skip::TooOld => "it was too late for a text",
        Skip::NoSender => "a chat that the company begins needs a number of its own to come from",
        Skip::SenderUnregistered => "the number that it would come from is not one of the account's",
        Skip::Capped(Scope::Number) => "as many texts as may left to this number already",
        Skip::Capped(Scope::Prefix) => "as many texts as may left to numbers like this one already",
        Skip::Capped(Scope::Customer) => "as many texts as may left to this customer already",
        Skip::Capped(Scope::Conversation) => "as many texts as may left in this conversation already",
        Skip::Capped(Scope::Workspace) => "as many texts as may left from this workspace already",
        Skip::CountryOff => "texts to the country of this number are switched off",
        Skip::PriceTooHigh => "it would cost more than the workspace pays for a text",
        Skip::NoBalance => "there was too little money in the wallet for it",
        Skip::PriceUnknown => "what it costs is not known, and it has to be",
        Skip::PremiumNumber => "its number is one whose owner is paid for what is sent there",
        Skip::UnassignedNumber => "nobody can have its number",
        Skip::OptedOut => "the number opted out of texts",
        Skip::AddressMarked => "mail to the address came back, or its owner called it spam",
    }
}

/// A reason as the end of a sentence; `None` where the line itself says it all.
fn phrase(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::NoAck => "no device acknowledged the push in time",
        Reason::AckLate => "the acknowledgement came too late",
        Reason::Acked => "a device acknowledged the push",
        Reason::AckedByNewer => "a newer push of the conversation was acknowledged",
        Reason::GradeTooLow => "the push arrived, but not as far as the workspace asks",
        Reason::DeviceUnattended => "the push arrived on a device that nobody has looked at for long",
        Reason::Suppressed => "the push arrived and cannot be seen",
        Reason::AlertsDenied => "notifications are denied on every device",
        Reason::ChannelOff => "the notification channel is switched off on the device",
        Reason::TokenGone => "the push token is dead",
        Reason::PushRefused => "the provider refused the push",
        Reason::RateLimited => "the provider takes no push before the deadline",
        Reason::NoDevice => "the customer has no device with the app",
        Reason::NoPushCredentials => "neither its app nor the deployment has push credentials for the device",
        Reason::PushNotChosen => "the caller chose channels without push",
        Reason::Outreach => "the agent started the chat, so no push is sent",
        Reason::NoFallbackRoute => "no text or email can leave",
        Reason::AllFailed => "each channel failed for good",
        Reason::CustomerOnline => "the customer is online",
        Reason::CustomerLeft => "the customer went away without reading",
        Reason::CustomerRead => "the customer read it",
        Reason::CustomerWrote => "the customer wrote back",
        Reason::CancelledByApi => "the caller cancelled it",
        Reason::MessageDeleted => "the agent took it back",
        Reason::CustomerErased => "the customer was erased",
        Reason::RepeatGap => "a text or email of the conversation left moments ago",
        Reason::QuietHours => "it is quiet where the customer is",
        Reason::Overdue => "it is too late for a text",
        Reason::ChannelUnavailable => "the channel cannot be used",
        Reason::WayFailed => "that way of the text failed for good",
        Reason::WayUnknown => "nobody said in time whether it arrived",
        Reason::LiveDevice => "a device can show the push",
        Reason::Nothing => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::WorkspaceId;
    use backstop_domain::customer::ContactSource;
    use backstop_domain::device::{DeviceFacts, Standing};
    use backstop_domain::followup::{
        AuthorKind, Decision, Event, Facts, NewReply, Note, Outcome, Policy, Reply, decide, open,
    };
    use backstop_domain::ids::{DeviceId, FollowupId};
    use backstop_domain::quiet::QuietHours;
    use backstop_wire::Alerts;

    const START: Ms = 1_700_000_000_000;
    const DEVICE: DeviceId = DeviceId(7);

    /// A follow-up that the rules themselves moved on, with the history they wrote.
    struct Story {
        state: Followup,
        history: Vec<HistoryEntry>,
        devices: Vec<DeviceFacts>,
        policy: Policy,
    }

    fn device() -> DeviceFacts {
        DeviceFacts {
            id: DEVICE,
            provider: PushProvider::Fcm,
            alerts: Alerts::Allowed,
            standing: Standing::Registered,
            confirmed_at: START,
            used_at: START,
            counted_acks: Vec::new(),
            app: None,
            carried: false,
        }
    }

    fn facts(devices: &[DeviceFacts]) -> Facts<'_> {
        Facts {
            phone: true,
            email: true,
            time_zone: None,
            source: ContactSource::Account,
            devices,
            online_until: None,
            wrote: true,
            left_at: None,
            engaged_at: None,
            plan: None,
            counters: None,
            wallet: None,
            opted_out: false,
            address_marked: false,
            spare: FollowupId(2),
        }
    }

    fn entry(note: &Note, at: Ms) -> HistoryEntry {
        let detail = note.detail.as_ref().map(|detail| format!(":{detail}")).unwrap_or_default();
        let why = if note.why == Reason::Nothing { "" } else { note.why.as_str() };
        let event = format!("{}{detail}", note.event);
        HistoryEntry { at, event, decision: note.decision.into(), why: why.into(), inputs: None }
    }

    impl Story {
        fn begin(devices: Vec<DeviceFacts>) -> Story {
            let policy = Policy::sandbox();
            let author = AuthorKind::Agent;
            let reply = Reply { message_id: "m-1".into(), seq: 1, accepted_at: START, author, withdrawn: false };
            let opened =
                open(NewReply { kind: None, reply, chosen: None, apps: None }, &facts(&devices), START, &policy);
            let mut story = Story { state: opened.decision.next.clone(), history: Vec::new(), devices, policy };
            story.keep(opened.decision, START);
            story
        }

        fn then(&mut self, after: Ms, event: Event) -> &mut Story {
            let decision = decide(&self.state, &event, &facts(&self.devices), START + after, &self.policy);
            self.keep(decision, START + after);
            self
        }

        fn keep(&mut self, decision: Decision, at: Ms) {
            self.history.extend(decision.note.iter().map(|note| entry(note, at)));
            self.state = decision.next;
        }

        fn told(&self) -> Vec<String> {
            let row = FollowupRow {
                workspace: WorkspaceId(1),
                id: FollowupId(1),
                customer_id: "ada".into(),
                conversation_id: "c-1".into(),
                version: 1,
                state: self.state.clone(),
                wake: None,
            };
            sentences(&row, &self.history)
        }
    }

    const HEADLINE: &str = "fu_0000000000001 carries one reply to customer ada in conversation c-1, accepted at \
                            2023-11-14T22:13:20.000Z.";

    fn accepted() -> Outcome {
        Outcome::Accepted { provider_id: None }
    }

    /// S7: acknowledged.
    #[test]
    fn an_acked_one_says_who_saw_it() {
        let mut story = Story::begin(vec![device()]);
        story.then(120, Event::PushAnswered { device: DEVICE, attempt: 1, outcome: accepted() });
        let ack = Event::Acked { device: DEVICE, covers: 1, grade: Grade::Displayed, recorded_at: START, detail: None };
        story.then(1_450, ack);
        let expected = [
            HEADLINE,
            "+0.000 s  The reply was accepted and a push set out.",
            "+0.120 s  The push provider took the push; whether it arrives is not known yet.",
            "+1.450 s  A device acknowledged the push: it was received, and nothing else is sent.",
            "Outcome: acknowledged after 1.450 s; no text and no email.",
            "Push to dev_0000000000007 by FCM: it was displayed.",
        ];
        assert_eq!(story.told(), expected);
    }

    /// S7, P3: silence.
    #[test]
    fn a_silent_one_says_what_left_instead() {
        let mut story = Story::begin(vec![device()]);
        story.then(120, Event::PushAnswered { device: DEVICE, attempt: 1, outcome: accepted() });
        story.then(30_000, Event::Woke);
        story.then(30_001, Event::Claiming(Channel::Text)).then(30_002, Event::Claiming(Channel::Email));
        story.then(30_100, Event::FallbackAnswered { channel: Channel::Text, attempt: 1, outcome: accepted() });
        let refused = Outcome::Rejected { error: "550".into() };
        story.then(30_200, Event::FallbackAnswered { channel: Channel::Email, attempt: 1, outcome: refused });
        let expected = [
            HEADLINE,
            "+0.000 s  The reply was accepted and a push set out.",
            "+0.120 s  The push provider took the push; whether it arrives is not known yet.",
            "+30.000 s  The deadline came: text and email go: no device acknowledged the push in time.",
            "+30.001 s  The text was handed to its provider.",
            "+30.002 s  The email was handed to its provider.",
            "+30.100 s  The text provider took the text; whether it arrives is not known yet.",
            "+30.200 s  The email provider refused the email (550).",
            "Outcome: fell back after 30.000 s: no device acknowledged the push in time.",
            "Push to dev_0000000000007 by FCM: it was taken by the provider and never acknowledged.",
            "Text by capture: it was taken by the provider.",
            "Email by capture: it failed for good (550).",
        ];
        assert_eq!(story.told(), expected);
    }

    /// S7, D10: the text waits for the morning, and says so.
    #[test]
    fn a_held_text_says_until_when() {
        let mut story = Story::begin(vec![device()]);
        // 07:13 in Seoul.
        let (start_minute, end_minute) = (21 * 60, 8 * 60);
        story.policy.quiet = Some(QuietHours { start_minute, end_minute, time_zone: "Asia/Seoul".into() });
        story.then(30_000, Event::Woke);
        let told = story.told();
        let expected = "+30.000 s  The deadline came: it falls back; the text waits for the end of the quiet hours: no \
                        device acknowledged the push in time.";
        assert_eq!(told[2], expected);
        assert_eq!(told[5], "Text: it is held until 2023-11-14T23:00:00.000Z.");
        story.then(2_800_000, Event::Woke);
        assert_eq!(story.told()[3], "+2800.000 s  What held the text is over: it goes.");
    }

    /// S7, P4, P5: nobody to wait for.
    #[test]
    fn a_hopeless_one_says_why_it_did_not_wait() {
        let told = Story::begin(Vec::new()).told();
        let expected = "+0.000 s  The reply was accepted, and at once text and email go: the customer has no device \
                        with the app.";
        assert_eq!(told[1], expected);
        assert_eq!(told[2], "It has been falling back since 0.000 s: the customer has no device with the app.");
        assert_eq!(told[3..], ["Text: it is waiting to be sent.", "Email: it is waiting to be sent."]);
        let mut story = Story::begin(vec![device()]);
        let gone = Outcome::TokenGone { since_ms: None, error: "UNREGISTERED".into() };
        story.then(90, Event::PushAnswered { device: DEVICE, attempt: 1, outcome: gone });
        let told = story.told();
        let expected = "+0.090 s  No push can be hoped for any more, so at once text and email go: the push token is \
                        dead.";
        assert_eq!(told[2], expected);
        assert!(told.contains(&"Push to dev_0000000000007 by FCM: it had a dead token (UNREGISTERED).".to_owned()));
    }

    /// S7, D5: read.
    #[test]
    fn a_read_one_says_so() {
        let mut story = Story::begin(vec![device()]);
        story.then(5_000, Event::Seen { through_seq: 1, why: Reason::CustomerRead });
        let told = story.told();
        assert_eq!(told[2], "+5.000 s  What had not left was stopped: the customer read it.");
        assert_eq!(told[3], "Outcome: cancelled after 5.000 s: the customer read it.");
    }
}
