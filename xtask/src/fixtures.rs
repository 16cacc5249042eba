//! `cargo xtask fixtures`: from the sources under `fixtures/guests` to the binaries that tests and examples use.
//!
//! Guests written as text build anywhere. Guests in C and in Rust build where a toolchain for them is found; elsewhere the
//! committed binaries stay as they are. Either way the same sources and the same tools give the same bytes, and
//! `--check` says whether what is committed follows from the sources.

mod apps;
mod c;
mod digest;
mod echo;
mod manifest;
mod rust;
mod text;

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::workspace;
use manifest::{Binaries, Built, Tier};
use rust::Toolchain;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; say whether the committed binaries follow from the sources
    #[arg(long)]
    check: bool,
    /// Fail, rather than skip, when this toolchain is missing
    #[arg(long, value_name = "TOOLCHAIN")]
    require: Vec<Required>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Required {
    C,
    Rust,
}

/// Builds or checks every guest, and returns what is wrong.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<String>> {
    let fixtures = workspace::root().join("fixtures");
    let mut guests = Guests {
        texts: text::read_folder(&fixtures.join("guests/wat"))?,
        sources: c::read_folder(&fixtures.join("guests/c"))?,
        crates: rust::read_workspace(&fixtures.join("guests/rust"))?,
        binaries: Binaries::open(fixtures.join("wasm"))?,
        tools: Tools::of_this_workspace()?,
        must_have_c: arguments.require.contains(&Required::C),
        must_have_rust: arguments.require.contains(&Required::Rust),
    };
    guests.ensure_distinct_names()?;
    let apps = fixtures.join("apps");
    if arguments.check {
        let mut problems = guests.check()?;
        problems.extend(apps::check(
            &apps,
            &guests.binaries,
            &fixtures.join("guests/wat"),
        )?);
        Ok(problems)
    } else {
        guests.build()?;
        apps::update(&apps, &guests.binaries, &fixtures.join("guests/wat"))?;
        Ok(Vec::new())
    }
}

struct Guests {
    texts: Vec<text::TextGuest>,
    sources: Vec<c::CGuest>,
    crates: Vec<rust::GuestCrate>,
    binaries: Binaries,
    tools: Tools,
    must_have_c: bool,
    must_have_rust: bool,
}

/// The versions of the crates that make binaries: other versions make other bytes.
struct Tools {
    text: String,
    encoder: String,
}

impl Tools {
    fn of_this_workspace() -> Result<Tools> {
        let metadata = workspace::metadata()?;
        let version = |name| workspace::dependency_version(&metadata, name);
        let encoder = format!("wit-component {}", version("wit-component")?);
        let adapter = version("wasi-preview1-component-adapter-provider")?;
        let text = format!("wat {}, {encoder}, preview1 adapter {adapter}", version("wat")?);
        Ok(Tools { text, encoder })
    }
}

impl Guests {
    fn build(&mut self) -> Result<()> {
        self.build_texts()?;
        self.build_sources()?;
        self.build_crates()?;
        for name in self.without_sources()? {
            self.binaries.remove(&name)?;
            println!("{name:24} removed: its sources are gone");
        }
        self.binaries.save()
    }

    fn build_texts(&mut self) -> Result<()> {
        for guest in &self.texts {
            let bytes = guest.build()?;
            let built = Built {
                name: guest.name.clone(),
                tier: Tier::Text,
                inputs: guest.inputs()?,
                toolchain: self.tools.text.clone(),
            };
            put(&mut self.binaries, built, &bytes)?;
        }
        Ok(())
    }

    fn build_sources(&mut self) -> Result<()> {
        let Some(compiler) = self.find_c()? else {
            return Ok(());
        };
        for guest in &self.sources {
            let bytes = compiler.build(guest)?;
            let built = Built {
                name: guest.name.clone(),
                tier: Tier::C,
                inputs: guest.inputs(),
                toolchain: format!("{}, {}", compiler.line(), self.tools.encoder),
            };
            put(&mut self.binaries, built, &bytes)?;
        }
        Ok(())
    }

