//! `backstop-bindgen`: generates bindings, compares their public surface, builds and packs the library.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod android;
mod api;
mod archive;
mod binary;
mod budget;
mod build;
mod check;
mod generate;
mod ios;
mod missing;
mod report;
mod testing;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Bindings and packages of the Backstop SDK.
#[derive(Parser)]
#[command(name = "backstop-bindgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the Kotlin or Swift that calls into the library.
    Generate(GenerateArgs),
    /// Compare the public surface of a façade with `bindings/api`.
    Api(ApiArgs),
    /// Build the library as apps ship it, and print where it is.
    Build(build::Options),
    /// Make the package of a platform, or check what can be checked anywhere.
    #[command(subcommand)]
    Package(Package),
    /// Check one built library against what its target asks for, and report its size.
    Inspect(check::InspectArgs),
}

#[derive(Subcommand)]
enum Package {
    /// The libraries of every ABI, and the AAR if the façade's classes are given. Needs the Android NDK.
    Android(android::Options),
    /// The XCFramework and the Swift package around it. Needs Xcode.
    Ios(ios::Options),
    /// The library that tests of Android apps load on this machine.
    Testing(testing::Options),
    /// Size, symbols, rules and templates. Needs neither.
    Check(check::Options),
}

#[derive(Args)]
struct GenerateArgs {
    language: Language,
    /// The built library, not stripped: it carries its own description.
    #[arg(long)]
    library: PathBuf,
    /// Where to write.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct ApiArgs {
    language: Language,
    /// Kotlin: the text of `javap -public`. Swift: the symbol graph (JSON). May be given more than once.
    #[arg(long, required = true)]
    input: Vec<PathBuf>,
    /// Write the golden file instead of comparing with it.
    #[arg(long)]
    update: bool,
}

/// A language with bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// For Android and the JVM.
    Kotlin,
    /// For Apple's systems.
    Swift,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Generate(args) => generate::generate(args.language, &args.library, &args.out),
        Command::Api(args) => api::run(args.language, &args.input, args.update),
        Command::Build(options) => build::build(&options).map(|library| println!("{}", library.display())),
        Command::Package(Package::Android(options)) => android::package(&options),
        Command::Package(Package::Ios(options)) => ios::package(&options),
        Command::Package(Package::Testing(options)) => testing::package(&options),
        Command::Package(Package::Check(options)) => check::check(&options),
        Command::Inspect(args) => check::inspect(&args),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("backstop-bindgen: {error:#}");
    // 2: nothing is wrong, something is not here.
    if error.is::<missing::Missing>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
