//! A line of a follow-up's history in the words of the demo; `explain` tells the same at length.

use serde_json::Value;

/// What an entry of `history` says; `None` where the entry beside it says it all.
pub(super) fn sentence(entry: &Value) -> Option<String> {
    let field = |name: &str| entry[name].as_str().unwrap_or_default();
    let (event, decision, why) = (field("event"), field("decision"), field("why"));
    let kind = event.split(':').next().unwrap_or_default();
    let text = match (kind, decision) {
        ("accepted", "push") => "Kim's reply is accepted: the push leaves, alone",
        ("push", "accepted") => "the push network took it, which proves nothing yet",
        ("push", "token_gone") => "the push network says the token is dead",
        ("ack", "acked") => "the phone acknowledges it: nothing else is ever sent",
        ("ack", "late") => "the ack comes too late: noted, the decision stands",
        ("seen" | "cancel", "cancel") => "read before anything left: text and email stay",
        ("claim", "send_text") => "text leaves",
        ("claim", "send_email") => "email leaves",
        (_, "fall_back") => return Some(format!("{}: text and email go now", because(why))),
        // The provider's acceptance of what just left.
        ("text" | "email", "accepted") => return None,
        _ => return Some(format!("{event}: {decision}")),
    };
    Some(text.to_owned())
}

fn because(why: &str) -> &str {
    match why {
        "no_ack" => "no ack in 30.000 s",
        "no_device" => "no app, nobody to push to",
        "token_gone" => "the network says its token is dead",
        "channel_off" => "it arrived and cannot be seen",
        other => other,
    }
}
