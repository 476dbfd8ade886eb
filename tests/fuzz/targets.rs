//! What is fuzzed: each target reads one kind of hostile bytes, and says what must hold whatever they are.

use backstop_core::PushClient;
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{Channel, Event, Facts, Followup, Found, Mark, Outcome, Policy, Reason, decide, wake};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::mail::{Thin, machine, new_text};
use backstop_domain::text::alimtalk::{Template, Values, lint, render};
use backstop_server::http::fuzzing;
use backstop_server::identity::{Claim, customer_hash, prove};
use backstop_server::mail::incoming::{EnvelopeSaid, Incoming, Kind};
use backstop_server::providers::smpp::{self, MessageIds};
use backstop_server::providers::{Call, TextQuery, apns, fcm, gateway, line, ses, solapi, twilio};
use backstop_server::settings::SettingsInput;
use backstop_server::signing::Secret;
use backstop_server::store::WorkspaceId;
use backstop_server::vault::Vault;
use backstop_server::workspace::Workspace;
use backstop_wire::time::{from_rfc3339, to_rfc3339};
use backstop_wire::{AckBatch, Alerts, Grade, PushProvider};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::LazyLock;

/// Takes any bytes; panics when something does not hold.
pub(crate) type Target = fn(&[u8]);

/// Every target by its name, which is also its directory of `corpus`.
pub(crate) const TARGETS: [(&str, Target); 25] = [
    ("ack_body", ack_body),
    ("receipt", receipt),
    ("device_header", device_header),
    ("push_payload", push_payload),
    ("customer_token", customer_token),
    ("apns_reply", apns_reply),
    ("fcm_reply", fcm_reply),
    ("twilio_reply", twilio_reply),
    ("twilio_page", twilio_page),
    ("twilio_call", twilio_call),
    ("line_reply", line_reply),
    ("line_call", line_call),
    ("gateway_reply", gateway_reply),
    ("gateway_call", gateway_call),
    ("ses_reply", ses_reply),
    ("sns_envelope", sns_envelope),
    ("smpp_receipt", smpp_receipt),
    ("solapi_reply", solapi_reply),
    ("solapi_page", solapi_page),
    ("solapi_call", solapi_call),
    ("alimtalk", alimtalk),
    ("customer", customer),
    ("mail", mail),
    ("message", message),
    ("stored_followup", stored_followup),
];

const NOW: Ms = 1_795_370_400_000;
const WORKSPACE: WorkspaceId = WorkspaceId(7);
const DEVICE: DeviceId = DeviceId(NOW << 20 | 2);
const EXPIRES_AT: Ms = NOW + 7 * 86_400_000;

/// A key that the fuzzer cannot guess its way to.
static VAULT: LazyLock<Vault> = LazyLock::new(|| Vault::new(&[0x5a; 32]));
static OURS: LazyLock<Workspace> = LazyLock::new(|| {
    let input = SettingsInput { country: Some("KR".into()), ..SettingsInput::default() };
    Workspace {
        id: WORKSPACE,
        name: "shop".into(),
        created_at: NOW,
        settings_set: None,
        settings: input.in_force(&Policy::sandbox(), true),
        policy: Policy::sandbox(),
        mail: Default::default(),
        canary: false,
        identity_secrets: vec![vec![0x0b; 32]],
        trusted_keys: vec![include_str!("../fixtures/jwt/ec-public.pem").into()],
        apps: Default::default(),
        alimtalk: Default::default(),
        activity: Default::default(),
    }
});
static TRUE_RECEIPT: LazyLock<String> =
    LazyLock::new(|| VAULT.receipt(WORKSPACE, FollowupId(NOW << 20 | 1), DEVICE, 3, EXPIRES_AT));

