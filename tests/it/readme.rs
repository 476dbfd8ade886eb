//! Holds the README to the truth: its examples run, and its table of keys is the configuration's own.

use crate::apps::{key_file, p8};
use backstop_domain::followup::Policy;
use backstop_server::settings::{FIELDS, SettingsInput};
use backstop_server::testing::Sandbox;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../readme/ten_lines.rs"]
mod ten_lines;

/// P3
#[tokio::test]
async fn the_readmes_shell_lines_keep_the_promise() {
    let script = ["-eu", "-o", "pipefail", "tests/readme/ten_lines.sh"];
    run(Command::new("bash").args(script).current_dir(root())).await;
}

/// P3
#[tokio::test]
async fn the_readmes_python_lines_keep_the_promise() {
    run(Command::new("python3").arg("tests/readme/ten_lines.py").current_dir(root())).await;
}

/// P12: with keys in the form that Apple and Google hand out.
#[tokio::test]
async fn the_readmes_keys_are_taken() {
    let dir = tempfile::tempdir().expect("there is room");
    let script = root().join("tests/readme/put_app.sh");
    fs::write(dir.path().join("AuthKey_K1L2M3N4P5.p8"), p8()).expect("there is room");
    fs::write(dir.path().join("shop-firebase-adminsdk.json"), key_file("key-1").to_string()).expect("there is room");
    let mut example = Command::new("bash");
    run(example.args(["-eu", "-o", "pipefail"]).arg(script).current_dir(dir.path()).env("API_KEY", "sk_sandbox")).await;
}

/// T3: the template and the settings of the recipe.
#[tokio::test]
async fn the_readmes_korean_template_is_taken() {
    let script = ["-eu", "-o", "pipefail", "tests/readme/korea.sh"];
    run(Command::new("bash").args(script).current_dir(root()).env("API_KEY", "sk_sandbox")).await;
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

async fn run(example: &mut Command) {
    let sandbox = Sandbox::start().await;
    let done = example.env("BACKSTOP", sandbox.url()).output().expect("the interpreter is there");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{}\n{out}\n{err}", done.status);
}

#[test]
fn the_readme_shows_the_examples_that_run() {
    let readme = read("README.md");
    for (language, file) in [
        ("sh", "ten_lines.sh"),
        ("sh", "put_app.sh"),
        ("sh", "korea.sh"),
        ("python", "ten_lines.py"),
        ("rust", "ten_lines.rs"),
    ] {
        let shown = format!("```{language}\n{}```\n", read(&format!("tests/readme/{file}")));
        assert!(readme.contains(&shown), "README.md should show tests/readme/{file} as it is");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the file is part of the repository")
}

#[test]
fn the_readme_lists_every_key_of_the_configuration() {
    let expected = table(&read("server/config.default.toml"));
    assert!(expected.lines().count() > 20, "hardly a key was found: has the file another form?\n{expected}");
    assert!(read("README.md").contains(&expected), "README.md: the table of keys should be\n\n{expected}");
}

/// S1: every setting of a workspace with its default in a new one, what it is for and why.
#[test]
fn the_readme_lists_every_setting() {
    let defaults = SettingsInput::default().in_force(&Policy::sandbox(), false);
    let defaults = serde_json::to_value(defaults).expect("settings are JSON");
    let mut rows = vec!["| Setting | Default | |".to_owned(), "|---|---|---|".to_owned()];
    rows.extend(FIELDS.iter().map(|field| {
        let default = match &defaults[field.name] {
            serde_json::Value::Null => "–".to_owned(),
            value => format!("`{}`", value.to_string().replace(',', ", ")),
        };
        format!("| `{}` | {default} | {} |", field.name, field.about.trim())
    }));
    let expected = rows.join("\n");
    assert!(read("README.md").contains(&expected), "README.md: the table of settings should be\n\n{expected}");
}

/// One row a key: its name, its default, and the first sentence of the comment above it.
fn table(defaults: &str) -> String {
    let mut rows = vec!["| Key | Default | |".to_owned(), "|---|---|---|".to_owned()];
    let (mut section, mut comment, mut in_comment) = (String::new(), String::new(), false);
    for line in defaults.lines() {
        if let Some((key, value)) = key(line) {
            let (unset, text) = (line.starts_with('#'), sentence(&comment));
            let default = if unset { "–".to_owned() } else { format!("`{value}`") };
            rows.push(format!("| `{section}.{key}` | {default} | {text} |"));
            in_comment = false;
        } else if let Some(text) = line.strip_prefix("# ") {
            comment = if in_comment { format!("{comment} {text}") } else { text.to_owned() };
            in_comment = true;
        } else {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
            }
            in_comment = false;
        }
    }
    rows.join("\n")
}

/// `key = value`, also where the line is commented out because the key has no default.
fn key(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ")?;
    let named = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let plain = matches!(value, "true" | "false") || value.bytes().all(|b| b.is_ascii_digit());
    let toml = plain || value.starts_with(['"', '[']);
    (named && toml).then_some((key, value))
}

fn sentence(comment: &str) -> &str {
    comment.find(". ").map_or(comment, |end| &comment[..=end])
}
