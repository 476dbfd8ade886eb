//! LINE's provider against a strict double, and beside LINE's own library.

use crate::http_support::Rig;
use crate::line_double::{BOT, Line as Double, MUTE_USER, NUMBER, SECRET, Sent, USER, call};
use crate::providers_support::{AT_MS, envelope};
use axum::body::Body;
use axum::http::Request;
use backstop_domain::followup::Outcome;
use backstop_server::providers::capture::Channel;
use backstop_server::providers::line::{Line, LineConfig, heard};
use backstop_server::providers::{
    Call, Callbacks, LineMessage, Provider, Providers, TextBody, TextProvider, TextSend, Word,
};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tower::ServiceExt as _;

const FOLLOWUP: &str = "fu_1h3qkrv000000";

/// What tests/run installs.
pub(crate) fn package(name: &str) -> PathBuf {
    let modules = std::env::var_os("BACKSTOP_NODE_MODULES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/node/node_modules")),
        PathBuf::from,
    );
    let package = modules.join(name);
    assert!(package.is_dir(), "{}: tests/run installs it", package.display());
    package
}

fn text(user: Option<&str>, to: &str) -> TextSend {
    TextSend {
        envelope: envelope("acme", FOLLOWUP, &format!("{FOLLOWUP}:sms")),
        to: to.into(),
        from: None,
        body: TextBody::Line(LineMessage {
            user_id: user.map(str::to_owned),
            text: "[Acme]\nMina: お届けは明日です 📦".into(),
            link: Some("https://acme.example/l/1".into()),
            label: "Answer".into(),
        }),
        expires_at_ms: AT_MS + 3_600_000,
    }
}

fn client(config: &LineConfig) -> Line {
    Line::from_config(config, Some("https://backstop.test/")).unwrap()
}

fn in_words(outcome: &Outcome) -> String {
    format!("{} {}", outcome.label(), outcome.error().unwrap_or_default()).trim().to_owned()
}

/// T1, T2: one effect reaches a user once, however often it is sent; what LINE refuses is definite.
#[tokio::test]
async fn t2_a_retry_key_is_one_text() {
    let double = Double::start().await;
    let line = client(&double.config());
    let first = line.send(&text(Some(USER), "")).await;
    assert!(matches!(&first, Outcome::Accepted { provider_id: Some(_) }), "{first:?}");
    assert_eq!(line.send(&text(Some(USER), "")).await, first, "409 is the first answer again");
    assert_eq!((double.taken().len(), double.asked().len()), (1, 2));
    // Taken, and the answer lost: the repeat under the key finds out.
    let mut mute = text(Some(MUTE_USER), "");
    mute.envelope.effect_key = "to-the-mute".into();
    assert_eq!(in_words(&line.send(&mute).await), "unknown timeout");
    assert_eq!(in_words(&line.send(&mute).await), "accepted");
    assert_eq!(double.taken().len(), 2);
    assert_eq!(in_words(&line.send(&text(None, NUMBER)).await), "rejected no_recipient");
    let mut nobody = text(Some("U123"), "");
    nobody.envelope.effect_key = "another".into();
    assert_eq!(in_words(&line.send(&nobody).await), "rejected bad_recipient 400");
    let wrong = LineConfig { channel_access_token: Some("other".into()), ..double.config() };
    assert_eq!(in_words(&client(&wrong).send(&text(Some(USER), "")).await), "rejected http_401");
    let away = LineConfig { base_url: "http://127.0.0.1:9".into(), ..double.config() };
    assert_eq!(in_words(&client(&away).send(&text(Some(USER), "")).await), "retry_after unreachable");
    double.use_up();
    assert_eq!(in_words(&line.send(&nobody).await), "rejected monthly_limit");
}

/// T2: by number there is no retry key, but a tag by which LINE says that it arrived.
#[tokio::test]
async fn t2_a_number_is_told_by_its_hash_and_confirmed_by_its_tag() {
    let double = Double::start().await;
    let line = client(&double.config()).notification();
    assert!(line.confirms() && !line.idempotent());
    assert_eq!(in_words(&line.send(&text(None, NUMBER)).await), "accepted");
    assert_eq!(in_words(&line.send(&text(None, "+818000001235")).await), "rejected no_line_user 422");
    assert_eq!(in_words(&line.send(&text(None, "")).await), "rejected no_recipient");
    let sent = double.taken().remove(0);
    assert!(sent.key.is_none() && !sent.body.to_string().contains(NUMBER), "{sent:?}");
    let tag = sent.tag.unwrap();
    let (body, signature) = call(&json!([{ "type": "delivery", "delivery": { "data": tag } }]));
    let headers = [("x-line-signature".parse().unwrap(), signature.parse().unwrap())].into_iter().collect();
    let words = heard(SECRET, BOT, &Call { path_and_query: "/", headers: &headers, body: body.as_bytes() }).unwrap();
    let [Word::Report(report)] = &words[..] else { panic!("no report") };
    let named = (report.workspace.as_str(), report.followup.to_string(), report.attempt);
    assert_eq!(named, ("acme", FOLLOWUP.to_owned(), 1));
}

/// P12: a probe tells whose token it is, and where the webhook leads, without a text to anybody.
#[tokio::test]
async fn p12_a_probe_asks_without_a_text() {
    let double = Double::start().await;
    let says = async |config: &LineConfig| match client(config).check().await {
        Ok(checked) => checked.message,
        Err(error) => error.to_string(),
    };
    let lost = says(&double.config()).await;
    assert!(lost.contains(&format!("https://backstop.test/in/line/{BOT}")), "{lost}");
    double.set_webhook(&format!("https://backstop.test/in/line/{BOT}"));
    assert_eq!(says(&double.config()).await, "LINE takes the account, and its webhook leads here");
    let wrong = LineConfig { channel_access_token: Some("other".into()), ..double.config() };
    assert!(says(&wrong).await.contains("channel_access_token"));
    let other = LineConfig { bot_user_id: USER.into(), ..double.config() };
    assert!(says(&other).await.contains("another LINE account"));
    assert!(double.taken().is_empty());
}