/// The body of `POST /v1/acks`: what is read is what is written again; a time is a time or none.
fn ack_body(data: &[u8]) {
    let Ok(batch) = serde_json::from_slice::<AckBatch>(data) else { return };
    let again = serde_json::to_vec(&batch).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<AckBatch>(&again).expect("and read again"), batch);
    for ack in &batch.acks {
        if let Some(at) = from_rfc3339(&ack.at) {
            assert_eq!(from_rfc3339(&to_rfc3339(at)), Some(at), "{}", ack.at);
        }
        let _ = VAULT.open_receipt(WORKSPACE, &ack.receipt, NOW);
    }
}

/// P11: of all texts only the true one opens. The first byte says how the rest is meant: as a text, or as changes.
fn receipt(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let truth = TRUE_RECEIPT.as_str();
    let text = if how % 2 == 0 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        let mut bytes = truth.as_bytes().to_vec();
        for change in rest.chunks_exact(2) {
            let at = usize::from(change[0]) % bytes.len();
            bytes[at] ^= change[1];
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let opened = VAULT.open_receipt(WORKSPACE, &text, NOW);
    assert_eq!(opened.is_some(), text == truth, "{text}");
    assert!(VAULT.open_receipt(WorkspaceId(8), &text, NOW).is_none(), "another workspace's");
    assert!(VAULT.open_receipt(WORKSPACE, &text, EXPIRES_AT).is_none(), "expired");
}

/// P11: a device is proven by its own key alone.
fn device_header(data: &[u8]) {
    let proven = fuzzing::device(&OURS, &VAULT, data);
    let Some(device) = proven else { return };
    let key = VAULT.device_key(WORKSPACE, device);
    let text = String::from_utf8_lossy(data);
    assert!(text.trim_end().ends_with(&format!("{device}.{key}")), "{text}");
}

/// E3: whatever a mail server hands over is read or refused, in whichever pieces it comes; what is new in it is what a
/// message may be.
fn mail(data: &[u8]) {
    let mut thin = Thin::default();
    data.chunks(7).for_each(|piece| thin.push(piece));
    let (kept, _) = thin.finish();
    let envelope = EnvelopeSaid { to: Some("reply+x@reply.example.com"), from: None };
    let Ok(read) = Incoming::read(&kept, envelope) else { return };
    let _ = machine(&read.signs(false));
    if let Kind::Letter { text } = &read.kind {
        assert!(text.chars().count() <= 10_000 && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        let _ = new_text(text);
    }
}

/// W5: a payload is ours or not; one that is carries a receipt that could be one.
fn push_payload(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(push) = PushClient::parse_push(text) {
        assert!(!push.receipt.is_empty() && push.receipt.bytes().all(|b| b.is_ascii_graphic()));
        let again = serde_json::to_string(&push).expect("what was read can be written");
        assert_eq!(PushClient::parse_push(&again), Some(push));
    }
}

/// C1: whoever does not know the workspace's secret proves nobody.
fn customer_token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let token = Claim { token: Some(text), ..Claim::default() };
    assert!(prove(&OURS, token, NOW).is_err(), "{text}");
    let (id, hash) = text.split_once('\n').unwrap_or((text, ""));
    let by_hash = Claim { customer_id: Some(id), hash: Some(hash), token: None };
    assert!(prove(&OURS, by_hash, NOW).is_err(), "{text}");
}

/// Whatever a proxy, or Apple, answers: the same, and a token is called dead or of the other environment by Apple's
/// words alone. Only an answer with an id is an acceptance.
fn apns_reply(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(2) else { return };
    let status = 100 + u16::from_le_bytes([head[0], head[1]]) % 500;
    let mut lines = rest.splitn(3, |b| *b == b'\n').map(std::str::from_utf8);
    let retry_after = lines.next().and_then(Result::ok);
    let apns_id = lines.next().and_then(Result::ok).filter(|id| !id.is_empty());
    let body = lines.next().and_then(Result::ok).unwrap_or_default().as_bytes();
    let (outcome, refuses_token) = apns::understood(status, retry_after, apns_id, body, NOW);
    if let Outcome::RetryAfter { after_ms: Some(ms), .. } = outcome {
        assert!((0..=86_400_000).contains(&ms), "{ms}");
    }
    assert!(outcome.error().is_none_or(|code| code.len() <= 200 && code.is_ascii()), "{outcome:?}");
    assert_eq!(outcome.label() == "accepted", status == 200 && apns_id.is_some(), "{status}: {outcome:?}");
    let of_token = matches!(outcome, Outcome::TokenGone { .. } | Outcome::WrongEnvironment { .. });
    let says = serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|body| body["reason"].is_string());
    assert!(!(of_token || refuses_token) || says, "{status}: {outcome:?}");
    assert!(!refuses_token || outcome.label() == "rejected", "sent again though it may have left: {outcome:?}");
    let may_have_left = matches!(outcome.label(), "accepted" | "unknown");
    assert!(!(200..300).contains(&status) || may_have_left, "{status}: {outcome:?}");
}

