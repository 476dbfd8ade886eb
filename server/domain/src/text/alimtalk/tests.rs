//! Templates: what is filled in, what would not match, what the linter says.

use super::*;
use proptest::prelude::*;

const LINK: &str = "https://chat.example/l/AbCd0123";

fn variable(from: Field) -> Variable {
    Variable { from: Some(from), text: None }
}

fn template() -> Template {
    let text = Some("고객".to_owned());
    Template {
        content: "[#{회사}] #{고객명}님, #{담당자}님의 답변이 도착했습니다.\n#{답변}".into(),
        buttons: vec![Button { name: "답변 확인하기".into(), url: "https://#{링크}".into() }],
        variables: [
            ("회사", variable(Field::Company)),
            ("고객명", Variable { from: Some(Field::CustomerName), text }),
            ("담당자", variable(Field::Author)),
            ("답변", variable(Field::Excerpt)),
            ("링크", variable(Field::LinkWithoutScheme)),
        ]
        .map(|(name, variable)| (name.to_owned(), variable))
        .into(),
    }
}

fn values() -> Values<'static> {
    Values {
        company: "바다상점",
        customer_name: Some("김하나"),
        author: Some("미나"),
        excerpt: Some("내일 도착합니다."),
        link: Some(LINK),
    }
}

fn codes(template: &Template) -> Vec<(Level, String, &'static str)> {
    lint(template).into_iter().map(|found| (found.level, found.field, found.code)).collect()
}

/// T3: the approved text with its values, and a button to the conversation.
#[test]
fn t3_a_template_is_filled_in() {
    let rendered = render(&template(), &values()).unwrap();
    assert_eq!(rendered.text, "[바다상점] 김하나님, 미나님의 답변이 도착했습니다.\n내일 도착합니다.");
    assert_eq!(rendered.buttons, [Button { name: "답변 확인하기".into(), url: LINK.into() }]);
    assert_eq!(rendered.variables["링크"], "chat.example/l/AbCd0123");
    assert_eq!(rendered.variables.len(), 5);
    let nameless = Values { customer_name: None, ..values() };
    assert_eq!(render(&template(), &nameless).unwrap().variables["고객명"], "고객", "what stands in");
    let blank = Values { customer_name: Some(" \n "), ..values() };
    assert_eq!(render(&template(), &blank).unwrap().variables["고객명"], "고객");
    assert_eq!(lint(&template()), []);
}

/// T3: each way in which Kakao would refuse it is found before it is sent.
#[test]
fn t3_what_would_not_match_is_caught() {
    let with = |change: &dyn Fn(&mut Template)| {
        let mut changed = template();
        change(&mut changed);
        render(&changed, &values()).unwrap_err()
    };
    let missing = |name: &str| Mismatch::Missing(name.into());
    assert_eq!(render(&template(), &Values { author: None, ..values() }), Err(missing("담당자")));
    assert_eq!(
        render(&template(), &Values { excerpt: Some("\u{200b}".trim_matches('\u{200b}')), ..values() }),
        Err(missing("답변"))
    );
    assert_eq!(render(&template(), &Values { link: None, ..values() }), Err(missing("링크")));
    assert_eq!(with(&|t| drop(t.variables.remove("회사"))), missing("회사"));
    assert_eq!(with(&|t| t.content.push_str("#{")), Mismatch::Malformed);
    assert_eq!(with(&|t| t.content.push_str(&"가".repeat(1_000))), Mismatch::TooLong);
    assert_eq!(with(&|t| t.buttons[0].url = "#{고객명}".into()), Mismatch::Url(0));
    assert_eq!(with(&|t| t.buttons[0].url = "https://shop.example/#{고객명}".into()), Mismatch::Url(0), "not ASCII");
    let twice = with(&|t| t.variables.insert("링크".into(), variable(Field::Link)).map_or((), drop));
    assert_eq!(twice, Mismatch::LeadsElsewhere(0), "https://https://");
    assert_eq!(with(&|t| t.buttons[0].url = "https://old.example/#{링크}".into()), Mismatch::LeadsElsewhere(0));
    let app = Values { link: Some("myshop://chat/1"), ..values() };
    assert_eq!(render(&template(), &app), Err(Mismatch::LeadsElsewhere(0)));
}

