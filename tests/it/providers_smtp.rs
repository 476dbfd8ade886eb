//! Email over the real protocol, against a mail server that others wrote and read by another's parser.

use crate::providers_smtp_double::{MailServer, PASSWORD};
use crate::providers_support::email_send;
use backstop_domain::followup::Outcome;
use backstop_server::providers::EmailProvider;
use backstop_server::providers::capture::Capture;
use backstop_server::providers::smtp::{Smtp, SmtpConfig, SmtpTls};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

async fn send(smtp: &Smtp, to: &str) -> Outcome {
    smtp.send(&email_send("fu_1", to)).await
}

fn retry(error: &str) -> Outcome {
    Outcome::RetryAfter { after_ms: None, error: error.into() }
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

/// E1, E4: encrypted, logged in, in the customer's language, well-formed to a foreign parser, and marked as automatic.
#[tokio::test]
async fn e1_e4_a_mail_arrives_as_it_was_meant() {
    let mut server = MailServer::start(SmtpTls::Required).await;
    let smtp = server.client();
    let Outcome::Accepted { provider_id: Some(message_id) } = send(&smtp, "hana@example.com").await else {
        panic!("refused")
    };
    let mail = server.mail().await;
    assert_eq!((&mail["tls"], &mail["login"], &mail["hello"]), (&json!(true), &json!(true), &json!("node.example")));
    assert_eq!((&mail["from"], &mail["to"]), (&json!("follow-up@mail.example"), &json!(["hana@example.com"])));
    assert_eq!(mail["defects"], json!([]));
    assert_eq!(
        mail["address_names"],
        json!([["Acme Störe", "follow-up@mail.example"], ["김하나", "hana@example.com"]])
    );
    assert_eq!(header(&mail, "Subject"), ["Acme Störe에서 답변이 도착했습니다"]);
    assert_eq!(header(&mail, "Date"), ["Sun, 22 Nov 2026 18:00:00 +0000"]);
    assert_eq!(header(&mail, "Auto-Submitted"), ["auto-generated"]);
    assert_eq!(header(&mail, "Message-ID"), [message_id.as_str()]);
    assert!(message_id.ends_with("@mail.example>"), "{message_id}");
    assert!(!message_id.contains("fu_1"), "the id tells nothing");
    let mut names: Vec<&str> =
        mail["headers"].as_array().unwrap().iter().map(|header| header[0].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "Auto-Submitted",
            "Content-Type",
            "Date",
            "From",
            "In-Reply-To",
            "MIME-Version",
            "Message-ID",
            "References",
            "Subject",
            "To"
        ]
    );
    // What the outbox of a sandbox shows is what leaves.
    let capture = Capture::new(1);
    EmailProvider::send(&*capture, &email_send("fu_1", "hana@example.com")).await;
    let shown = &capture.outbox("acme", None, None)[0].payload;
    assert_eq!(mail["type"], "multipart/alternative");
    for (part, kind) in mail["parts"].as_array().unwrap().iter().zip(["text", "html"]) {
        assert_eq!(part["type"], format!("text/{}", if kind == "text" { "plain" } else { "html" }));
        assert_eq!((&part["charset"], &part["defects"]), (&json!("utf-8"), &json!([])));
        assert!(["base64", "quoted-printable"].contains(&part["encoding"].as_str().unwrap()), "{}", part["encoding"]);
        assert_eq!(part["text"].as_str().unwrap().replace("\r\n", "\n"), shown[kind].as_str().unwrap());
    }
    assert_eq!(mail["parts"].as_array().unwrap().len(), 2);
    assert_eq!((&mail["ascii"], &mail["bare_line_breaks"]), (&json!(true), &json!(0)));
    assert!(mail["longest_line"].as_u64().unwrap() <= 100, "{}", mail["longest_line"]);
}

/// D9: a repeat is the same mail to whoever compares.
#[tokio::test]
async fn d9_a_repeat_carries_the_same_message_id_over_the_same_connection() {
    let mut server = MailServer::start(SmtpTls::Implicit).await;
    let smtp = server.client();
    let mut email = email_send("fu_1", "hana@example.com");
    let first = smtp.send(&email).await;
    email.envelope.attempt = 2;
    assert_eq!(smtp.send(&email).await, first);
    server.event("connected").await;
    assert_eq!(server.event("login").await["right"], true);
    let (one, two) = (server.event("mail").await, server.event("mail").await);
    assert_eq!(one, two);
    email.envelope.effect_key = "another".into();
    assert_ne!(smtp.send(&email).await, first);
    // An idle connection is given up before a firewall gives it up for us.
    server.event("mail").await;
    server.clock.advance(30_001);
    assert_eq!(smtp.send(&email).await.label(), "accepted");
    server.event("disconnected").await;
    server.event("connected").await;
}