/// Whatever a proxy, or Google, answers: a wait is bounded, a code is a code, and 2xx is never "not sent".
fn fcm_reply(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(2) else { return };
    let status = 100 + u16::from_le_bytes([head[0], head[1]]) % 500;
    let (retry_after, body) = match rest.iter().position(|b| *b == b'\n') {
        Some(at) => (std::str::from_utf8(&rest[..at]).ok(), &rest[at + 1..]),
        None => (None, rest),
    };
    let (outcome, _) = fcm::understood(status, retry_after, body, NOW);
    if let Outcome::RetryAfter { after_ms: Some(ms), .. } = outcome {
        assert!((0..=86_400_000).contains(&ms), "{ms}");
    }
    assert!(outcome.error().is_none_or(|code| code.len() <= 200 && code.is_ascii()), "{outcome:?}");
    let refused = matches!(outcome, Outcome::Rejected { .. } | Outcome::RetryAfter { .. } | Outcome::TokenGone { .. });
    assert!(!(refused && (200..300).contains(&status)), "{status}: {outcome:?}");
}

/// Whatever answers for Twilio: a wait is bounded, a code is short, and 2xx is never "not sent, try again".
fn twilio_reply(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(2) else { return };
    let status = 100 + u16::from_le_bytes([head[0], head[1]]) % 500;
    let (retry_after, body) = match rest.iter().position(|b| *b == b'\n') {
        Some(at) => (std::str::from_utf8(&rest[..at]).ok(), &rest[at + 1..]),
        None => (None, rest),
    };
    let outcome = twilio::understood(status, retry_after, body);
    if let Outcome::RetryAfter { after_ms, .. } = &outcome {
        assert!(after_ms.is_none_or(|ms| (0..=86_400_000).contains(&ms)));
        assert!(!(200..300).contains(&status), "{status}: {outcome:?}");
    }
    assert!(outcome.error().is_none_or(|code| code.len() <= 100 && code.is_ascii()), "{outcome:?}");
}

/// A page of texts that is not one rules nothing out.
fn twilio_page(data: &[u8]) {
    let is_it = |text: &str| text == "ours";
    let query = TextQuery {
        to: "+14155550123",
        age_ms: 60_000,
        is_it: &is_it,
        provider_id: None,
        followup_id: "fu_0000000000001",
        attempt: 1,
    };
    let found = twilio::looked_up(data, Some("Sun, 22 Nov 2026 18:00:00 GMT"), &query);
    if found == Found::Absent {
        let page: serde_json::Value = serde_json::from_slice(data).expect("it was read as JSON");
        assert!(page["messages"].is_array());
    }
}

/// W2: nobody without the token makes a call of Twilio's; its own calls read, or say nothing.
fn twilio_call(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (path, body) = text.split_once('\n').unwrap_or((&text, ""));
    let url = format!("https://backstop.test{path}");
    let heard = |token, signature: Option<&str>| {
        let value = signature.and_then(|signature| HeaderValue::from_str(signature).ok());
        let headers = value.map(|value| (HeaderName::from_static("x-twilio-signature"), value)).into_iter().collect();
        twilio::heard(token, &url, &Call { path_and_query: path, headers: &headers, body: body.as_bytes() })
    };
    assert!(heard("secret", Some(path)).is_err());
    assert!(heard("secret", None).is_err());
    let signature = twilio::signature("secret", &url, body.as_bytes());
    assert!(heard("secret", Some(&signature)).is_ok());
    assert!(heard("other", Some(&signature)).is_err());
}

