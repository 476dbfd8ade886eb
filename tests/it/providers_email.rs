//! The default email of each language, as golden files that a browser can show.

use crate::providers_support::email_send;
use backstop_server::providers::EmailProvider;
use backstop_server::providers::capture::Capture;

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

fn golden(name: &str, actual: &str) {
    let path = format!("{FOLDER}/{name}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(actual, expected, "{path}: UPDATE_GOLDEN=1 writes it anew");
}