    fn build_crates(&mut self) -> Result<()> {
        let Some(toolchain) = self.find_rust()? else {
            return Ok(());
        };
        let line = format!("{}, {}", toolchain.line(), self.tools.encoder);
        let mut stale = Vec::new();
        for guest in &self.crates {
            let is_current = self.binaries.record(&guest.name).is_some_and(|record| {
                record.inputs == guest.inputs && record.toolchain == line && self.binaries.is_intact(record)
            });
            if is_current {
                println!("{:24} up to date", guest.name);
            } else {
                stale.push(guest);
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        println!("building {} Rust guests with {}", stale.len(), toolchain.line());
        for (guest, bytes) in toolchain.build(&stale)? {
            let built = Built {
                name: guest.name.clone(),
                tier: Tier::Rust,
                inputs: guest.inputs.clone(),
                toolchain: line.clone(),
            };
            put(&mut self.binaries, built, &bytes)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for record in self.binaries.records() {
            if !self.binaries.is_intact(record) {
                problems.push(format!(
                    "`{}.wasm` is not the file that the manifest describes",
                    record.name
                ));
            }
        }
        for guest in &self.texts {
            problems.extend(self.check_inputs(&guest.name, &guest.inputs()?));
            problems.extend(self.check_bytes(&guest.name, &self.tools.text, || guest.build())?);
        }
        for guest in &self.sources {
            problems.extend(self.check_inputs(&guest.name, &guest.inputs()));
        }
        for guest in &self.crates {
            problems.extend(self.check_inputs(&guest.name, &guest.inputs));
        }
        if self.must_have_c
            && let Some(compiler) = self.find_c()?
        {
            let line = format!("{}, {}", compiler.line(), self.tools.encoder);
            for guest in &self.sources {
                problems.extend(self.check_bytes(&guest.name, &line, || compiler.build(guest))?);
            }
        }
        if self.must_have_rust
            && let Some(toolchain) = self.find_rust()?
        {
            let line = format!("{}, {}", toolchain.line(), self.tools.encoder);
            for (guest, bytes) in toolchain.build(&self.crates.iter().collect::<Vec<_>>())? {
                problems.extend(self.check_bytes(&guest.name, &line, || Ok(bytes))?);
            }
        }
        for name in self.without_sources()? {
            problems.push(format!(
                "`{name}.wasm` has no sources; `cargo xtask fixtures` removes it"
            ));
        }
        println!("checked {} guests", self.names().count());
        Ok(problems)
    }

    fn check_inputs(&self, name: &str, inputs: &str) -> Option<String> {
        match self.binaries.record(name) {
            None => Some(format!(
                "`{name}` has never been built; run `cargo xtask fixtures`"
            )),
            Some(record) if record.inputs != inputs => Some(format!(
                "the sources of `{name}` changed since it was built; run `cargo xtask fixtures`"
            )),
            Some(_) => None,
        }
    }

    /// Compares a fresh build with the committed one, if the same tools made both.
    fn check_bytes(
        &self,
        name: &str,
        toolchain: &str,
        build: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Option<String>> {
        let Some(record) = self.binaries.record(name) else {
            return Ok(None);
        };
        if record.toolchain != toolchain {
            println!(
                "{name:24} not comparable: built with {}, here is {toolchain}",
                record.toolchain
            );
            return Ok(None);
        }
        let differs = digest::sha256(&build()?) != record.sha256;
        Ok(
            differs
                .then(|| format!("`{name}.wasm` is not what its sources give; run `cargo xtask fixtures`")),
        )
    }

    fn find_c(&self) -> Result<Option<c::Compiler>> {
        let compiler = c::Compiler::find()?;
        if compiler.is_none() {
            if self.must_have_c {
                bail!("{}", c::MISSING);
            }
            println!("C guests skipped: {}", c::MISSING);
        }
        Ok(compiler)
    }

    fn find_rust(&self) -> Result<Option<Toolchain>> {
        let toolchain = Toolchain::find()?;
        if toolchain.is_none() {
            if self.must_have_rust {
                bail!("{}", rust::MISSING);
            }
            println!("Rust guests skipped: {}", rust::MISSING);
        }
        Ok(toolchain)
    }

    fn without_sources(&self) -> Result<Vec<String>> {
        let known: BTreeSet<&str> = self.names().collect();
        let mut names = self.binaries.strangers()?;
        names.extend(self.binaries.records().map(|record| record.name.clone()));
        names.retain(|name| !known.contains(name.as_str()));
        Ok(names)
    }

    fn ensure_distinct_names(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        match self.names().find(|name| !seen.insert(*name)) {
            Some(name) => bail!("two guests are called `{name}`"),
            None => Ok(()),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.texts.iter().map(|guest| guest.name.as_str());
        let sources = self.sources.iter().map(|guest| guest.name.as_str());
        let crates = self.crates.iter().map(|guest| guest.name.as_str());
        texts.chain(sources).chain(crates)
    }
}

fn put(binaries: &mut Binaries, built: Built, bytes: &[u8]) -> Result<()> {
    let name = built.name.clone();
    let changed = binaries.put(built, bytes)?;
    println!(
        "{name:24} {:>8} bytes{}",
        bytes.len(),
        if changed { "" } else { ", unchanged" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_binaries_follow_from_the_sources() {
        let arguments = Arguments {
            check: true,
            require: Vec::new(),
        };
        assert_eq!(run(&arguments).unwrap(), Vec::<String>::new());
    }
}