/// A status, and what follows it: a line of `Retry-After`, then the body.
fn reply(data: &[u8]) -> Option<(u16, Option<&str>, &[u8])> {
    let (head, rest) = data.split_at_checked(2)?;
    let status = 100 + u16::from_le_bytes([head[0], head[1]]) % 500;
    Some(match rest.iter().position(|b| *b == b'\n') {
        Some(at) => (status, std::str::from_utf8(&rest[..at]).ok(), &rest[at + 1..]),
        None => (status, None, rest),
    })
}

/// T2: whatever answers for LINE: a yes is one with an id, a wait is bounded, and 2xx is never "not sent".
fn line_reply(data: &[u8]) {
    let Some((status, retry_after, body)) = reply(data) else { return };
    for (is_push, id) in [(true, Some("id-1")), (true, None), (false, Some("id-1")), (false, None)] {
        let outcome = line::understood(is_push, status, retry_after, id, body);
        let yes = (200..300).contains(&status) || (status == 409 && is_push);
        assert_eq!(outcome.label() == "accepted", yes && id.is_some(), "{status}: {outcome:?}");
        let is_no = matches!(outcome, Outcome::Rejected { .. } | Outcome::RetryAfter { .. });
        assert!(!(is_no && (yes || status >= 500)), "{status}: {outcome:?}");
        if let Outcome::RetryAfter { after_ms: Some(ms), .. } = outcome {
            assert!((0..=86_400_000).contains(&ms), "{ms}");
        }
        assert!(outcome.error().is_none_or(|code| code.len() <= 100 && code.is_ascii()), "{outcome:?}");
    }
}

/// W2: nobody without the channel's secret makes a call of LINE's; its own calls read, or say nothing.
fn line_call(data: &[u8]) {
    const BOT: &str = "U00000000000000000000000000000b07";
    let heard = |secret, signature: &str| {
        let value = HeaderValue::from_str(signature).ok();
        let headers = value.map(|value| (HeaderName::from_static("x-line-signature"), value)).into_iter().collect();
        line::heard(secret, BOT, &Call { path_and_query: "/in/line/U", headers: &headers, body: data })
    };
    assert!(heard("secret", &String::from_utf8_lossy(data)).is_err());
    let signature = line::signature("secret", data);
    assert!(heard("secret", &signature).is_ok());
    assert!(heard("other", &signature).is_err());
}

/// T2: whatever answers for a gateway: only its own 200 says what became of a text, and no word of its is ours.
fn gateway_reply(data: &[u8]) {
    let Some((status, retry_after, body)) = reply(data) else { return };
    let outcome = gateway::understood(status, retry_after, body, NOW);
    if let Outcome::RetryAfter { after_ms: Some(ms), .. } = outcome {
        assert!((0..=86_400_000).contains(&ms), "{ms}");
    }
    assert!(outcome.error().is_none_or(|code| code.len() <= 100 && code.is_ascii()), "{outcome:?}");
    let own = ["refused", "later", "opted_out", "too_many", "http_", "unreadable_answer"];
    assert!(outcome.error().is_none_or(|code| own.iter().any(|own| code.starts_with(own))), "{outcome:?}");
    assert!(outcome.label() != "accepted" || (200..300).contains(&status), "{status}: {outcome:?}");
    assert!(status < 500 || outcome.label() == "unknown", "{status}: {outcome:?}");
}

