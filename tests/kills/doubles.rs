//! The providers: FCM's and SMTP's protocols in a process that outlives every server, with a log of what they took.

use crate::time::now_ms;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use backstop_tests::oracle::{Channel, Effect};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What stands before a reply's id in its text.
pub(crate) const QUOTED: &str = "Your parcel ";

/// A push as a phone receives it.
#[derive(Clone)]
pub(crate) struct Arrived {
    pub(crate) token: String,
    pub(crate) followup_id: String,
    pub(crate) receipt: String,
}

impl Arrived {
    /// From the body of a request to FCM.
    pub(crate) fn of_fcm(body: &Value) -> Option<Arrived> {
        let message = &body["message"];
        let data: Value = serde_json::from_str(message["data"]["backstop"].as_str()?).ok()?;
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let (followup_id, receipt) = (word(&data["followup_id"])?, word(&data["receipt"])?);
        Some(Arrived { token: word(&message["token"])?, followup_id, receipt })
    }
}

/// What the mail server took.
pub(crate) type MailLog = Arc<Mutex<Vec<Effect>>>;

/// Grants every access token and takes every push; each goes on to the phones.
pub(crate) async fn start_fcm() -> (String, mpsc::UnboundedReceiver<Arrived>) {
    let (pushes, arrived) = mpsc::unbounded_channel();
    let send = async |State(pushes): State<mpsc::UnboundedSender<Arrived>>, Json(body): Json<Value>| {
        let _ = pushes.send(Arrived::of_fcm(&body).expect("a push of ours"));
        Json(json!({ "name": "projects/acme-demo/messages/1" }))
    };
    let grant = async || Json(json!({ "access_token": "t", "expires_in": 3599, "token_type": "Bearer" }));
    let router = Router::new()
        .route("/token", post(grant))
        .route("/v1/projects/acme-demo/messages:send", post(send))
        .with_state(pushes);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, arrived)
}

/// A service account that no Google knows.
pub(crate) fn service_account(fcm: &str) -> Value {
    json!({
        "type": "service_account",
        "project_id": "acme-demo",
        "private_key_id": "key-1",
        "private_key": include_str!("../fixtures/jwt/rsa-private.pem"),
        "client_email": "push@acme-demo.iam.gserviceaccount.com",
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": format!("{fcm}/token"),
    })
}

/// Takes every mail.
pub(crate) async fn start_mail() -> (u16, MailLog) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let log = MailLog::default();
    let kept = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, Arc::clone(&kept)));
        }
    });
    (port, log)
}

async fn talk(stream: TcpStream, log: MailLog) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut mail: Option<String> = None;
    let mut answer = Some("220 mail.test\r\n");
    loop {
        if let Some(answer) = answer
            && write.write_all(answer.as_bytes()).await.is_err()
        {
            return;
        }
        // What was cut off in the middle is no mail.
        let Ok(Some(line)) = lines.next_line().await else { return };
        answer = match (&mut mail, line.as_str()) {
            (Some(text), ".") => {
                // Taken before it says so, as a mail server does.
                log.lock().unwrap().push(mail_of(text));
                mail = None;
                Some("250 ok\r\n")
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
                None
            }
            (None, "DATA") => {
                mail = Some(String::new());
                Some("354 go on\r\n")
            }
            (None, _) => Some("250 ok\r\n"),
        };
    }
}

fn mail_of(text: &str) -> Effect {
    // Quoted-printable may break a line anywhere.
    let whole = text.replace("=\n", "");
    let after = |mark: &str| whole.split(mark).nth(1).unwrap_or_default();
    let about = after(QUOTED).split_whitespace().next().unwrap_or("nothing").to_owned();
    let key = after("Message-ID: ").lines().next().unwrap_or_default().to_owned();
    Effect { channel: Channel::Email, about, key, at: now_ms() }
}
