//! `cairn completions` and `cairn man`: files for shells and for `man`, from the definitions of the command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man as Page;
use node::exit::Failure;

use super::output;

const COMPLETIONS_HELP: &str = "\
Examples:
  cairn completions bash > ~/.local/share/bash-completion/completions/cairn
  cairn completions zsh > ~/.zfunc/_cairn              zsh needs fpath+=~/.zfunc before compinit
  cairn completions fish > ~/.config/fish/completions/cairn.fish";

/// Print the completions of this program for a shell
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct Completions {
    /// Shell that reads the completions
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the completions of `command`.
    ///
    /// Errors: none.
    pub fn run(self, command: Command) -> Result<(), Failure> {
        output::line(completions(self.shell, command).trim_end());
        Ok(())
    }
}

/// Returns the completions of `command` as the text of a script for `shell`.
fn completions(shell: Shell, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cairn", &mut script);
    String::from_utf8(script).expect("the help texts are UTF-8")
}

const MAN_HELP: &str = "\
Examples:
  cairn man ~/.local/share/man/man1      then `man cairn`, `man cairn-tx-send`
  cairn man ./man && man -l ./man/cairn.1";

/// Write a man page for each command
#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub struct Man {
    /// Folder for the pages; it is created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    /// Writes the man pages of `command` and of its subcommands, and prints their number.
    ///
    /// Errors: the folder cannot be created, or a page cannot be written.
    pub fn run(self, command: Command) -> Result<(), Failure> {
        let pages = pages(command);
        fs::create_dir_all(&self.dir).map_err(|error| Failure::file("created", &self.dir, &error))?;
        for (name, page) in &pages {
            let path = self.dir.join(name);
            write(&path, page)?;
        }
        output::line(format_args!("{} man pages are in {}", pages.len(), self.dir.display()));
        Ok(())
    }
}

fn write(path: &Path, page: &[u8]) -> Result<(), Failure> {
    fs::write(path, page).map_err(|error| Failure::file("written", path, &error))
}

/// Returns the file name and the content of the man page of each visible command.
fn pages(command: Command) -> Vec<(String, Vec<u8>)> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages);
    pages
}

fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        add_pages(sub, pages);
    }
    let page = Page::new(command.clone()).source(concat!("cairn ", env!("CARGO_PKG_VERSION"))).manual("Cairn");
    let mut text = Vec::new();
    page.render(&mut text).expect("a vector takes every write");
    pages.push((page.get_filename(), text));
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::*;
    use crate::cli::Cli;

    /// Returns the full names of all visible commands: `cairn`, `cairn tx`, `cairn tx send`, …
    fn names(command: &Command, path: &str, all: &mut Vec<String>) {
        all.push(path.to_owned());
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            names(sub, &format!("{path} {}", sub.get_name()), all);
        }
    }

    #[test]
    fn every_shell_completes_every_command() {
        let command = Cli::command();
        for shell in Shell::value_variants() {
            let script = completions(*shell, command.clone());
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                assert!(script.contains(sub.get_name()), "{shell} does not complete {}", sub.get_name());
            }
            for flag in ["--rpc.laddr", "--amount"] {
                assert!(script.contains(flag.trim_start_matches('-')), "{shell} does not complete {flag}");
            }
        }
    }

    #[test]
    fn every_command_has_a_man_page_with_its_flags_and_examples() {
        let (pages, mut all) = (pages(Cli::command()), Vec::new());
        names(&Cli::command(), "cairn", &mut all);
        let expected: Vec<String> = all.iter().map(|name| format!("{}.1", name.replace(' ', "-"))).collect();
        let mut files: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        files.sort();
        let mut sorted: Vec<&String> = expected.iter().collect();
        sorted.sort();
        assert_eq!(files, sorted);
        let text = |name: &str| {
            let page = pages.iter().find(|(file, _)| file == name).unwrap();
            String::from_utf8(page.1.clone()).unwrap().replace('\\', "")
        };
        for (name, _) in &pages {
            assert!(text(name).contains(".SH NAME") && text(name).contains(".SH SYNOPSIS"), "{name}");
        }
        let page = text("cairn-tx-send.1");
        for part in [".TH cairn-tx-send 1", "--amount", "Examples:", env!("CARGO_PKG_VERSION")] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn man_pages_are_written_to_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man/man1");
        Man { dir: dir.clone() }.run(Cli::command()).unwrap();
        assert!(fs::read_to_string(dir.join("cairn.1")).unwrap().contains(".SH SUBCOMMANDS"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(
            Man { dir: file.join("man") }.run(Cli::command()).unwrap_err().to_string().contains("cannot be created")
        );
    }
}