/// W2: nobody without the secret makes a call of the gateway's; its own calls read, or name what is wrong with them.
fn gateway_call(data: &[u8]) {
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    let heard = |headers: &HeaderMap, now| {
        gateway::heard(&secret, now, &Call { path_and_query: "/in/gateway/default", headers, body: data })
    };
    let signed: HeaderMap = (secret.headers("evt-1", NOW, data).into_iter())
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)))
        .collect();
    assert_eq!(heard(&signed, NOW).map(|words| words.len()).ok(), Some(1));
    assert!(heard(&signed, NOW + 301_000).is_err(), "too old");
    let mut forged = signed;
    let bytes = HeaderValue::from_bytes(data).unwrap_or(HeaderValue::from_static("v1,"));
    forged.insert(HeaderName::from_static("webhook-signature"), bytes);
    assert!(heard(&forged, NOW).is_err());
}

/// Whatever a proxy, or AWS, answers: only an answer with an id is an acceptance, and no code quotes an address.
fn ses_reply(data: &[u8]) {
    let Some((head, rest)) = data.split_at_checked(2) else { return };
    let status = 100 + u16::from_le_bytes([head[0], head[1]]) % 500;
    let (kind, body) = match rest.iter().position(|b| *b == b'\n') {
        Some(at) => (std::str::from_utf8(&rest[..at]).ok().filter(|kind| !kind.is_empty()), &rest[at + 1..]),
        None => (None, rest),
    };
    let outcome = ses::understood(status, kind, body);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_ ".contains(&b);
    let is_code = |code: &str| code.len() <= 120 && code.bytes().all(is_plain);
    assert!(outcome.error().is_none_or(is_code), "{outcome:?}");
    let may_have_left = matches!(outcome.label(), "accepted" | "unknown");
    assert!(!(200..300).contains(&status) || may_have_left, "{status}: {outcome:?}");
}

/// W2: nobody without AWS's key makes an envelope of SNS's; what is in one reads, or says nothing.
fn sns_envelope(data: &[u8]) {
    let certificate = include_bytes!("../fixtures/sns/certificate.pem");
    assert!(!ses::is_signed(data, certificate, NOW + 30 * 86_400_000), "{}", String::from_utf8_lossy(data));
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(ses::told(text).len() <= 50);
    }
}

/// A receipt names a text by an id that is short and printable, or is none. The first byte says how ids are written and
/// whether TLVs come along.
fn smpp_receipt(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let ids = [MessageIds::AsIs, MessageIds::Hex, MessageIds::Decimal][usize::from(how % 3)];
    let (tlv, octets) = match rest.iter().position(|b| *b == 0).filter(|_| how & 0x40 != 0) {
        Some(at) => (std::str::from_utf8(&rest[..at]).ok(), &rest[at + 1..]),
        None => (None, rest),
    };
    let state = (how & 0x80 != 0).then_some(how % 16);
    let Some(receipt) = smpp::receipt(octets, tlv, state, ids) else { return };
    assert!(!receipt.id.is_empty() && receipt.id.len() <= rest.len().max(40), "{receipt:?}");
    if let smpp::State::Failed(code) = receipt.state {
        assert!(code.len() <= 30 && code.is_ascii(), "{code}");
    }
}

/// Whatever answers for Solapi: a wait is bounded, a code is short, and a 2xx that does not read is never "not sent".
fn solapi_reply(data: &[u8]) {
    let Some((status, retry_after, body)) = reply(data) else { return };
    let outcome = solapi::understood(status, retry_after, body);
    let is_read = serde_json::from_slice::<serde_json::Value>(body).is_ok();
    if let Outcome::RetryAfter { after_ms, .. } = &outcome {
        assert!(after_ms.is_none_or(|ms| (0..=86_400_000).contains(&ms)));
        assert!(!(200..300).contains(&status) || is_read, "{status}: {outcome:?}");
    }
    if let Outcome::Accepted { provider_id } = &outcome {
        assert!((200..300).contains(&status) && provider_id.as_ref().is_some_and(|id| id.len() <= 64), "{outcome:?}");
    }
    assert!(outcome.error().is_none_or(|code| code.len() <= 100 && code.is_ascii()), "{outcome:?}");
}

