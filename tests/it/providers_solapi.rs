//! Solapi's provider against a strict double of it, and beside Solapi's own library.

use crate::providers_fcm_double::TestClock;
use crate::providers_support::{AT_MS, envelope, xms};
use crate::solapi_double::{KEY, Manner, OWN, PROFILE, SECRET, Solapi as Double, TEMPLATE};
use backstop_domain::followup::{Found, Outcome};
use backstop_domain::text::Form;
use backstop_server::clock::{Clock, SystemClock};
use backstop_server::providers::solapi::{Solapi, SolapiConfig};
use backstop_server::providers::{Alimtalk, Provider, TextBody, TextProvider, TextQuery, TextSend};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

const FOLLOWUP: &str = "fu_0000000000001";
const NUMBER: &str = "+821020000001";

fn client(config: &SolapiConfig, clock: &Arc<TestClock>) -> Solapi {
    Solapi::from_config(config, clock.clone()).unwrap()
}

fn send(to: &str, body: TextBody) -> TextSend {
    let envelope = envelope("shop", FOLLOWUP, &format!("{FOLLOWUP}:sms"));
    TextSend { envelope, to: to.into(), from: None, body, expires_at_ms: AT_MS + 3_600_000 }
}

fn lms(text: &str, subject: &str) -> TextBody {
    TextBody::Xms { form: Form::Lms, subject: Some(subject.into()), text: text.into() }
}

fn alimtalk(values: [&str; 3]) -> TextBody {
    let names = ["회사", "고객명", "답변"].map(str::to_owned);
    TextBody::Alimtalk(Alimtalk {
        sender_profile: PROFILE.into(),
        template_id: TEMPLATE.into(),
        variables: names.into_iter().zip(values.map(str::to_owned)).collect(),
        text: String::new(),
        buttons: Vec::new(),
    })
}

fn query<'a>(
    to: &'a str,
    provider_id: Option<&'a str>,
    is_it: &'a (dyn Fn(&str) -> bool + Send + Sync),
) -> TextQuery<'a> {
    TextQuery { to, age_ms: 1_000, is_it, provider_id, followup_id: FOLLOWUP, attempt: 1 }
}

fn in_words(outcome: &Outcome) -> String {
    format!("{} {}", outcome.label(), outcome.error().unwrap_or_default()).trim().to_owned()
}

/// T4, T5: each character arrives as it is, in the form that was decided here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_each_form_arrives_as_it_was_decided() {
    let clock = TestClock::at(AT_MS);
    let double = Double::start(clock.clone()).await;
    let solapi = client(&double.config(), &clock);
    let strange = "[바다상점] \"내일\" <42> & 'x'\\ 100% #{x}\nhttps://a.test/l/x";
    for (body, kind, text, subject) in [
        (xms(strange), "SMS", strange.to_owned(), None),
        (lms(&"가".repeat(46), "바다상점"), "LMS", "가".repeat(46), Some("바다상점")),
        (lms(&"가".repeat(46), " "), "LMS", "가".repeat(46), None),
        (
            alimtalk(["바다상점", "김&<하나>", "내일"]),
            "ATA",
            "[바다상점] 김&<하나>님, 새 답변이 도착했습니다.\n\n내일".into(),
            None,
        ),
    ] {
        let sent = solapi.send(&send(NUMBER, body)).await;
        let taken = double.texts_to("01020000001").pop().unwrap();
        assert_eq!(sent, Outcome::Accepted { provider_id: Some(taken.id.clone()) });
        assert_eq!((taken.kind.as_str(), taken.text, taken.subject.as_deref()), (kind, text, subject));
        assert_eq!(taken.custom, json!({"workspace": "shop", "followup": FOLLOWUP, "attempt": "1"}));
    }
}

