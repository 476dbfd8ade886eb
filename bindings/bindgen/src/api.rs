//! The public surface of a façade as sorted lines, compared with the golden file: a change of it is seen in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::Language;
use crate::workspace::root;

/// Compares what the inputs say with `bindings/api/<language>.txt`, or writes it there.
pub(crate) fn run(language: Language, inputs: &[PathBuf], update: bool) -> Result<()> {
    let mut surface = BTreeSet::new();
    for input in inputs {
        let text = fs::read_to_string(input).with_context(|| format!("cannot read {}", input.display()))?;
        let lines = match language {
            Language::Kotlin => kotlin(&text),
            Language::Swift => swift(&text),
        };
        surface.append(&mut lines.with_context(|| format!("cannot make sense of {}", input.display()))?);
    }
    if surface.is_empty() {
        bail!("the input shows no public declaration at all");
    }
    let (name, text) = match language {
        Language::Kotlin => ("kotlin", lines(&surface)),
        Language::Swift => ("swift", lines(&surface)),
    };
    let golden = root().join("bindings/api").join(format!("{name}.txt"));
    if update {
        fs::write(&golden, text).with_context(|| format!("cannot write {}", golden.display()))?;
        println!("{}: {} declarations", golden.display(), surface.len());
        return Ok(());
    }
    let known = fs::read_to_string(&golden)
        .with_context(|| format!("no {}; make it with `backstop-bindgen api {name} --update …`", golden.display()))?;
    compare(name, &known, &surface)?;
    println!("{name}: {} declarations, as in bindings/api/{name}.txt", surface.len());
    Ok(())
}

