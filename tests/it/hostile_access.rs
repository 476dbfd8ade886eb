//! Who may do what: every operation of the OpenAPI document with every kind of key that does not fit, generated.
//!
//! A new operation is covered by itself: its path, its keys and its body are read from the document.

use crate::hostile_support::{Company, Heard, World};
use backstop_server::http::document_json;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&document_json()).unwrap());

type Headers = Vec<(&'static str, String)>;

struct Operation {
    method: Method,
    template: &'static str,
    says: &'static Value,
}

/// What a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Nothing,
    WrongKey,
    NoKey,
    IdentitySecret,
    AppKeyAsBearer,
    ApiKeyAsApp,
    ReadKey,
    BillingKey,
    App,
    DeviceWithoutApp,
    DeviceWithWrongKey,
    DeviceOfAnother,
    Device,
    Server,
}

impl Shows {
    /// The scope of a key that is made beside the company's own.
    fn scope(self) -> Option<&'static str> {
        match self {
            Shows::ReadKey => Some("read"),
            Shows::BillingKey => Some("billing"),
            _ => None,
        }
    }
}

/// Everything that opens less than all.
const CALLERS: [Shows; 14] = [
    Shows::Nothing,
    Shows::WrongKey,
    Shows::NoKey,
    Shows::IdentitySecret,
    Shows::AppKeyAsBearer,
    Shows::ApiKeyAsApp,
    Shows::ReadKey,
    Shows::BillingKey,
    Shows::App,
    Shows::DeviceWithoutApp,
    Shows::DeviceWithWrongKey,
    Shows::DeviceOfAnother,
    Shows::Device,
    Shows::Server,
];

/// What must come of it.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// 401, in the one shape.
    Unauthorized,
    /// 403.
    Forbidden,
    /// Neither.
    In,
}

impl Operation {
    fn all() -> Vec<Operation> {
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(template, item)| {
            item.as_object().unwrap().iter().map(move |(method, says)| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                Operation { method, template, says }
            })
        });
        each.collect()
    }

    /// Whether one of the document's ways in is made of exactly these keys.
    fn takes(&self, keys: &[&str]) -> bool {
        let ways = self.says["security"].as_array().map_or(&[][..], Vec::as_slice);
        ways.iter().any(|way| way.as_object().unwrap().keys().map(String::as_str).eq(keys.iter().copied()))
    }

    fn is_open(&self) -> bool {
        self.says["security"].is_null()
    }

    /// S8: whoever is paid hears of money, and of nobody's texts.
    fn is_of_money(&self) -> bool {
        self.template.starts_with("/v1/wallet") || self.template == "/v1/usage"
    }

    fn expected(&self, shows: Shows) -> Expected {
        let backend = self.takes(&["backend"]);
        match shows {
            _ if self.is_open() => Expected::In,
            Shows::Server if backend => Expected::In,
            Shows::ReadKey if backend && self.method == Method::GET => Expected::In,
            Shows::BillingKey if backend && self.is_of_money() => Expected::In,
            Shows::ReadKey | Shows::BillingKey | Shows::AppKeyAsBearer if backend => Expected::Forbidden,
            Shows::App if self.takes(&["app"]) => Expected::In,
            // A first registration has no device key yet: what does not fit proves nothing there.
            Shows::DeviceWithWrongKey | Shows::DeviceOfAnother if self.takes(&["app"]) && !backend => Expected::In,
            Shows::Device if self.takes(&["app", "device"]) => Expected::In,
            _ => Expected::Unauthorized,
        }
    }

    /// The path with what the company calls the things in it.
    fn path(&self, ids: &dyn Fn(&str) -> Option<String>) -> String {
        let segment = |s: &str| match s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => s.to_owned(),
            Some("channel") => "push".to_owned(),
            Some("locale") => "ko".to_owned(),
            Some(name) => ids(name).unwrap_or_else(|| panic!("{}: add {name} to Company::id", self.template)),
        };
        self.template.split('/').map(segment).collect::<Vec<_>>().join("/")
    }

    fn body(&self, ids: &dyn Fn(&str) -> Option<String>) -> Option<Value> {
        let schema = self.says.pointer("/requestBody/content/application~1json/schema")?;
        Some(example(schema, ids))
    }
}

