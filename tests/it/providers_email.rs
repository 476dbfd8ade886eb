//! The default email of each language, as golden files that a browser can show.

use crate::providers_support::email_send;
use backstop_server::providers::capture::Capture;
use backstop_server::providers::{Answers, Dress, EmailProvider};
use backstop_server::settings::Branding;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/providers/email");

/// E1: set `UPDATE_GOLDEN=1` to write the files anew, then look at them.
#[tokio::test]
async fn e1_the_default_email_is_as_agreed_in_every_language() {
    for locale in ["en", "ko", "ja"] {
        let capture = Capture::new(1);
        let mut email = email_send("fu_1", "hana@example.com");
        email.locale = Some(locale.into());
        EmailProvider::send(&*capture, &email).await;
        let payload = &capture.outbox("acme", None, None)[0].payload;
        let subject = payload["subject"].as_str().unwrap();
        golden(&format!("{locale}.html"), payload["html"].as_str().unwrap());
        golden(&format!("{locale}.txt"), &format!("Subject: {subject}\n\n{}", payload["text"].as_str().unwrap()));
    }
}

/// E1, E3: the same with the company's logo, colour and footer, where answers are read.
#[tokio::test]
async fn e1_branding_and_the_line_above_an_answer_are_as_agreed() {
    let capture = Capture::new(1);
    let branding = Branding {
        logo_url: Some("https://acme.example/logo.png?a=1&b=2".into()),
        color: Some("#7b2ff7".into()),
        footer: Some("(주)에이크미 <서울>\n사업자등록번호 123-45-67890".into()),
    };
    let [reply_to, bounce_to] = ["reply+x@reply.example", "bounce+x@reply.example"].map(str::to_owned);
    let answers = Answers::Here { reply_to, bounce_to };
    let mut email = email_send("fu_1", "hana@example.com");
    email.dress = Dress { branding, answers, ..Dress::default() };
    EmailProvider::send(&*capture, &email).await;
    let payload = &capture.outbox("acme", None, None)[0].payload;
    golden("branded.html", payload["html"].as_str().unwrap());
    golden("branded.txt", payload["text"].as_str().unwrap());
}

fn golden(name: &str, actual: &str) {
    let path = format!("{FOLDER}/{name}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(actual, expected, "{path}: UPDATE_GOLDEN=1 writes it anew");
}