fn lines(surface: &BTreeSet<String>) -> String {
    surface.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

fn compare(name: &str, known: &str, surface: &BTreeSet<String>) -> Result<()> {
    let known: BTreeSet<&str> = known.lines().collect();
    let gone = known.iter().filter(|line| !surface.contains(**line)).map(|line| format!("- {line}\n"));
    let new = surface.iter().filter(|line| !known.contains(line.as_str())).map(|line| format!("+ {line}\n"));
    let difference: String = gone.chain(new).collect();
    if difference.is_empty() {
        return Ok(());
    }
    bail!(
        "the public surface is not that of bindings/api/{name}.txt:\n{difference}Meant so? Run this again with \
         --update, and say in CHANGELOG.md how apps move"
    )
}

/// One line a member, with its class before it, from the text of `javap -public`. What the compiler made for itself and
/// what is internal is no surface.
fn kotlin(text: &str) -> Result<BTreeSet<String>> {
    let (mut surface, mut class) = (BTreeSet::new(), None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with("Compiled from") {
            continue;
        }
        if let Some(declaration) = line.strip_suffix('{') {
            let declaration = declaration.trim();
            let words: Vec<&str> = declaration.split(['<', ' ']).collect();
            let at = words.iter().position(|word| ["class", "interface", "enum", "@interface"].contains(word));
            let name = at.and_then(|at| words.get(at + 1)).with_context(|| format!("no class in `{declaration}`"))?;
            let made = name.split('$').skip(1).any(|part| part.starts_with(|c: char| c.is_ascii_digit()));
            let hidden = made || name.contains(".internal.") || name.contains("$sam$") || name.contains("WhenMappings");
            class = (!hidden).then(|| (*name).to_owned());
            if !hidden {
                surface.insert(declaration.to_owned());
            }
        } else if let Some(class) = class.as_ref().filter(|_| line != "}") {
            let made = ["access$", "$default(", "kotlinx.serialization", "DefaultConstructorMarker"];
            if !made.iter().any(|mark| line.contains(mark)) {
                surface.insert(format!("{class}: {}", line.trim_end_matches(';')));
            }
        }
    }
    Ok(surface)
}

#[derive(Deserialize)]
struct SymbolGraph {
    symbols: Vec<Symbol>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Symbol {
    identifier: Identifier,
    kind: Kind,
    path_components: Vec<String>,
    access_level: String,
    #[serde(default)]
    declaration_fragments: Vec<Fragment>,
}

#[derive(Deserialize)]
struct Identifier {
    precise: String,
}

#[derive(Deserialize)]
struct Kind {
    identifier: String,
}

#[derive(Deserialize)]
struct Fragment {
    spelling: String,
}

/// One line a declaration, with its path before it, from a symbol graph. What the compiler adds is no surface.
fn swift(text: &str) -> Result<BTreeSet<String>> {
    let graph: SymbolGraph = serde_json::from_str(text).context("is no symbol graph")?;
    let made = "::SYNTHESIZED::";
    let public = graph.symbols.into_iter().filter(|symbol| {
        ["public", "open"].contains(&symbol.access_level.as_str()) && !symbol.identifier.precise.contains(made)
    });
    let lines = public.map(|symbol| {
        let declaration: String = symbol.declaration_fragments.into_iter().map(|fragment| fragment.spelling).collect();
        let words = declaration.split_whitespace().collect::<Vec<_>>().join(" ");
        let kind = symbol.kind.identifier.trim_start_matches("swift.").to_owned();
        format!("{}: {} {words}", symbol.path_components.join("."), kind).trim_end().to_owned()
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAVAP: &str = r#"Compiled from "Backstop.kt"
public final class dev.backstop.Backstop {
  public static final dev.backstop.Backstop INSTANCE;
  public final java.lang.Object flush(kotlin.coroutines.Continuation<? super dev.backstop.Flushed>);
  public static java.lang.Object flush$default(dev.backstop.Backstop, int, java.lang.Object);
  public static final void access$secret(dev.backstop.Backstop);
}
Compiled from "Backstop.kt"
public final class dev.backstop.Backstop$flush$1 {
  public final void invoke();
}
Compiled from "backstop_ffi.kt"
public final class dev.backstop.internal.Client {
  public final void destroy();
}
public abstract class dev.backstop.Proof<T> {
}
"#;

    #[test]
    fn the_kotlin_surface_is_what_apps_can_call() {
        let surface = kotlin(JAVAP).expect("read");
        assert_eq!(
            lines(&surface),
            "dev.backstop.Backstop: public final java.lang.Object flush(kotlin.coroutines.Continuation<? super \
             dev.backstop.Flushed>)\n\
             dev.backstop.Backstop: public static final dev.backstop.Backstop INSTANCE\n\
             public abstract class dev.backstop.Proof<T>\n\
             public final class dev.backstop.Backstop\n"
        );
    }

    #[test]
    fn the_swift_surface_leaves_out_what_the_compiler_adds() {
        let symbol = |precise: &str, level: &str| {
            format!(
                r#"{{"identifier":{{"precise":"{precise}"}},"kind":{{"identifier":"swift.method"}},
                "pathComponents":["Backstop","flush()"],"accessLevel":"{level}",
                "declarationFragments":[{{"kind":"keyword","spelling":"func"}},
                {{"kind":"text","spelling":" flush()\n async"}}]}}"#
            )
        };
        let graph = |symbol: String| swift(&format!(r#"{{"symbols":[{symbol}]}}"#)).expect("read");
        let surface = graph(symbol("s:1", "open"));
        assert_eq!(lines(&surface), "Backstop.flush(): method func flush() async\n");
        assert!(graph(symbol("s:1", "internal")).is_empty());
        assert!(graph(symbol("s:1::SYNTHESIZED::s:2", "public")).is_empty());
        assert!(swift("no JSON").is_err());
    }

    #[test]
    fn a_difference_is_shown_line_by_line_with_what_to_do() {
        let surface = BTreeSet::from(["a".to_owned(), "c".to_owned()]);
        assert!(compare("kotlin", "a\nc\n", &surface).is_ok());
        let error = compare("kotlin", "a\nb\n", &surface).expect_err("differs").to_string();
        assert!(error.contains("\n- b\n+ c\n") && error.contains("--update"), "{error}");
    }
}