/// A page of texts that is not one rules nothing out.
fn solapi_page(data: &[u8]) {
    let is_it = |_: &str| true;
    let query = TextQuery {
        to: "+821012345678",
        age_ms: 60_000,
        is_it: &is_it,
        provider_id: None,
        followup_id: "fu_0000000000001",
        attempt: 1,
    };
    let found = solapi::looked_up(data, Some("Sun, 22 Nov 2026 18:00:00 GMT"), &query);
    let known = TextQuery { provider_id: Some("M4V1"), ..query };
    assert_ne!(solapi::looked_up(data, Some("Sun, 22 Nov 2026 18:00:00 GMT"), &known), Found::Absent);
    if found == Found::Absent {
        let page: serde_json::Value = serde_json::from_slice(data).expect("it was read as JSON");
        assert!(page["messageList"].is_object() || page["messageList"].is_array());
    }
}

/// W2: nobody without the secret makes a call of Solapi's; its own calls read, or say nothing.
fn solapi_call(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (given, body) = text.split_once('\n').unwrap_or((&text, ""));
    let heard = |secret, given: &str| {
        let value = HeaderValue::from_str(given).ok();
        let headers = value.map(|value| (HeaderName::from_static("x-solapi-secret"), value)).into_iter().collect();
        solapi::heard(secret, &Call { path_and_query: "/in/solapi/KEY", headers: &headers, body: body.as_bytes() })
    };
    assert!(heard("a secret of ours", given).is_err());
    assert!(heard("another secret", &solapi::proof("a secret of ours")).is_err());
    let words = heard("a secret of ours", &solapi::proof("a secret of ours"));
    assert!(words.is_ok_and(|words| words.len() <= 2_000));
}

/// T3: a template that is filled in is its own text but for its variables, and within Kakao's bounds.
fn alimtalk(data: &[u8]) {
    let Ok(template) = serde_json::from_slice::<Template>(data) else { return };
    let findings = lint(&template);
    let values = Values {
        company: "Shop",
        customer_name: Some("김하나 #{x}"),
        author: None,
        excerpt: Some("내일\n도착합니다."),
        link: Some("https://chat.example/l/AbCd0123"),
    };
    let Ok(filled) = render(&template, &values) else { return };
    assert!(filled.text.encode_utf16().count() <= 1_000);
    assert!(filled.variables.values().all(|value| !value.is_empty() && !value.contains(['\n', '\r'])));
    assert!(findings.iter().all(|found| found.code != "unclosed_variable" && found.code != "bad_variable"));
    assert!(filled.buttons.iter().all(|button| button.url.starts_with("http") && button.url.is_ascii()));
}

/// A customer's data and the settings: a number that is taken is E.164, and reads back as itself.
fn customer(data: &[u8]) {
    if let Some(input) = fuzzing::settings(data) {
        let settings = input.in_force(&Policy::sandbox(), true);
        assert!((1_000..=30_000).contains(&settings.ack_wait_ms));
    }
    let Some(phone) = fuzzing::customer_phone(&OURS, data) else { return };
    let digits = phone.strip_prefix('+').expect("E.164 begins with +");
    assert!(digits.bytes().all(|b| b.is_ascii_digit()) && digits.len() <= 17, "{phone}");
    let again = serde_json::json!({ "phone": phone }).to_string();
    assert_eq!(fuzzing::customer_phone(&OURS, again.as_bytes()), Some(phone));
}

/// The body of `POST /v1/messages`.
fn message(data: &[u8]) {
    fuzzing::message(&OURS, &VAULT, data);
}

