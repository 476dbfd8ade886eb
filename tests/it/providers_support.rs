//! What the tests of the providers send.

use backstop_domain::text::Form;
use backstop_server::providers::{Dress, EmailReply, EmailSend, Envelope, PushSend, TextBody, TextSend};
use backstop_wire::Push;

/// 2026-11-22 18:00 UTC.
pub(crate) const AT_MS: i64 = 1_795_370_400_000;

pub(crate) fn envelope(workspace: &str, followup_id: &str, effect_key: &str) -> Envelope {
    Envelope {
        workspace: workspace.into(),
        followup_id: followup_id.into(),
        effect_key: effect_key.into(),
        attempt: 1,
        at_ms: AT_MS,
    }
}

pub(crate) fn push_send(followup_id: &str, token: &str) -> PushSend {
    PushSend {
        envelope: envelope("acme", followup_id, &format!("{followup_id}/push")),
        device_id: "dev_1".into(),
        token: token.into(),
        topic: None,
        environment: None,
        push: Push {
            v: 1,
            followup_id: followup_id.into(),
            receipt: "receipt-1".into(),
            conversation_id: "conv-1".into(),
            title: "Mina".into(),
            body: "Your parcel is on its way.".into(),
            link: Some("https://acme.example/c/1".into()),
            collapse_key: "bs-conv-1".into(),
            expires_at: "2026-11-22T18:00:30.000Z".into(),
        },
        expires_at_ms: AT_MS + 30_000,
    }
}

pub(crate) fn text_send(followup_id: &str, to: &str) -> TextSend {
    TextSend {
        envelope: envelope("acme", followup_id, &format!("{followup_id}/sms/1")),
        to: to.into(),
        from: Some("+12025550100".into()),
        body: xms("Acme: Your parcel is on its way. https://acme.example/c/1"),
        expires_at_ms: AT_MS + 3_600_000,
    }
}

/// An ordinary text.
pub(crate) fn xms(text: &str) -> TextBody {
    TextBody::Xms { form: Form::Sms, subject: None, text: text.into() }
}

pub(crate) fn email_send(followup_id: &str, to: &str) -> EmailSend {
    EmailSend {
        envelope: envelope("acme", followup_id, &format!("{followup_id}/email")),
        to: to.into(),
        to_name: Some("김하나".into()),
        company: "Acme Störe".into(),
        locale: Some("ko-KR".into()),
        replies: vec![
            EmailReply { author: "Mina".into(), text: "Hello!\nI am looking.".into(), at_ms: AT_MS - 40_000 },
            EmailReply {
                author: "Mina".into(),
                text: "Your parcel <42> is on its way — \"tomorrow\".".into(),
                at_ms: AT_MS - 30_000,
            },
        ],
        link: Some("https://acme.example/c/1?a=1&b=2".into()),
        thread: "5f4dcc3b5aa765d61d8327deb882cf99".into(),
        dress: Dress::default(),
    }
}