#[tokio::test]
async fn each_answer_of_a_server_in_our_words() {
    let rejected = |error: &str| Outcome::Rejected { error: error.into() };
    let server = MailServer::start(SmtpTls::None).await;
    let smtp = server.client();
    let hasty = server.client_with(&SmtpConfig { timeout_ms: 1_000, ..server.config() });
    for (to, outcome) in [
        ("unknown@example.com", rejected("550 5.1.1")),
        ("full@example.com", retry("452 4.2.2")),
        ("busy@example.com", retry("451")),
        ("spam@example.com", rejected("554 5.7.1 at_data")),
        ("lost-early@example.com", retry("connection_lost")),
        ("lost-late@example.com", Outcome::Unknown { error: "connection_lost".into() }),
        ("한나@example.com", rejected("smtputf8_not_offered")),
    ] {
        assert_eq!(send(&smtp, to).await, outcome, "{to}");
        assert_eq!(send(&smtp, "hana@example.com").await.label(), "accepted", "after {to}");
    }
    let unknown = Outcome::Unknown { error: "timeout".into() };
    assert_eq!(send(&hasty, "silent@example.com").await, unknown, "whether the server has it, nobody can tell");
}

#[tokio::test]
async fn a_session_that_never_was_has_sent_nothing() {
    let plain = MailServer::start(SmtpTls::None).await;
    let encrypted = MailServer::start(SmtpTls::Required).await;
    let stranger = MailServer::start(SmtpTls::Implicit).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_port = Some(mute.local_addr().unwrap().port());
    for (config, outcome) in [
        (SmtpConfig { port: Some(free), ..plain.config() }, retry("unreachable")),
        (SmtpConfig { port: mute_port, timeout_ms: 300, ..plain.config() }, retry("timeout")),
        (SmtpConfig { tls: SmtpTls::Required, ..plain.config() }, retry("starttls_not_offered")),
        (SmtpConfig { password: Some("wrong".into()), ..encrypted.config() }, retry("535 5.7.8")),
        // A certificate for another name, of another authority, of none that the system knows, and none at all.
        (SmtpConfig { host: "127.0.0.1".into(), ..encrypted.config() }, retry("tls")),
        (SmtpConfig { ca_file: stranger.config().ca_file, ..encrypted.config() }, retry("tls")),
        (SmtpConfig { ca_file: None, ..stranger.config() }, retry("tls")),
        (SmtpConfig { tls: SmtpTls::Implicit, ..plain.config() }, retry("tls")),
    ] {
        assert_eq!(send(&encrypted.client_with(&config), "hana@example.com").await, outcome, "{config:?}");
    }
}

/// A server may end a session whenever it likes; a mail that it has not seen goes by another.
#[tokio::test]
async fn a_stale_connection_is_replaced_once_and_the_mail_goes() {
    let mut server = MailServer::start(SmtpTls::None).await;
    let smtp = server.client();
    assert_eq!(send(&smtp, "last@example.com").await.label(), "accepted");
    for event in ["connected", "mail", "disconnected"] {
        server.event(event).await;
    }
    assert_eq!(send(&smtp, "tired@example.com").await.label(), "accepted");
    assert_eq!(send(&smtp, "hana@example.com").await.label(), "accepted");
    server.event("connected").await;
    assert_eq!(server.mail().await["to"], json!(["tired@example.com"]));
    assert_eq!(server.mail().await["to"], json!(["hana@example.com"]));
}

#[tokio::test]
async fn many_mails_share_a_bounded_number_of_connections() {
    let mut server = MailServer::start(SmtpTls::None).await;
    let smtp = Arc::new(server.client());
    let mut sends = JoinSet::new();
    for n in 0..40 {
        let smtp = smtp.clone();
        sends.spawn(async move { smtp.send(&email_send(&format!("fu_{n}"), "hana@example.com")).await });
    }
    assert!(sends.join_all().await.iter().all(|outcome| outcome.label() == "accepted"));
    let (mut mails, mut connections) = (0, 0);
    while mails < 40 {
        match server.next_event().await["event"].as_str().unwrap() {
            "connected" => connections += 1,
            "mail" => mails += 1,
            other => panic!("{other}"),
        }
    }
    assert!((1..=8).contains(&connections), "{connections}");
}

#[tokio::test]
async fn an_address_beyond_ascii_goes_where_it_is_offered() {
    let mut server = MailServer::start_with(SmtpTls::None, json!({ "smtputf8": true })).await;
    assert_eq!(send(&server.client(), "한나@example.com").await.label(), "accepted");
    let mail = server.mail().await;
    assert_eq!(mail["to"], json!(["한나@example.com"]));
    assert_eq!(mail["options"], json!(["SMTPUTF8", "BODY=8BITMIME"]));
}