/// T2, P8: the double's refusals and silences, each in our words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_each_way_of_failing_is_told_apart() {
    let clock = TestClock::at(AT_MS);
    let double = Double::start(clock.clone()).await;
    let solapi = client(&SolapiConfig { timeout_ms: 300, ..double.config() }, &clock);
    for (n, (manner, becomes)) in [
        (Manner::Take, "accepted"),
        (Manner::TakeAndSayNothing, "unknown timeout"),
        (Manner::TakeAndReset, "unknown connection_lost"),
        (Manner::TakeAndFail, "unknown http_500"),
        (Manner::LoseAndReset, "unknown connection_lost"),
        (Manner::TooMany, "retry_after too_many 429"),
        (Manner::OptedOut, "rejected opted_out"),
        (Manner::NoBalance, "retry_after no_balance 1030"),
    ]
    .into_iter()
    .enumerate()
    {
        double.manner(&format!("0102000200{n}"), manner);
        let sent = solapi.send(&send(&format!("+82102000200{n}"), xms("hello"))).await;
        assert_eq!(in_words(&sent), becomes, "{manner:?}");
    }
    let other = TextSend { from: Some("+82299999999".into()), ..send(NUMBER, xms("hello")) };
    assert_eq!(in_words(&solapi.send(&other).await), "retry_after account 1062");
    let of = |template: &str| {
        let TextBody::Alimtalk(alimtalk) = alimtalk(["a", "b", "c"]) else { unreachable!("it is one") };
        TextBody::Alimtalk(Alimtalk { template_id: template.into(), ..alimtalk })
    };
    let mut short = alimtalk(["a", "b", "c"]);
    if let TextBody::Alimtalk(alimtalk) = &mut short {
        alimtalk.variables.remove("답변");
    }
    for (body, becomes) in [
        (xms(&"가".repeat(46)), "rejected too_long 1031"),
        (xms("🎉"), "rejected characters 1029"),
        (xms("a\u{7}"), "rejected characters 1028"),
        (lms(&"가".repeat(1_001), "x"), "rejected too_long 1031"),
        (of("KA01TPOTHER"), "rejected template 1042"),
        (short, "rejected template_mismatch 1043"),
    ] {
        assert_eq!(in_words(&solapi.send(&send(NUMBER, body)).await), becomes);
    }
    assert_eq!(in_words(&solapi.send(&send("+14155550100", xms("hello"))).await), "rejected not_korean");
    assert_eq!(in_words(&solapi.send(&send("+82", xms("hello"))).await), "rejected not_korean");
    let wrong = |change: &dyn Fn(&mut SolapiConfig)| {
        let mut config = double.config();
        change(&mut config);
        client(&config, &clock)
    };
    let hello = send(NUMBER, xms("hello"));
    let secret = wrong(&|config| config.api_secret = Some("not the secret".into()));
    assert_eq!(in_words(&secret.send(&hello).await), "retry_after credentials SignatureDoesNotMatch");
    let key = wrong(&|config| config.api_key = "NCSOTHEROTHEROT1".into());
    assert_eq!(in_words(&key.send(&hello).await), "retry_after credentials InvalidAPIKey");
    let nobody = wrong(&|config| config.base_url = "http://127.0.0.1:9".into());
    assert_eq!(in_words(&nobody.send(&hello).await), "retry_after unreachable");
}

/// Our clock 15 minutes off: refused, and whoever checks the account hears that it is the clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_named() {
    let theirs = TestClock::at(AT_MS);
    let double = Double::start(theirs).await;
    for (off_ms, refused) in [(-899_000, false), (899_000, false), (-900_000, true), (900_000, true)] {
        let solapi = client(&double.config(), &TestClock::at(AT_MS + off_ms));
        let sent = in_words(&solapi.send(&send(NUMBER, xms("hello"))).await);
        assert_eq!(sent == "retry_after clock_is_off RequestTimeTooSkewed", refused, "{off_ms}: {sent}");
        let checked = solapi.check().await;
        let said = checked.as_ref().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said.contains("this server's clock is 15 min"), refused, "{off_ms}: {said}");
        assert!(checked.is_err() == refused, "{off_ms}");
    }
}

