//! The command line as an operator meets it: what it prints, what it refuses, and its exit codes.

use crate::program::{Server, backstop, run, said};
use serde_json::{Value, json};
use std::process::Output;
use tempfile::{TempDir, tempdir};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn post(url: &str, key: &str, body: Value) -> (u16, Value) {
    let request = client().post(url).bearer_auth(key).json(&body).send().await.unwrap();
    (request.status().as_u16(), request.json().await.unwrap())
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn status(url: &str, key: &str) -> u16 {
    client().get(url).bearer_auth(key).send().await.unwrap().status().as_u16()
}

/// C1, C2's keys: what `workspace create` prints once is enough to work with, and a revoked key dies in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_made_beside_a_running_server_and_its_keys_work_at_once() {
    let dir = tempdir().unwrap();
    let server = Server::start(&dir, &[], &[]).unwrap();
    let created: Value = serde_json::from_str(&said(&dir, &["workspace", "create", "acme"])).unwrap();
    assert_eq!(created["workspace"], "acme");
    assert_eq!(created["identity_secret"].as_str().unwrap().len(), 64);
    let customer = json!({ "message_id": "m", "conversation_id": "c", "customer_id": "a", "text": "Hello" });
    let (code, _) = post(&format!("{}/v1/customer-messages", server.url), word(&created, "api_key"), customer).await;
    assert_eq!(code / 100, 2);
    let again = run(&dir, &["workspace", "create", "acme"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "backstop: a workspace of this name exists\n");
    let made: Value = serde_json::from_str(&said(&dir, &["key", "create", "acme", "--scope", "read"])).unwrap();
    let settings = format!("{}/v1/settings", server.url);
    assert_eq!(status(&settings, word(&made, "key")).await, 200);
    said(&dir, &["key", "revoke", word(&made, "key")]);
    let mut last = 200;
    for _ in 0..20_000 {
        last = status(&settings, word(&made, "key")).await;
        if last == 401 {
            break;
        }
    }
    assert_eq!(last, 401, "a revoked key is still believed");
    assert_eq!(status(&settings, word(&created, "api_key")).await, 200);
    assert_eq!(run(&dir, &["key", "revoke", word(&made, "key")]).status.code(), Some(1));
    assert_eq!(run(&dir, &["key", "create", "nobody", "--scope", "app"]).status.code(), Some(1));
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

/// S7: any follow-up can be explained, also beside a running sandbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_follow_up_is_explained_beside_the_server() {
    let dir = tempdir().unwrap();
    let server = Server::start(&dir, &["--sandbox"], &[]).unwrap();
    let reply = json!({
        "message_id": "m-1", "conversation_id": "c-1", "customer_id": "ada", "kind": "reply",
        "author": { "name": "Grace" }, "text": "Your parcel is there.",
        "customer": { "phone": "+821012345678", "email": "ada@example.com" },
    });
    let (code, posted) = post(&format!("{}/v1/messages", server.url), "sk_sandbox", reply).await;
    assert_eq!(code, 202, "{posted}");
    // Answered when what was committed before is done.
    let id = word(&posted, "followup_id");
    assert_eq!(status(&format!("{}/v1/followups/{id}", server.url), "sk_sandbox").await, 200);
    let told = said(&dir, &["explain", id]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with(&format!("{id} carries one reply to customer ada in conversation c-1, accepted at ")));
    let because = "text and email go: the customer has no device with the app.";
    assert!(lines[1].ends_with(because), "{told}");
    assert!(
        told.contains("\nSMS by capture: it was taken by the provider. It cost 0.009 USD for one part of sms to KR.\n"),
        "{told}"
    );
    assert!(!told.contains("Your parcel") && !told.contains("+8210") && !told.contains("ada@"), "{told}");
    let unknown = run(&dir, &["explain", "fu_0000000000001"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(run(&dir, &["explain", "m-1"]).status.code(), Some(1));
}

/// Two servers on one file: the second refuses, saying why.
#[test]
fn a_second_server_on_one_file_is_refused() {
    let dir = tempdir().unwrap();
    let _server = Server::start(&dir, &[], &[]).unwrap();
    let refused = Server::start(&dir, &[], &[]).err().unwrap();
    assert!(refused.contains("a server is running on this database (process "), "{refused}");
    assert!(refused.ends_with("exit 75"), "{refused}");
    assert_eq!(run(&dir, &["migrate"]).status.code(), Some(75));
}

#[test]
fn a_sandbox_keeps_to_itself() {
    let dir = tempdir().unwrap();
    let public = backstop(&dir, &["serve", "--sandbox"]).env("BACKSTOP__SERVER__LISTEN", "0.0.0.0:0").output().unwrap();
    assert_eq!(public.status.code(), Some(78));
    assert!(stderr(&public).contains("--allow-public-sandbox"), "{}", stderr(&public));
    drop(Server::start(&dir, &["--sandbox"], &[]).unwrap());
    let live = Server::start(&dir, &[], &[]).err().unwrap();
    assert!(live.contains("this is a sandbox's database") && live.ends_with("exit 78"), "{live}");
    let other = tempdir().unwrap();
    drop(Server::start(&other, &[], &[]).unwrap());
    let sandbox = Server::start(&other, &["--sandbox"], &[]).err().unwrap();
    assert!(sandbox.contains("this is not a sandbox's database"), "{sandbox}");
}

fn configured(dir: &TempDir, toml: &str, command: &str) -> Output {
    std::fs::write(dir.path().join("backstop.toml"), toml).unwrap();
    run(dir, &["--config", "backstop.toml", command])
}

/// P12: nothing configured is fine, half-configured is refused by `serve` and by `check-config`, naming key and mend.
#[test]
fn a_half_configured_provider_is_refused() {
    let dir = tempdir().unwrap();
    let checked = said(&dir, &["check-config"]);
    assert!(checked.contains("none  push      "), "{checked}");
    assert!(!dir.path().join("backstop.db").exists() && !dir.path().join("backstop.db.key").exists());
    let halves = [
        ("[providers.smtp]\nfrom = \"a@example.com\"", "[providers.smtp] host "),
        ("[providers.smtp]\nhost = \"mail.example.com\"", "[providers.smtp] from "),
        (
            "[providers.smtp]\nhost = \"mail.example.com\"\nfrom = \"a@b.c\"\nusername = \"u\"",
            "[providers.smtp] password",
        ),
        ("[fcm]\nservice_account_file = \"none.json\"", "[fcm] service_account_file "),
        ("[fcm]\nservice_account = \"{}\"", "[fcm] service_account "),
        ("[providers.line]\nnotification = true", "[providers.line] bot_user_id is missing"),
        ("[providers.gateway]\nkorean = true", "[providers.gateway] url must be"),
        ("[text]\nroutes = [\"*: twilio\"]", "[text] routes name `twilio`, which is not configured"),
        ("[followup]\nack_wait_ms = 31000", "[followup] ack_wait_ms is 31000: must be 1000 to 30000"),
        ("[store]\nurl = \"postgres://localhost\"", "[store] url PostgreSQL comes with a later version"),
    ];
    for (toml, expected) in halves {
        for command in ["serve", "check-config"] {
            let output = configured(&dir, toml, command);
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{command}: {toml}: {said}");
            assert!(said.contains(expected), "{command}: {toml}: {said}");
        }
        let sandbox = run(&dir, &["--config", "backstop.toml", "serve", "--sandbox"]);
        assert_eq!(sandbox.status.code(), Some(78), "{toml}: {}", stderr(&sandbox));
        assert!(stderr(&sandbox).contains(expected), "{toml}: {}", stderr(&sandbox));
    }
    assert!(!dir.path().join("backstop.db").exists(), "nothing is made before all of it is checked");
}

/// Bad input: a key file that others may read, or that is gone, stops the start and changes nothing.
#[test]
fn a_data_key_that_is_exposed_or_gone_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempdir().unwrap();
    said(&dir, &["workspace", "create", "acme"]);
    let key = dir.path().join("backstop.db.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(&dir, &["check-config"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stdout).contains("chmod 600"));
    std::fs::remove_file(&key).unwrap();
    let output = run(&dir, &["serve"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("this key file is missing"), "{}", stderr(&output));
    assert!(!key.exists());
}

/// The API's description is the committed one, every default is printed, and usage errors have their own code.
#[test]
fn the_program_describes_itself() {
    let dir = tempdir().unwrap();
    let document: Value = serde_json::from_str(&said(&dir, &["openapi"])).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let defaults = said(&dir, &["check-config", "--defaults"]);
    assert!(defaults.contains("\nack_wait_ms = 30000\n"), "{defaults}");
    assert_eq!(run(&dir, &["server"]).status.code(), Some(2));
    assert_eq!(run(&dir, &["--config", "none.toml", "serve"]).status.code(), Some(78));
    assert!(said(&dir, &["--help"]).contains("Exit codes: 0 done;"));
}

/// The benchmark measures what it says, and nothing is ever early; its numbers here say nothing.
#[test]
fn a_small_benchmark_runs_through() {
    let dir = tempdir().unwrap();
    let arguments = ["bench", "--json", "--count", "200", "--pending", "200", "--measured", "100"];
    let report: Value = serde_json::from_str(&said(&dir, &arguments)).unwrap();
    let rates = report["rates"].as_array().unwrap();
    assert_eq!(rates.len(), 4, "{report}");
    assert!(rates.iter().all(|rate| rate["done"] == 200 && rate["per_second"].as_f64() > Some(0.0)), "{report}");
    let lateness = &report["lateness"];
    assert_eq!((&lateness["measured"], &lateness["early"]), (&json!(100), &json!(0)), "{report}");
    let left_over = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left_over, 0, "the database is removed");
}
