//! `/v1/alimtalk-templates`: what is taken, what is refused by name, which one is in use, what a preview shows (T3).

use crate::http_support::{Rig, Shop};
use axum::http::Method;
use serde_json::{Value, json};

pub(crate) fn template() -> Value {
    json!({
        "sender_profile": "KA01PF260101000000000shop",
        "content": "[#{회사}] #{고객명}님, 새 답변이 도착했습니다.\n\n#{답변}",
        "buttons": [{"name": "답변 확인하기", "url": "https://#{링크}"}],
        "variables": {
            "회사": {"from": "company"},
            "고객명": {"from": "customer_name", "text": "고객"},
            "답변": {"from": "excerpt"},
            "링크": {"from": "link_without_scheme"},
        },
    })
}

fn with(mut template: Value, field: &str, value: Value) -> Value {
    template[field] = value;
    template
}

const PATH: &str = "/v1/alimtalk-templates";

async fn put(rig: &Rig, shop: &Shop, id: &str, body: Value) -> Value {
    rig.put(shop, &format!("{PATH}/{id}"), body).await.expect(200)
}

/// T3: a template is kept as it was put, shown to its workspace alone, and noted in the audit log.
#[tokio::test]
async fn t3_a_template_is_kept() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    let made = put(&rig, &shop, "KA01TP1", template()).await;
    for (field, value) in template().as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
    }
    assert_eq!((&made["template_id"], &made["in_use"]), (&json!("KA01TP1"), &json!(true)));
    assert_eq!((&made["status"], &made["default"], &made["findings"]), (&json!("active"), &json!(false), &json!([])));
    assert_eq!(put(&rig, &shop, "KA01TP1", template()).await, made, "nothing changed, nor did the time");
    assert_eq!(rig.get(&shop, &format!("{PATH}/KA01TP1")).await.expect(200), made);
    assert_eq!(rig.get(&shop, PATH).await.expect(200), json!({"data": [made], "next_cursor": null}));
    rig.get(&other, &format!("{PATH}/KA01TP1")).await.refused(404, "not_found");
    for _ in 0..2 {
        rig.delete(&shop, &format!("{PATH}/KA01TP1")).await.expect(204);
    }
    rig.get(&shop, &format!("{PATH}/KA01TP1")).await.refused(404, "not_found");
    let log = rig.get(&shop, "/v1/audit").await.expect(200);
    let kinds: Vec<&Value> = log["data"].as_array().unwrap().iter().map(|line| &line["kind"]).collect();
    assert_eq!(kinds[..2], [&json!("alimtalk_template_deleted"), &json!("alimtalk_template_changed")], "{log}");
}