/// P8: what may have left is found by its id, or by what we named it, with its fate; a text of another is not it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_text_is_found_again() {
    let clock = TestClock::at(AT_MS);
    let double = Double::start(clock.clone()).await;
    let solapi = client(&SolapiConfig { timeout_ms: 300, ..double.config() }, &clock);
    let is_it = |_: &str| true;
    let find = |to, provider_id| {
        let (solapi, is_it) = (&solapi, &is_it);
        async move { solapi.find(&query(to, provider_id, is_it)).unwrap().await }
    };
    assert_eq!(find(NUMBER, None).await, Found::Absent);
    double.manner("01020000001", Manner::TakeAndSayNothing);
    assert_eq!(in_words(&solapi.send(&send(NUMBER, alimtalk(["a", "b", "c"]))).await), "unknown timeout");
    let taken = double.texts_to("01020000001").pop().unwrap();
    let provider_id = || Some(taken.id.clone());
    assert_eq!(find(NUMBER, None).await, Found::Taken { provider_id: provider_id() });
    double.becomes(&taken.id, "4000");
    assert_eq!(find(NUMBER, Some(&taken.id)).await, Found::Delivered { provider_id: provider_id() });
    double.becomes(&taken.id, "3107");
    let failed = Found::Failed { provider_id: provider_id(), error: "blocked".into() };
    assert_eq!((find(NUMBER, None).await, find(NUMBER, Some("G4V1")).await), (failed.clone(), failed));
    let other = TextQuery { attempt: 2, ..query(NUMBER, None, &is_it) };
    assert_eq!(solapi.find(&other).unwrap().await, Found::Absent);
    assert_eq!(
        double.asked()[2..4],
        ["messageId=".to_owned() + &taken.id + "&limit=100", "to=01020000001&limit=100".into()]
    );
}

/// Texts of every kind, as pairs of ours and the library's.
fn pairs() -> Vec<(TextSend, Value)> {
    let words = [
        "hello",
        "안녕하세요 \"미나\"",
        "a & b <c> 'd' \\ %41 &#44032;",
        "줄\n바꿈",
        "https://a.test/l/x?y=1&z=2",
        "🎉 é ﾊﾝｶｸ",
    ];
    let custom = json!({"workspace": "shop", "followup": FOLLOWUP, "attempt": "1"});
    let mut pairs = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let to = format!("+8210200030{n:02}");
        let base = json!({"to": format!("010200030{n:02}"), "from": OWN, "country": "82", "autoTypeDetect": false,
                          "customFields": custom});
        let with = |more: Value| {
            let mut message = base.clone();
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            message
        };
        pairs.push((send(&to, xms(word)), with(json!({"type": "SMS", "text": word}))));
        let long = with(json!({"type": "LMS", "text": word, "subject": "바다상점"}));
        pairs.push((send(&to, lms(word, "바다상점")), long));
        // The library puts the braces around names by itself.
        let options = json!({"pfId": PROFILE, "templateId": TEMPLATE, "disableSms": true,
                             "variables": {"회사": "바다상점", "고객명": "김하나", "#{답변}": word}});
        let template = with(json!({"type": "ATA", "kakaoOptions": options}));
        pairs.push((send(&to, alimtalk(["바다상점", "김하나", word])), template));
    }
    pairs
}

/// T3, T4: what we send is what Solapi's own library sends, and its signature passes the same judge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_those_of_solapis_own_library() {
    // The library reads the machine's.
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let double = Double::start(Arc::clone(&clock)).await;
    let solapi = Solapi::from_config(&double.config(), clock).unwrap();
    let pairs = pairs();
    for (ours, _) in &pairs {
        solapi.send(ours).await;
    }
    let ours = double.bodies();
    let mut library = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/solapi_requests.cjs"))
        .arg(crate::providers_twilio::package("solapi"))
        .args([double.url.as_str(), KEY, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
    let mut to_library = library.stdin.take().unwrap();
    let config = json!({"allowDuplicates": true, "showMessageList": true});
    for (_, theirs) in &pairs {
        writeln!(to_library, "{}", json!({"messages": [theirs], "config": config})).unwrap();
    }
    drop(to_library);
    let told = tokio::task::spawn_blocking(move || library.wait_with_output().unwrap()).await.unwrap();
    let theirs: Vec<Value> = double.bodies().split_off(ours.len());
    assert_eq!((ours.len(), theirs.len()), (pairs.len(), pairs.len()), "{}", String::from_utf8_lossy(&told.stdout));
    for (ours, mut theirs) in ours.into_iter().zip(theirs) {
        // Which library it is, and on what machine: ours says it in its User-Agent.
        theirs.as_object_mut().unwrap().remove("agent");
        assert_eq!(ours, theirs);
    }
}