/// A row that reads is decided on, whatever it holds, and what is decided reads again.
fn stored_followup(data: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<Followup>(data) else { return };
    let devices = [DeviceFacts {
        id: DEVICE,
        provider: PushProvider::Fcm,
        alerts: Alerts::Allowed,
        standing: Standing::Registered,
        confirmed_at: NOW,
        used_at: NOW,
        counted_acks: Vec::new(),
        app: None,
        carried: false,
    }];
    let facts = Facts {
        phone: true,
        email: true,
        time_zone: None,
        source: ContactSource::Account,
        devices: &devices,
        online_until: None,
        wrote: true,
        left_at: Some(NOW - 1_000),
        engaged_at: None,
        plan: None,
        counters: None,
        wallet: None,
        opted_out: false,
        address_marked: false,
        spare: FollowupId(9),
    };
    let _ = wake(&stored);
    for event in events() {
        let next = decide(&stored, &event, &facts, NOW, &Policy::sandbox()).next;
        let json = serde_json::to_string(&next).expect("a state can be written");
        assert_eq!(serde_json::from_str::<Followup>(&json).expect("and read again"), next, "{event:?}");
    }
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Woke,
        Event::AckedByNewer { device: DEVICE },
        Event::DeviceLost { device: DEVICE, why: Reason::TokenGone },
        Event::Seen { through_seq: 1, why: Reason::CustomerRead },
        Event::Withdrawn { seq: 1 },
        Event::Cancel(Reason::CancelledByApi),
    ];
    for grade in [Grade::Suppressed, Grade::Displayed] {
        events.push(Event::Acked { device: DEVICE, covers: 1, grade, recorded_at: NOW, detail: None });
    }
    let unknown = || Outcome::Unknown { error: "timeout".into() };
    let later = || Outcome::RetryAfter { after_ms: None, error: "busy".into() };
    let postponed = || Outcome::Postponed { after_ms: None, error: "rate_budget".into() };
    for channel in [Channel::Text, Channel::Email] {
        events.push(Event::Claiming(channel));
        for delivered in [false, true] {
            events.push(Event::Reported { channel, attempt: 1, delivered, provider_id: None, error: None });
        }
        events.push(Event::FallbackAnswered { channel, attempt: 1, outcome: unknown() });
        events.push(Event::FallbackAnswered { channel, attempt: 1, outcome: later() });
        events.push(Event::FallbackAnswered { channel, attempt: 1, outcome: postponed() });
    }
    events.push(Event::MayHaveLeft { attempt: 1, error: "timeout".into(), mark: Mark { number: 1, body: 1 } });
    for found in [Found::Absent, Found::Taken { provider_id: None }] {
        events.push(Event::Asked { attempt: 1, inquiry: 2, found });
    }
    events.push(Event::PushAnswered { device: DEVICE, attempt: 1, outcome: unknown() });
    events.push(Event::PushAnswered { device: DEVICE, attempt: 1, outcome: later() });
    events
}

/// The doors are open to what is right: else the targets would say nothing.
pub(crate) fn what_is_true_gets_through() {
    assert!(VAULT.open_receipt(WORKSPACE, &TRUE_RECEIPT, NOW).is_some());
    let header = format!("Backstop-Device {DEVICE}.{}", VAULT.device_key(WORKSPACE, DEVICE));
    assert_eq!(fuzzing::device(&OURS, &VAULT, header.as_bytes()), Some(DEVICE));
    let hash = customer_hash(&OURS.identity_secrets[0], "lucas");
    let proof = Claim { customer_id: Some("lucas"), hash: Some(&hash), token: None };
    assert_eq!(prove(&OURS, proof, NOW), Ok(Some("lucas".into())));
    assert_eq!(fuzzing::customer_phone(&OURS, br#"{"phone":"010-1234-5678"}"#).as_deref(), Some("+821012345678"));
    assert!(fuzzing::settings(include_bytes!("corpus/customer/settings.json")).is_some());
    assert!(fuzzing::message(&OURS, &VAULT, include_bytes!("corpus/message/reply.json")));
    for stored in [&include_bytes!("corpus/stored_followup/waiting.json")[..], FALLING_BACK] {
        assert!(serde_json::from_slice::<Followup>(stored).is_ok());
    }
}

const FALLING_BACK: &[u8] = include_bytes!("corpus/stored_followup/falling_back.json");