/// T3: 1,000 characters go, of 1,001 the excerpt gives way; where there is none to cut, nothing goes.
#[test]
fn t3_the_excerpt_gives_way_at_1000_characters() {
    let fixed = |chars: usize| {
        let mut long = template();
        long.content = format!("{}#{{답변}}", "가".repeat(chars));
        long
    };
    let shown = |chars: usize, excerpt: &str| {
        let rendered = render(&fixed(chars), &Values { excerpt: Some(excerpt), ..values() });
        rendered.map(|rendered| (length(&rendered.text), rendered.variables["답변"].clone()))
    };
    assert_eq!(shown(995, "12345"), Ok((1_000, "12345".into())));
    assert_eq!(shown(996, "12345"), Ok((1_000, "123…".into())));
    assert_eq!(shown(999, "12345"), Ok((1_000, "…".into())));
    assert_eq!(shown(1_000, "12345"), Err(Mismatch::TooLong));
    assert_eq!(shown(10, &"x".repeat(5_000)).unwrap().0, 10 + MAX_EXCERPT_CHARS);
    let (chars, family) = shown(995, "👨‍👩‍👧‍👦👨‍👩‍👧‍👦").unwrap();
    assert!(chars <= 1_000 && family == "…", "no family is torn apart: {family}");
}

/// A value cannot bring a variable, or a line, of its own.
#[test]
fn values_stay_values() {
    let sly = Values { customer_name: Some("a\r\nb\u{7}#{회사} ##{{x}"), ..values() };
    let rendered = render(&template(), &sly).unwrap();
    assert_eq!(rendered.variables["고객명"], "a b # {회사} ## {{x}");
    assert_eq!(rendered.text.lines().count(), 2);
}

/// T3: the linter names the field and the mend.
#[test]
fn t3_the_linter_finds_what_is_wrong() {
    let with = |change: &dyn Fn(&mut Template)| {
        let mut changed = template();
        change(&mut changed);
        codes(&changed)
    };
    let error = |field: &str, code| vec![(Level::Error, field.to_owned(), code)];
    let warning = |field: &str, code| vec![(Level::Warning, field.to_owned(), code)];
    assert_eq!(with(&|t| drop(t.variables.remove("회사"))), error("variables.회사", "required"));
    let unused = with(&|t| t.variables.insert("x".into(), variable(Field::Author)).map_or((), drop));
    assert_eq!(unused, warning("variables.x", "unused"));
    assert_eq!(with(&|t| t.content.push_str(" 10% 할인")), warning("content", "advert"));
    assert_eq!(with(&|t| t.content.push_str(" ${name}")), warning("content", "not_a_variable"));
    assert_eq!(with(&|t| t.content.push_str(&"가".repeat(700))), warning("content", "may_be_too_long"));
    assert_eq!(with(&|t| t.content.push_str(&"가".repeat(1_000))), error("content", "too_long"));
    assert!(with(&|t| t.content = " ".into()).contains(&(Level::Error, "content".into(), "required")));
    for broken in ["#{a", "#{a\n}", "#{a#{b}}"] {
        let found = with(&|t| t.content = format!("글 {broken}"));
        assert!(found.contains(&(Level::Error, "content".into(), "unclosed_variable")), "{broken}: {found:?}");
    }
    for bad in ["#{}", "#{ }", "#{a.b}", "#{a{b}"] {
        let found = with(&|t| t.content = format!("글 {bad}"));
        assert!(found.contains(&(Level::Error, "content".into(), "bad_variable")), "{bad}: {found:?}");
    }
    assert!(with(&|t| t.content = "#{회사} #{고객명}!".into()).contains(&error("content", "only_variables")[0]));
    let named = |name: &str| with(&|t| t.buttons[0].name = name.into());
    assert_eq!(named(&"가".repeat(14)), []);
    for name in ["", "  ", "#{회사}", "a\nb", &"가".repeat(15)] {
        assert_eq!(named(name), error("buttons[0].name", "invalid"), "{name:?}");
    }
    assert_eq!(with(&|t| t.buttons = vec![t.buttons[0].clone(); 5]), []);
    assert_eq!(with(&|t| t.buttons = vec![t.buttons[0].clone(); 6]), error("buttons", "too_many"));
    for url in ["#{링크}", "ftp://#{링크}", "shop.example/#{링크}"] {
        assert_eq!(with(&|t| t.buttons[0].url = url.into()), error("buttons[0].url", "invalid"), "{url}");
    }
    let host = |t: &mut Template| t.buttons[0].url = "https://chat.example/#{링크}".into();
    assert_eq!(with(&host), error("variables.링크", "wrong_link"));
    let path = with(&|t| {
        host(t);
        t.variables.insert("링크".into(), variable(Field::LinkPath));
    });
    assert_eq!(path, []);
    let long = with(&|t| t.buttons[0].url = format!("https://{}/#{{링크}}", "a".repeat(100)));
    assert!(long.contains(&warning("buttons[0].url", "long_url")[0]), "{long:?}");
    assert!(with(&|t| t.buttons.clear()).contains(&warning("variables", "no_link")[0]));
    let nothing = |t: &mut Template| drop(t.variables.insert("회사".into(), Variable { from: None, text: None }));
    assert_eq!(with(&nothing), error("variables.회사", "invalid"));
    let many: String = (0..41).map(|n| format!("#{{v{n}}} ")).collect();
    assert!(with(&|t| t.content = format!("글 {many}")).contains(&error("content", "too_many_variables")[0]));
}

