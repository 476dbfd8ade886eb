//! Separate listeners: each path is on exactly the ones it belongs to, below `public_url`'s path or not.

use crate::program::{Server, run, said};
use serde_json::Value;
use tempfile::tempdir;

const DOORS: [&str; 4] = ["listen", "device_listen", "backend_listen", "metrics_listen"];

struct Doors {
    server: Server,
    client: reqwest::Client,
}

impl Doors {
    fn start(dir: &tempfile::TempDir, env: &[(&str, &str)]) -> Doors {
        let server = Server::start(dir, &[], env).unwrap();
        Doors { server, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// The listeners that have this path: what is not there is answered like what is nowhere.
    async fn with(&self, doors: &[&'static str], method: &str, path: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        for door in doors {
            let url = format!("http://{}{path}", self.server.address(door));
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let answer = self.client.request(method, url).send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            let nowhere = status == 404 && text.contains("there is no such path");
            found.extend((!nowhere).then_some(*door));
        }
        found
    }
}

/// Every operation of the document is on exactly its listeners; metrics never where phones are.
#[tokio::test]
async fn every_path_is_on_its_listeners_and_nowhere_else() {
    let dir = tempdir().unwrap();
    let env = [
        ("BACKSTOP__SERVER__DEVICE_LISTEN", "127.0.0.1:0"),
        ("BACKSTOP__SERVER__BACKEND_LISTEN", "127.0.0.1:0"),
        ("BACKSTOP__SERVER__METRICS_LISTEN", "127.0.0.1:0"),
    ];
    let doors = Doors::start(&dir, &env);
    let document: Value = serde_json::from_str(&said(&dir, &["openapi"])).unwrap();
    let mut looked_at = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let tag = operation["tags"][0].as_str().unwrap();
            let expected: &[&str] = match (tag, path.as_str()) {
                ("sandbox", _) => &[],
                ("operations", "/metrics") => &["metrics_listen"],
                ("operations", "/healthz" | "/readyz") => &DOORS,
                ("device", _) => &["device_listen"],
                ("presence", _) => &["device_listen", "backend_listen"],
                ("backend", _) => &["backend_listen"],
                // Callbacks of providers and short links: what the internet must reach.
                _ if path.starts_with("/in/") || path.starts_with("/l/") => &["device_listen"],
                _ => panic!("{path} is on no listener: say on which"),
            };
            let concrete = path.replace(['{', '}'], "");
            let found = doors.with(&DOORS, &method.to_uppercase(), &concrete).await;
            assert_eq!(found, expected, "{method} {path}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "{looked_at}");
    assert_eq!(doors.with(&DOORS, "GET", "/openapi.json").await, ["backend_listen"]);
    for hidden in
        ["//metrics", "/./metrics", "/%6detrics", "/in/../metrics", "/l/../v1/settings", "/v1/devices/../settings"]
    {
        let found = doors.with(&["listen", "device_listen"], "GET", hidden).await;
        let url = format!("http://{}{hidden}", doors.server.address("device_listen"));
        let text = doors.client.get(url).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("backstop_"), "{hidden} on {found:?}: {text}");
    }
}

/// What has no listener of its own stays on `listen`; metrics stay with the backend.
#[tokio::test]
async fn listen_serves_what_is_left() {
    let dir = tempdir().unwrap();
    let doors = Doors::start(&dir, &[("BACKSTOP__SERVER__DEVICE_LISTEN", "127.0.0.1:0")]);
    let two = ["listen", "device_listen"];
    assert_eq!(doors.with(&two, "GET", "/metrics").await, ["listen"]);
    assert_eq!(doors.with(&two, "POST", "/v1/acks").await, ["device_listen"]);
    assert_eq!(doors.with(&two, "GET", "/v1/settings").await, ["listen"]);
    drop(doors);
    let other = tempdir().unwrap();
    let doors = Doors::start(&other, &[("BACKSTOP__SERVER__BACKEND_LISTEN", "127.0.0.1:0")]);
    let two = ["listen", "backend_listen"];
    assert_eq!(doors.with(&two, "GET", "/metrics").await, ["backend_listen"], "phones are on the other one");
    assert_eq!(doors.with(&two, "POST", "/v1/acks").await, ["listen"]);
    assert_eq!(doors.with(&two, "GET", "/v1/settings").await, ["backend_listen"]);
}

/// A proxy may take the path of `public_url` off, or leave it on.
#[tokio::test]
async fn a_path_of_public_url_is_understood() {
    let dir = tempdir().unwrap();
    let doors = Doors::start(&dir, &[("BACKSTOP__SERVER__PUBLIC_URL", "https://example.com/chat/backstop/")]);
    for (path, status) in [
        ("/healthz", 200),
        ("/chat/backstop/healthz", 200),
        ("/chat/backstop/v1/settings", 401),
        ("/chat/backstop", 404),
        ("/chat/backstophealthz", 404),
        ("/chat/backstop/chat/backstop/healthz", 404),
        ("/chat/healthz", 404),
    ] {
        let answer = doors.client.get(format!("{}{path}", doors.server.url)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}

/// One address for two listeners, or one that is taken, is said with its key.
#[tokio::test]
async fn an_address_that_cannot_be_is_named() {
    let dir = tempdir().unwrap();
    std::fs::write(
        dir.path().join("backstop.toml"),
        "[server]\nlisten = \"127.0.0.1:8080\"\nmetrics_listen = \"127.0.0.1:8080\"",
    )
    .unwrap();
    let output = run(&dir, &["--config", "backstop.toml", "serve"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "[server] metrics_listen is the address of listen too: give another one, or leave it out";
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains(expected), "{stderr}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _held = std::net::TcpListener::bind(&taken).unwrap();
    let refused = Server::start(&dir, &[], &[("BACKSTOP__SERVER__DEVICE_LISTEN", &taken)]).err().unwrap();
    assert!(refused.contains(&format!("[server] device_listen {taken}: ")), "{refused}");
    let hidden =
        Server::start(&dir, &["--sandbox"], &[("BACKSTOP__SERVER__DEVICE_LISTEN", "0.0.0.0:0")]).err().unwrap();
    assert!(hidden.contains("[server] device_listen 0.0.0.0:0 is not loopback"), "{hidden}");
}