/// The smallest value that a schema takes, with the company's own ids in it.
fn example(schema: &Value, ids: &dyn Fn(&str) -> Option<String>) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        return example(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap(), ids);
    }
    if let Some(choice) = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema[word].as_array()) {
        let real = choice.iter().find(|option| option["type"] != "null").unwrap();
        return example(real, ids);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[0].clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "string" if schema["format"] == "date-time" => "2026-11-22T18:00:00.000Z".into(),
        "string" => "x".into(),
        "integer" | "number" => schema["minimum"].as_i64().unwrap_or(1).into(),
        "boolean" => false.into(),
        "array" => json!([example(&schema["items"], ids)]),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
            let fields = required.map(|name| {
                let id = ids(name).filter(|_| schema["properties"][name]["type"] == "string").map(Value::from);
                (name.to_owned(), id.unwrap_or_else(|| example(&schema["properties"][name], ids)))
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

fn headers(shows: Shows, mine: &Company, other: &Company, scoped_key: &str) -> Headers {
    let bearer = |key: &str| ("authorization", format!("Bearer {key}"));
    let app = ("backstop-app", mine.app_key.clone());
    let device = |id: &str, key: &str| ("authorization", format!("Backstop-Device {id}.{key}"));
    match shows {
        Shows::Nothing => vec![],
        Shows::WrongKey => vec![bearer(&"sk_".repeat(12))],
        Shows::NoKey => vec![("authorization", "Bearer".into())],
        Shows::IdentitySecret => vec![bearer(&mine.secret)],
        Shows::AppKeyAsBearer => vec![bearer(&mine.app_key)],
        Shows::ApiKeyAsApp => vec![("backstop-app", mine.api_key.clone())],
        Shows::ReadKey | Shows::BillingKey => vec![bearer(scoped_key)],
        Shows::App => vec![app],
        Shows::DeviceWithoutApp => vec![device(&mine.device_id, &mine.device_key)],
        Shows::DeviceWithWrongKey => vec![app, device(&mine.device_id, &other.device_key)],
        Shows::DeviceOfAnother => vec![app, device(&other.device_id, &other.device_key)],
        Shows::Device => mine.device(),
        Shows::Server => mine.bearer(),
    }
}

async fn send(
    world: &World,
    op: &Operation,
    headers: &[(&str, String)],
    ids: &dyn Fn(&str) -> Option<String>,
) -> Heard {
    world.ask(op.method.clone(), &op.path(ids), headers, op.body(ids).as_ref()).await
}

/// Ids that nobody has, as long as true ones.
fn nobody_s(name: &str) -> Option<String> {
    Some(match name {
        "followup_id" => "fu_0000000000001".into(),
        "device_id" => "dev_0000000000001".into(),
        "suppression_id" => "sup_0000000000001".into(),
        "code" => "B".repeat(20),
        "ask_id" => "ask_2".into(),
        "locale" => "ja".into(),
        "name" => "sandbox-0000000000000000".into(),
        "customer_id" | "conversation_id" | "message_id" | "install_id" | "receipt" | "app_id" | "purpose"
        | "template_id" => {
            format!("{name}-of-nobody")
        }
        _ => return None,
    })
}

/// T8: every operation, every kind of caller: in, 401 or 403 as the document says. A 401 has one shape, whatever was
/// shown and whether or not the thing exists; a 403 tells no more.
#[tokio::test(flavor = "multi_thread")]
async fn every_operation_takes_the_keys_that_it_says_and_no_others() {
    let world = World::start(&[]);
    let (mine, other) = (world.company("mine").await, world.company("other").await);
    let scoped: HashMap<&str, String> = ["read", "billing"].map(|scope| (scope, world.key(&mine, scope))).into();
    let refused = world.ask(Method::GET, "/v1/settings", &[], None).await;
    assert_eq!((refused.status, refused.code()), (401, "unauthorized"));
    let (mut asked, mut let_in) = (0, 0);
    for op in &Operation::all() {
        for shows in CALLERS {
            let what = format!("{} {} showing {shows:?}", op.method, op.template);
            let expected = op.expected(shows);
            asked += 1;
            if expected == Expected::In {
                let_in += 1;
                // What it may do it does, to a company that nothing else hangs on.
                let victim = world.company(&format!("victim{asked}")).await;
                let key = shows.scope().map(|scope| world.key(&victim, scope)).unwrap_or_default();
                let answer = send(&world, op, &headers(shows, &victim, &other, &key), &|name| victim.id(name)).await;
                assert!(answer.status < 500, "{what}: {}", answer.text);
                assert!(!matches!(answer.code(), "unauthorized" | "forbidden"), "{what}: {}", answer.text);
                continue;
            }
            let key = shows.scope().map_or("", |scope| &scoped[scope]);
            let shown = headers(shows, &mine, &other, key);
            let real = send(&world, op, &shown, &|name| mine.id(name)).await;
            let absent = send(&world, op, &shown, &nobody_s).await;
            let (status, code) =
                if expected == Expected::Forbidden { (403, "forbidden") } else { (401, "unauthorized") };
            assert_eq!((real.status, real.code()), (status, code), "{what}: {}", real.text);
            assert_eq!(real.text, absent.text, "{what}: tells whether it exists");
            assert!(status == 403 || real.text == refused.text, "{what}: another shape of 401: {}", real.text);
        }
    }
    println!("{asked} combinations of operation and key, {let_in} of them let in");
    assert!(let_in >= 40, "only {let_in} were let in: a matrix that refuses all proves nothing");
}

/// The answer without what names a thing of either company, and without what is new each time.
fn shape(answer: &Heard, names: &[(String, &str)]) -> String {
    if answer.status < 300 {
        return answer.status.to_string();
    }
    names.iter().fold(format!("{} {}", answer.status, answer.text), |text, (name, word)| text.replace(name, word))
}

/// T8, T23: another company's keys, all valid, reach nothing of this one: what exists here is answered there like what
/// exists nowhere, nothing of it shows in any answer, and nothing of it changes.
#[tokio::test(flavor = "multi_thread")]
async fn another_companys_keys_reach_nothing() {
    let world = World::start(&[]);
    let mine = world.company("mine").await;
    let before = snapshot(&world, &mine).await;
    let names =
        ["customer_id", "conversation_id", "message_id", "followup_id", "device_id", "name", "install_id", "app_id"];
    let named: Vec<(String, &str)> = names.iter().map(|n| (mine.id(n).unwrap(), *n)).collect();
    let nobody: Vec<(String, &str)> = names.iter().map(|n| (nobody_s(n).unwrap(), *n)).collect();
    for (i, op) in Operation::all().iter().filter(|op| !op.is_open()).enumerate() {
        for of_device in [false, true] {
            let (one, two) = (world.company(&format!("one{i}")).await, world.company(&format!("two{i}")).await);
            let keys = |company: &Company| if of_device { company.device() } else { company.bearer() };
            let real = send(&world, op, &keys(&one), &|name| mine.id(name)).await;
            let absent = send(&world, op, &keys(&two), &nobody_s).await;
            let what = format!("{} {} as device {of_device}", op.method, op.template);
            assert!(real.status < 500 && absent.status < 500, "{what}: {} {}", real.text, absent.text);
            assert_eq!(shape(&real, &named), shape(&absent, &nobody), "{what}: tells that it exists elsewhere");
            for secret in
                ["Name mine", "mine@example.com", "Text mine", "token-mine", "Agent mine", "shop.example/mine"]
            {
                assert!(!real.text.contains(secret), "{what}: {secret} in {}", real.text);
            }
        }
    }
    assert_eq!(snapshot(&world, &mine).await, before, "another company changed something");
}

/// What a company has only once it made one.
const MAY_BE_ABSENT: &[&str] =
    &["/v1/email-domain", "/v1/email-templates/{locale}", "/v1/alimtalk-templates/{template_id}"];

/// Everything that a company can read of itself.
async fn snapshot(world: &World, company: &Company) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for op in Operation::all().iter().filter(|op| op.method == Method::GET && !op.is_open()) {
        let answer = send(world, op, &company.bearer(), &|name| company.id(name)).await;
        let absent = answer.status == 404 && MAY_BE_ABSENT.contains(&op.template);
        assert!(answer.status == 200 || absent, "{}: {}", op.template, answer.text);
        all.push((op.template.to_owned(), answer.text));
    }
    assert!(all.iter().any(|(_, text)| text.contains("Name mine")), "the snapshot sees nothing");
    all
}