#[test]
fn fields_have_words() {
    for field in Field::ALL {
        assert_eq!(Field::parse(field.as_str()), Some(field));
        assert_eq!(serde_json::to_string(&field).unwrap(), format!("\"{}\"", field.as_str()));
    }
    assert_eq!(Field::parse("phone"), None);
}

fn any_template() -> impl Strategy<Value = Template> {
    let field = prop::sample::select(Field::ALL.to_vec());
    let variable =
        (prop::option::of(field), prop::option::of(".{0,8}")).prop_map(|(from, text)| Variable { from, text });
    let part = prop_oneof![".{0,20}", "#\\{[a-c]\\}", "[#{}.\n$]{0,4}", "가{0,300}"];
    let text = prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat());
    let url = prop_oneof![Just("https://#{a}".to_owned()), Just("https://chat.example/#{b}".to_owned()), ".{0,30}"];
    let button = (".{0,16}", url).prop_map(|(name, url)| Button { name, url });
    let variables = prop::collection::btree_map("[a-c]", variable, 0..4);
    (text, prop::collection::vec(button, 0..7), variables).prop_map(|(content, buttons, variables)| Template {
        content,
        buttons,
        variables,
    })
}

proptest! {
    /// T3: what is rendered is the approved text with nothing but its variables replaced, within Kakao's bounds.
    #[test]
    fn t3_nothing_but_variables_changes(
        template in any_template(), name in prop::option::of(".{0,150}"), excerpt in prop::option::of(".{0,300}"),
    ) {
        let values = Values { customer_name: name.as_deref(), excerpt: excerpt.as_deref(), ..values() };
        let findings = lint(&template);
        let Ok(rendered) = render(&template, &values) else { return Ok(()) };
        prop_assert!(length(&rendered.text) <= MAX_CHARS);
        let mut again = String::new();
        for piece in pieces(&template.content).unwrap() {
            match piece {
                Piece::Text(text) => again.push_str(text),
                Piece::Variable(name) => again.push_str(&rendered.variables[name]),
            }
        }
        prop_assert_eq!(&again, &rendered.text);
        for value in rendered.variables.values() {
            let is_value = !value.is_empty() && !value.contains("#{") && !value.contains(char::is_control);
            prop_assert!(is_value, "{:?}", value);
        }
        for (button, filled) in template.buttons.iter().zip(&rendered.buttons) {
            prop_assert_eq!(&button.name, &filled.name);
            prop_assert!(filled.url.starts_with("http"));
        }
        let syntax = ["unclosed_variable", "bad_variable"];
        prop_assert!(!findings.iter().any(|found| syntax.contains(&found.code)), "what reads has no such fault");
    }

    /// A text is the sum of its parts.
    #[test]
    fn pieces_are_the_whole_text(text in "[#{}a-c.\n가]{0,40}") {
        if let Ok(pieces) = pieces(&text) {
            let whole: String = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => (*text).to_owned(),
                Piece::Variable(name) => format!("#{{{name}}}"),
            }).collect();
            prop_assert_eq!(whole, text);
        }
    }
}
