//! Short links of texts: where they lead, for whom, and that their log-in works once (T8, S8).

use crate::flow::{DAY_MS, post, shop};
use crate::text::{newest, settings};
use backstop_server::testing::Workspace;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url, redirect};
use serde_json::json;

const PAGE: &str = "https://shop.example/chat/{conversation_id}";

/// A shop whose conversations go on at a page, and the path of the link in a text of it.
async fn shop_and_link() -> (Workspace, String) {
    let shop = shop().await;
    settings(&shop, json!({"conversation_url": PAGE})).await;
    post(&shop, "r1", json!({"channels": ["text"]})).await.ok();
    shop.advance(0).await;
    let link = link_of(&shop).await;
    (shop, link)
}

async fn link_of(shop: &Workspace) -> String {
    let text = newest(shop).await;
    text.lines().last().unwrap().strip_prefix(shop.url()).expect("it leads to us").to_owned()
}

async fn visit(shop: &Workspace, method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> Response {
    let client = reqwest::Client::builder().redirect(redirect::Policy::none()).no_proxy().build().unwrap();
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    client.request(method, format!("{}{path}", shop.url())).headers(headers).send().await.unwrap()
}

const BROWSER: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// Where the visitor is sent.
async fn click(shop: &Workspace, path: &str) -> Url {
    let response = visit(shop, Method::GET, path, BROWSER).await;
    assert_eq!(response.status(), 302);
    response.headers()["location"].to_str().unwrap().parse().unwrap()
}

fn login(url: &Url) -> Option<String> {
    url.query_pairs().find(|(name, _)| name == "backstop_code").map(|(_, code)| code.into_owned())
}

/// T8: a browser that opens the link is led to the conversation with a log-in, which the backend redeems once.
#[tokio::test]
async fn t8_a_click_leads_on_and_logs_in_once() {
    let (shop, link) = shop_and_link().await;
    let first = click(&shop, &link).await;
    assert_eq!((first.host_str(), first.path()), (Some("shop.example"), "/chat/ann"));
    let second = login(&click(&shop, &link).await).expect("not used up by a click");
    let code = login(&first).expect("a log-in");
    let redeem = async |code: &str| shop.post("/v1/link-codes/redeem", json!({"code": code})).await;
    let who = redeem(&code).await.ok();
    assert_eq!((&who["customer_id"], &who["conversation_id"]), (&json!("ann"), &json!("ann")));
    assert!(who["followup_id"].as_str().unwrap().starts_with("fu_"));
    for used in [&code, &second] {
        let refused = redeem(used).await;
        assert_eq!((refused.status, refused.code()), (410, "gone"));
    }
    let later = click(&shop, &link).await;
    assert_eq!((later.path(), login(&later)), ("/chat/ann", None), "the link still leads on");
    for forged in ["x", &code[1..], &code.replace(|c: char| c.is_ascii_digit(), "_"), &"A".repeat(64)] {
        assert_eq!(redeem(forged).await.status, 404, "{forged}");
    }
}

/// T8: parallel redemptions of one log-in: exactly one is told.
#[tokio::test]
async fn t8_of_many_redemptions_one_is_told() {
    let (shop, link) = shop_and_link().await;
    let code = login(&click(&shop, &link).await).unwrap();
    let tries = (0..20).map(|_| shop.post("/v1/link-codes/redeem", json!({"code": code})));
    let told = futures_all(tries).await.into_iter().filter(|answer| answer.status == 200).count();
    assert_eq!(told, 1);
}

async fn futures_all<T>(tries: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut tries: Vec<_> = tries.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = tries.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (one, done) in tries.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(answer) = one.as_mut().poll(cx)
            {
                *done = Some(answer);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// T8: what looks ahead or looks what is behind a link is led nowhere, gets no log-in and uses none up.
#[tokio::test]
async fn t8_previews_use_nothing_up() {
    let (shop, link) = shop_and_link().await;
    let bots: &[&[(&str, &str)]] = &[
        &[("user-agent", "facebookexternalhit/1.1 Facebot Twitterbot/1.0")],
        &[("user-agent", "WhatsApp/2.24"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        &[("user-agent", "Mozilla/5.0"), ("sec-purpose", "prefetch;prerender"), ("sec-fetch-mode", "navigate")],
    ];
    for bot in bots {
        let response = visit(&shop, Method::GET, &link, bot).await;
        assert_eq!((response.status().as_u16(), response.headers().get("location")), (200, None));
    }
    let head = visit(&shop, Method::HEAD, &link, BROWSER).await;
    assert_eq!((head.status().as_u16(), head.headers().get("location")), (200, None));
    let program = visit(&shop, Method::GET, &link, &[("user-agent", "curl/8.9")]).await;
    assert_eq!(program.headers()["location"], "https://shop.example/chat/ann", "led on, without a log-in");
    let code = login(&click(&shop, &link).await).unwrap();
    shop.post("/v1/link-codes/redeem", json!({"code": code})).await.ok();
}

/// T8: no page of a link is kept, found by a search, or told where its visitor came from; nothing on it runs.
#[tokio::test]
async fn t8_answers_leak_nothing() {
    let (shop, link) = shop_and_link().await;
    for path in [link.as_str(), "/l/AAAAAAAAAAAAAAAAAAAA", "/l/x", "/l/%ff", "/l/..%2f..%2fetc"] {
        for agent in [BROWSER, &[("user-agent", "Googlebot")]] {
            let response = visit(&shop, Method::GET, path, agent).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((header("referrer-policy"), header("cache-control")), ("no-referrer".into(), "no-store".into()));
            assert!(header("content-security-policy").starts_with("default-src 'none'"));
            assert_eq!(header("x-robots-tag"), "noindex, nofollow");
            if path != link {
                assert_eq!(response.status(), 404);
                assert!(response.text().await.unwrap().contains("has expired"));
            }
        }
    }
}

/// T8: seven days, both sides; after them a page says so, and a log-in that was handed out before is not good.
#[tokio::test]
async fn t8_a_link_lives_seven_days() {
    let (shop, link) = shop_and_link().await;
    shop.advance(7 * DAY_MS - 1).await;
    let code = login(&click(&shop, &link).await).unwrap();
    shop.advance(1).await;
    let expired = visit(&shop, Method::GET, &link, BROWSER).await;
    assert_eq!((expired.status().as_u16(), expired.headers().get("location")), (410, None));
    assert!(expired.text().await.unwrap().contains("has expired"));
    let refused = shop.post("/v1/link-codes/redeem", json!({"code": code})).await;
    assert_eq!((refused.status, refused.code()), (410, "gone"));
}

/// T8: five minutes for a log-in, both sides.
#[tokio::test]
async fn t8_a_log_in_lives_five_minutes() {
    for (wait_ms, status) in [(299_999, 200), (300_000, 410)] {
        let (shop, link) = shop_and_link().await;
        let code = login(&click(&shop, &link).await).unwrap();
        shop.advance(wait_ms).await;
        assert_eq!(shop.post("/v1/link-codes/redeem", json!({"code": code})).await.status, status, "{wait_ms}");
    }
}

/// T8: no open redirect: a reply's own link leads only to hosts on the list, and is refused before it is sent.
#[tokio::test]
async fn t8_links_lead_to_hosts_on_the_list_only() {
    let (shop, _) = shop_and_link().await;
    shop.advance(600_000).await;
    post(&shop, "r2", json!({"link": "https://pay.shop.example/2", "channels": ["text"]})).await.ok();
    shop.advance(0).await;
    let link = link_of(&shop).await;
    assert_eq!(click(&shop, &link).await.host_str(), Some("pay.shop.example"));
    settings(&shop, json!({"conversation_url": PAGE, "link_hosts": ["shop.example"]})).await;
    assert_eq!(click(&shop, &link).await.path(), "/chat/ann", "the list is looked at when it is clicked, too");
    let refused = post(&shop, "r3", json!({"link": "https://evil.example/"})).await;
    assert_eq!((refused.status, &refused.body["errors"][0]["code"]), (400, &json!("host_not_allowed")));
    for wrong in [
        json!({"conversation_url": "https://evil.example/{conversation_id}", "link_hosts": ["shop.example"]}),
        json!({"conversation_url": "javascript:alert(1)"}),
        json!({"conversation_url": "/chat/{conversation_id}"}),
        json!({"link_hosts": ["https://shop.example"]}),
        json!({"link_hosts": []}),
    ] {
        assert_eq!(shop.put("/v1/settings", wrong.clone()).await.status, 400, "{wrong}");
    }
}

/// S8: an erased customer's links lead nowhere and log nobody in; another workspace cannot redeem a log-in.
#[tokio::test]
async fn s8_links_of_an_erased_customer_are_dead() {
    let (shop, link) = shop_and_link().await;
    let code = login(&click(&shop, &link).await).unwrap();
    let (other, _) = shop_and_link().await;
    assert_eq!(other.post("/v1/link-codes/redeem", json!({"code": code})).await.status, 404);
    shop.request(Method::DELETE, "/v1/customers/ann", None).await;
    assert_eq!(visit(&shop, Method::GET, &link, BROWSER).await.status(), 410);
    assert_eq!(shop.post("/v1/link-codes/redeem", json!({"code": code})).await.status, 404);
}

/// W3, S8: what was answered to a redemption names the customer, and goes with them.
#[tokio::test]
async fn s8_a_kept_redemption_is_erased_with_its_customer() {
    let (shop, link) = shop_and_link().await;
    let code = login(&click(&shop, &link).await).unwrap();
    let bearer = format!("Bearer {}", shop.keys().api_key);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k1")];
    let redeem =
        async || shop.request_as(Method::POST, "/v1/link-codes/redeem", &headers, Some(json!({"code": code}))).await;
    let first = redeem().await.ok();
    assert_eq!(redeem().await.ok(), first);
    shop.delete("/v1/customers/ann").await.ok();
    let erased = redeem().await;
    assert_eq!((erased.status, erased.code()), (404, "not_found"));
}