/// E4: no text becomes a header, a second mail or an SMTP command.
#[tokio::test]
async fn e4_hostile_texts_stay_texts_and_hostile_headers_never_leave() {
    let mut server = MailServer::start(SmtpTls::None).await;
    let smtp = server.client();
    let breaks = ["\r\n", "\n", "\r", "\0", "\u{85}"];
    let injections = breaks.map(|line_break| format!("Hana{line_break}Bcc: all@example.com"));
    for injection in &injections {
        let mut by_name = email_send("fu_1", "hana@example.com");
        by_name.to_name = Some(injection.clone());
        let mut by_company = email_send("fu_1", "hana@example.com");
        by_company.company = injection.clone();
        let by_address = email_send("fu_1", &format!("{injection}@example.com"));
        for email in [by_name, by_company, by_address] {
            assert_eq!(smtp.send(&email).await.label(), "rejected", "{injection:?}");
        }
    }
    for text in injections.iter().map(String::as_str).chain([
        "\r\n.\r\nMAIL FROM:<evil@example.com>\r\n",
        ".\n..\n...\nFrom here on",
        "--backstop-00\r\nContent-Type: text/html\r\n\r\n<b>",
        "=0D=0A.=0D=0A",
        &"long".repeat(2_500),
    ]) {
        let mut email = email_send("fu_1", "hana@example.com");
        (email.replies[0].text, email.replies[0].author) = (text.into(), text.chars().take(60).collect());
        assert_eq!(smtp.send(&email).await.label(), "accepted", "{text:?}");
        let mail = server.mail().await;
        assert_eq!(mail["headers"].as_array().unwrap().len(), 10, "{text:?}");
        assert_eq!((&mail["defects"], &mail["to"]), (&json!([]), &json!(["hana@example.com"])));
        assert_eq!((&mail["bare_line_breaks"], mail["parts"].as_array().unwrap().len()), (&json!(0), 2));
        let plain = mail["parts"][0]["text"].as_str().unwrap();
        let last_line = text.lines().last().unwrap().replace(char::is_control, " ");
        assert!(plain.contains(&last_line), "{plain}");
    }
}

/// Everything that cannot work is refused at start, with the key and the mend, and without a secret.
#[test]
fn half_a_mail_account_is_refused_and_names_its_key() {
    let clock = crate::providers_fcm_double::TestClock::at(0);
    let empty = tempfile::NamedTempFile::new().unwrap();
    let whole = SmtpConfig {
        host: "mail.example".into(),
        from: "a@mail.example".into(),
        username: Some("acme".into()),
        password: Some(PASSWORD.into()),
        ..SmtpConfig::default()
    };
    assert!(Smtp::from_config(&whole, clock.clone()).is_ok());
    let with = |change: &dyn Fn(&mut SmtpConfig)| {
        let mut config = whole.clone();
        change(&mut config);
        config
    };
    for (config, says) in [
        (with(&|c| c.host.clear()), "host is missing"),
        (with(&|c| c.host = "mail.example\r\nX".into()), "host is missing"),
        (with(&|c| c.tls = SmtpTls::None), "tls = \"none\" is for this machine only"),
        (with(&|c| c.password = None), "password is missing"),
        (with(&|c| c.password = Some(String::new())), "password is missing"),
        (with(&|c| c.username = None), "username is missing"),
        (with(&|c| c.password_file = Some("x".into())), "both set"),
        (
            with(&|c| (c.password, c.password_file) = (None, Some("no-such-file".into()))),
            "password_file cannot be read",
        ),
        (with(&|c| (c.password, c.password_file) = (None, Some(empty.path().into()))), "password is missing"),
        (with(&|c| c.from.clear()), "from is missing"),
        (with(&|c| c.from = "Acme <a@mail.example>".into()), "from is missing"),
        (with(&|c| c.from_name = "Acme\r\nBcc: x".into()), "from_name holds control characters"),
        (with(&|c| c.ehlo_name = Some("two words".into())), "ehlo_name is no host name"),
        (with(&|c| c.ca_file = Some("no-such-file".into())), "ca_file cannot be read"),
        (with(&|c| c.ca_file = Some(empty.path().into())), "ca_file holds no usable certificate"),
        (with(&|c| c.timeout_ms = 0), "timeout_ms must be"),
    ] {
        let error = Smtp::from_config(&config, clock.clone()).err().unwrap_or_else(|| panic!("{says}: taken"));
        let (shown, debug) = (error.to_string(), format!("{error:?} {config:?}"));
        assert!(shown.starts_with("[providers.smtp] ") && shown.contains(says), "{shown}");
        assert!(!shown.contains(PASSWORD) && !debug.contains(PASSWORD), "{shown} {debug}");
    }
}

/// The password as a file, its final line break not part of it.
#[tokio::test]
async fn the_password_may_be_a_file() {
    let server = MailServer::start(SmtpTls::Required).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    let password_file = Some(file.path().to_path_buf());
    let config = SmtpConfig { password: None, password_file, ..server.config() };
    assert_eq!(send(&server.client_with(&config), "hana@example.com").await.label(), "accepted");
}
