//! Defaults, ranges and refusals of settings.

use super::*;
use backstop_domain::limits::Limits;
use backstop_domain::text::TextService;
use backstop_domain::wallet::{Kind, Price, PriceList};
use std::sync::Arc;

fn fields(input: SettingsInput) -> Vec<String> {
    input.problems().into_iter().map(|e| e.field).collect()
}

/// S1: both switches are off in a new workspace and on in the sandbox; every other default is the rule's.
#[test]
fn defaults_are_the_rules() {
    let deployment = Policy { ack_wait_ms: 20_000, ..Policy::sandbox() };
    let new = SettingsInput::default().in_force(&deployment, false);
    assert!(!new.phone_number && !new.email && !new.bot_text);
    let sandbox = SettingsInput::default().in_force(&deployment, true);
    assert_eq!(sandbox.policy(&deployment), deployment, "20,000 is the deployment's, the rest the rules'");
}

/// P3: 1,000–30,000, both sides of each end.
#[test]
fn ack_wait_is_a_ceiling_of_30_s() {
    for (ack_wait_ms, taken) in [(999, false), (1_000, true), (30_000, true), (30_001, false)] {
        let input = SettingsInput { ack_wait_ms: Some(ack_wait_ms), ..SettingsInput::default() };
        assert_eq!(fields(input).is_empty(), taken, "{ack_wait_ms}");
    }
}

/// W4: every wrong field is named at once.
#[test]
fn every_wrong_field_is_named() {
    let input = SettingsInput {
        ack_grade: Some(Grade::Suppressed),
        hidden_after_ms: Some(-1),
        company_name: Some("Shop\r\nBcc: a@b".into()),
        country: Some("kr".into()),
        link_schemes: Some(vec!["https".into(), "javascript".into(), "My App".into()]),
        ..SettingsInput::default()
    };
    let expected = ["hidden_after_ms", "ack_grade", "company_name", "country", "link_schemes[1]", "link_schemes[2]"];
    assert_eq!(fields(input), expected);
}

#[test]
fn what_was_chosen_reads_back_and_unknown_fields_do_not() {
    let input = SettingsInput { country: Some("KR".into()), email: Some(true), ..SettingsInput::default() };
    let text = serde_json::to_string(&input).unwrap();
    assert_eq!(serde_json::from_str::<SettingsInput>(&text).unwrap(), input);
    assert_eq!(input.in_force(&Policy::sandbox(), false).region(), Some(Region::KR));
    assert!(serde_json::from_str::<SettingsInput>(r#"{"emails": true}"#).is_err());
}

/// T4: a workspace's routes come before the deployment's, and name what the deployment has.
#[test]
fn t4_a_workspace_has_routes_of_its_own() {
    let text = [TextService::xms("smpp"), TextService { ways: vec![Way::Line], ..TextService::xms("line") }];
    let ours = Routes::parse(&["*: smpp"]).unwrap();
    let services = Services { text: text.to_vec(), routes: ours.clone(), ..Policy::sandbox().services };
    let deployment = Policy { services, ..Policy::sandbox() };
    let routes = |lines: &[&str]| SettingsInput {
        text_routes: Some(lines.iter().map(|line| (*line).to_owned()).collect()),
        ..SettingsInput::default()
    };
    let in_force = |input: SettingsInput| input.in_force(&deployment, true).policy(&deployment).services.routes;
    assert_eq!(in_force(SettingsInput::default()), ours);
    assert_eq!(in_force(routes(&["KR: smpp"])), Routes::parse(&["KR: smpp"]).unwrap());
    assert_eq!(in_force(routes(&[])), Routes::default(), "none: as if nobody had written any");
    assert_eq!(fields(routes(&["KR: smpp", "smpp"])), ["text_routes[1]"]);
    let unknown = |lines: &[&str]| routes(lines).unknown_routes(&deployment.services);
    assert!(unknown(&["KR: smpp"]).is_empty());
    let errors = unknown(&["KR: smpp", "*: twilio, smpp", "JP: line"]);
    let named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(named, ["text_routes[1]", "text_routes[2]"]);
    assert_eq!(errors[0].message, "name providers of this deployment that carry SMS: smpp");
}

/// S2: a way before SMS that has no price is named, where anything has one.
#[test]
fn s2_settings_say_which_way_has_no_price() {
    let told = |kinds: &[Kind]| {
        let price = |kind: &Kind| Price { from: 0, country: None, kind: *kind, micros: 1, pu_milli: 1 };
        let prices = PriceList { currency: "USD".into(), prices: kinds.iter().map(price).collect() };
        let limits = Limits { prices: Arc::new(prices), ..Limits::none() };
        let input: SettingsInput = serde_json::from_str(r#"{"sns": ["alimtalk", "line"]}"#).unwrap();
        let deployment = Policy::sandbox();
        let advice = input.in_force(&deployment, true).advice(&deployment.services, &limits);
        advice.contains(&Advice::SnsWithoutPrice)
    };
    assert!(told(&[Kind::Sms]) && told(&[Kind::Sms, Kind::Alimtalk]));
    assert!(!told(&[Kind::Line, Kind::Alimtalk]) && !told(&[]), "without a list nobody is charged");
}

/// T4, T6: the company is told what texts to its customers lack: a relay in Korea, and numbers of its own.
#[test]
fn t6_settings_say_what_texts_lack() {
    let deployment = Policy::sandbox();
    let relay = TextService { is_korean: true, ..TextService::xms("solapi") };
    let line = TextService { ways: vec![Way::Line], ..TextService::xms("line") };
    let told = |json: &str, text: &[&TextService]| {
        let input: SettingsInput = serde_json::from_str(json).unwrap();
        let services = Services { text: text.iter().copied().cloned().collect(), ..deployment.services.clone() };
        let advice = input.in_force(&deployment, true).advice(&services, &deployment.limits);
        advice.into_iter().map(Advice::code).collect::<Vec<_>>()
    };
    let (foreign, lost) = ("no_korean_relay", "answers_are_lost");
    let twilio = TextService::xms("twilio");
    let seoul = r#"{"country": "KR", "senders": {"KR": "+82215880000"}}"#;
    assert_eq!(told(seoul, &[&twilio]), [foreign]);
    assert_eq!(told(seoul, &[&twilio, &line]), [foreign]);
    assert_eq!(told(seoul, &[&twilio, &relay]), [""; 0]);
    assert_eq!(told(r#"{"country": "KR"}"#, &[&twilio]), [foreign, lost]);
    let both = r#"{"country": "US", "countries": ["KR"], "senders": {"US": "+14155550100"}}"#;
    assert_eq!(told(both, &[&twilio]), [foreign, lost], "answers from Korea are");
    let chicago = r#"{"country": "US", "senders": {"US": "+14155550100"}}"#;
    assert_eq!(told(chicago, &[&twilio]), [""; 0]);
}