/// T3: of several the default one is in use, then the one that changed last; a paused one never.
#[tokio::test]
async fn t3_one_template_is_in_use() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let in_use = || async {
        let all = rig.get(&shop, PATH).await.expect(200);
        let used = all["data"].as_array().unwrap().iter().filter(|template| template["in_use"] == true);
        used.map(|template| template["template_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    put(&rig, &shop, "a", with(template(), "default", json!(true))).await;
    put(&rig, &shop, "b", template()).await;
    assert_eq!(in_use().await, ["a"]);
    let paused = with(with(template(), "default", json!(true)), "status", json!("paused"));
    put(&rig, &shop, "a", paused).await;
    assert_eq!(in_use().await, ["b"]);
    put(&rig, &shop, "b", with(template(), "status", json!("paused"))).await;
    assert_eq!(in_use().await, Vec::<String>::new());
}

/// T3: what cannot work is refused by the name of its field; what may not is said.
#[tokio::test]
async fn t3_what_cannot_work_is_refused() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let button = |name: &str, url: &str| json!([{"name": name, "url": url}]);
    let six = Value::Array(vec![button("보기", "https://#{링크}")[0].clone(); 6]);
    for (body, field) in [
        (with(template(), "sender_profile", json!("")), "sender_profile"),
        (with(template(), "sender_profile", json!("a b")), "sender_profile"),
        (with(template(), "content", json!("")), "content"),
        (with(template(), "content", json!("가".repeat(1_001))), "content"),
        (with(template(), "content", json!("가".repeat(9_000))), "content"),
        (with(template(), "content", json!("안녕하세요 #{회사")), "content"),
        (with(template(), "content", json!("#{회사}")), "content"),
        (with(template(), "content", json!("#{없는것}님께")), "variables.없는것"),
        (with(template(), "variables", json!({"회사": {}})), "variables.회사"),
        (with(template(), "buttons", six), "buttons"),
        (with(template(), "buttons", button(&"가".repeat(15), "https://#{링크}")), "buttons[0].name"),
        (with(template(), "buttons", button("보기", "javascript:#{링크}")), "buttons[0].url"),
        (with(template(), "buttons", button("보기", "https://shop.example/#{링크}")), "variables.링크"),
    ] {
        let answer = rig.put(&shop, &format!("{PATH}/t"), body.clone()).await;
        answer.refused(400, "invalid_request");
        assert!(answer.fields().contains(&field), "{field}: {}", answer.text);
        let told = rig.post(&shop, &format!("{PATH}/lint"), body).await.expect(200);
        assert_eq!(told["usable"], false, "{field}: {told}");
    }
    for strange in [json!([]), with(template(), "variables", json!({"회사": {"from": "phone"}})), json!({"content": 1})]
    {
        rig.put(&shop, &format!("{PATH}/t"), strange).await.refused(400, "invalid_request");
    }
    rig.put(&shop, &format!("{PATH}/lint"), template()).await.refused(405, "method_not_allowed");
    assert_eq!(rig.get(&shop, PATH).await.expect(200)["data"], json!([]), "nothing of all that is kept");
    let sold = with(template(), "content", json!("[#{회사}] #{고객명}님, 오늘만 50% 할인! #{답변}"));
    let told = rig.post(&shop, &format!("{PATH}/lint"), sold.clone()).await.expect(200);
    assert_eq!((&told["usable"], &told["findings"][0]["code"]), (&json!(true), &json!("advert")), "{told}");
    assert_eq!(put(&rig, &shop, "t", sold).await["findings"][0]["level"], "warning");
    for n in 1..50 {
        put(&rig, &shop, &format!("t{n}"), template()).await;
    }
    rig.put(&shop, &format!("{PATH}/t50"), template()).await.refused(400, "invalid_request");
    put(&rig, &shop, "t49", with(template(), "default", json!(true))).await;
}

/// T3: a preview shows what the customer would read, or why it would not be sent; nothing is.
#[tokio::test]
async fn t3_a_preview_is_what_would_be_sent() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    put(&rig, &shop, "t", template()).await;
    let preview = |body: Value| {
        let (rig, shop) = (&rig, &shop);
        async move { rig.post(shop, &format!("{PATH}/t/preview"), body).await.expect(200) }
    };
    let values = json!({"customer_name": "김하나", "text": "내일\n도착합니다.", "link": "https://shop.example/c/1"});
    let shown = preview(values).await;
    assert_eq!(shown["text"], "[shop] 김하나님, 새 답변이 도착했습니다.\n\n내일 도착합니다.");
    assert_eq!(shown["buttons"], json!([{"name": "답변 확인하기", "url": "https://shop.example/c/1"}]));
    assert_eq!((&shown["matches"], &shown["chars"]), (&json!(true), &json!(37)));
    let bare = preview(json!({})).await;
    assert!(bare["text"].as_str().unwrap().starts_with("[shop] 고객님, "), "{bare}");
    let app = preview(json!({"link": "myshop://chat/1"})).await;
    assert_eq!(
        (&app["matches"], &app["why"], &app["field"]),
        (&json!(false), &json!("leads_elsewhere"), &json!("buttons[0].url"))
    );
    rig.post(&shop, &format!("{PATH}/x/preview"), json!({})).await.refused(404, "not_found");
    rig.post(&shop, &format!("{PATH}/t/preview"), json!({"name": "x"})).await.refused(400, "invalid_request");
}

/// An app's key, or none, changes nothing.
#[tokio::test]
async fn only_the_backend_changes_templates() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let (path, app_key) = (format!("{PATH}/t"), format!("Bearer {}", shop.app_key));
    let headers = [("authorization", app_key.as_str())];
    rig.call(Method::PUT, &path, &headers, Some(&template())).await.refused(403, "forbidden");
    rig.call(Method::PUT, &path, &[], Some(&template())).await.refused(401, "unauthorized");
    rig.call(Method::GET, PATH, &[], None).await.refused(401, "unauthorized");
}