/// T1, W2: LINE's own library sends the same requests, and takes our signatures; it refuses what we refuse.
#[tokio::test]
async fn w2_requests_and_signatures_are_those_of_lines_own_library() {
    let (ours, theirs) = (Double::start().await, Double::start().await);
    let line = client(&ours.config());
    line.send(&text(Some(USER), "")).await;
    line.notification().send(&text(None, NUMBER)).await;
    let [push, notify] = &ours.taken()[..] else { panic!("two were taken") };
    let mut asked =
        vec![json!({ "push": push.body, "key": push.key }), json!({ "notify": notify.body, "tag": notify.tag })];
    let mut expected = vec![Value::Null, Value::Null];
    for n in 0..500 {
        let text = format!("{} 🙏 {}", "안녕\u{0}\"".repeat(n % 7), n);
        let (body, right) = call(&json!([{ "type": "message", "text": text }]));
        let signature = if n % 3 == 0 { format!("{}A{}", &right[..n % 40], &right[n % 40 + 1..]) } else { right };
        let headers = [("x-line-signature".parse().unwrap(), signature.parse().unwrap())].into_iter().collect();
        let heard = heard(SECRET, BOT, &Call { path_and_query: "/", headers: &headers, body: body.as_bytes() });
        expected.push(json!(heard.is_ok()));
        asked.push(json!({ "body": body, "secret": SECRET, "signature": signature }));
    }
    assert!(expected.contains(&json!(false)) && expected.contains(&json!(true)));
    let url = theirs.url.clone();
    let said = tokio::task::spawn_blocking(move || library(&url, &asked)).await.unwrap();
    assert_eq!(said, expected);
    let sent = |double: &Double| -> Vec<Sent> { double.taken() };
    assert_eq!(sent(&theirs).len(), 2, "the double takes the library's token");
    for (mine, other) in sent(&ours).into_iter().zip(sent(&theirs)) {
        assert_eq!(mine, other);
    }
}

/// Asks LINE's library; its answers in order.
fn library(url: &str, asked: &[Value]) -> Vec<Value> {
    let mut library = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/line_client.mjs"))
        .arg(package("@line/bot-sdk"))
        .arg(url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
    let mut to_library = library.stdin.take().unwrap();
    let lines: String = asked.iter().map(|case| format!("{case}\n")).collect();
    let asking = std::thread::spawn(move || to_library.write_all(lines.as_bytes()).unwrap());
    let said = library.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(said.status.success());
    String::from_utf8(said.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["right"].clone())
        .collect()
}

/// T1, T2, T7: LINE goes first; who unfollows the account is told by SMS, until they follow it again; their number is
/// no other way's matter.
#[tokio::test]
async fn t7_a_block_of_line_ends_that_way_alone() {
    let double = Double::start().await;
    let callbacks: Vec<Arc<dyn Callbacks>> = vec![Arc::new(client(&double.config()))];
    let rig = Rig::with_providers(|captured| Providers { callbacks, ..captured });
    let shop = rig.shop("acme").await;
    let settings = json!({ "phone_number": true, "sns": ["line"], "country": "JP" });
    rig.put(&shop, "/v1/settings", settings).await.expect(200);
    let customer = json!({ "phone": "+818012345678", "line_user_id": USER, "locale": "ja" });
    rig.put(&shop, "/v1/customers/hana", customer).await.expect(200);
    let reply = async |n: u32| {
        let body = json!({
            "message_id": format!("m{n}"), "conversation_id": format!("chat-{n}"), "customer_id": "hana",
            "kind": "reply", "author": { "name": "Mina" }, "text": "明日届きます", "channels": ["text"],
        });
        rig.post(&shop, "/v1/messages", body).await.expect(202);
        rig.settled(&shop).await;
        let count = |channel| rig.capture.outbox(&shop.name, Some(channel), None).len();
        (count(Channel::Line), count(Channel::Sms))
    };
    let tell = async |events: Value, signature: Option<&str>| {
        let (body, right) = call(&events);
        let request = Request::post(format!("/in/line/{BOT}")).header("content-type", "application/json");
        let request = request.header("x-line-signature", signature.unwrap_or(&right)).body(Body::from(body)).unwrap();
        rig.router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    let about = |kind: &str| json!([{ "type": kind, "source": { "type": "user", "userId": USER } }]);
    assert_eq!(reply(1).await, (1, 0));
    assert_eq!(tell(about("unfollow"), Some("forged")).await, 403);
    assert_eq!(reply(2).await, (2, 0));
    assert_eq!(tell(json!([]), None).await, 200, "the console's test of the webhook");
    assert_eq!((tell(about("unfollow"), None).await, tell(about("unfollow"), None).await), (200, 200));
    assert_eq!(reply(3).await, (2, 1));
    assert_eq!(tell(about("follow"), None).await, 200);
    assert_eq!(reply(4).await, (3, 1));
    let sent = rig.capture.outbox(&shop.name, Some(Channel::Line), None).pop().unwrap();
    assert_eq!((sent.to.as_str(), sent.payload["text"].as_str()), (USER, Some("[acme]\nMina: 明日届きます")));
    let stop = json!([{ "type": "message", "source": { "type": "user", "userId": USER },
                        "message": { "id": "1", "type": "text", "text": "配信停止" } }]);
    assert_eq!(tell(stop, None).await, 200);
    assert_eq!(reply(5).await, (3, 1), "an opt-out in a word of the country is one of all texts");
}
