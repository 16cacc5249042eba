//! `cargo xtask tidy`: what the layers of the workspace promise, checked.
//!
//! Two promises a compiler does not keep for us: no crate reaches over a layer, or for an engine that is not its own;
//! and every source file begins by saying what it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, PackageId};

use crate::workspace;

/// What one crate of ours may use.
struct Layer {
    name: &'static str,
    /// Crates of ours.
    ours: &'static [&'static str],
    /// Crates of others that must not be reached, over any number of steps.
    never: &'static [&'static str],
}

/// The whole table. A crate that is not in it has no place yet, which is a problem too.
const LAYERS: &[Layer] = &[
    Layer {
        name: "wippy-registry",
        ours: &[],
        never: &["tokio", "wasmtime", "mlua"],
    },
    Layer {
        name: "wippy-wit",
        ours: &[],
        never: &["tokio", "wasmtime", "mlua"],
    },
    Layer {
        name: "wippy-security",
        ours: &["wippy-registry", "wippy-wit"],
        never: &["wasmtime", "mlua", "cap-std", "reqwest", "axum"],
    },
    Layer {
        name: "wippy-wasm",
        ours: &["wippy-registry", "wippy-wit", "wippy-security"],
        never: &["mlua", "axum"],
    },
    Layer {
        name: "wippy-lua",
        ours: &["wippy-registry", "wippy-wit", "wippy-security"],
        never: &["wasmtime", "axum"],
    },
    Layer {
        name: "wippy-cli",
        ours: &[
            "wippy-registry",
            "wippy-wit",
            "wippy-security",
            "wippy-wasm",
            "wippy-lua",
        ],
        never: &[],
    },
    Layer {
        name: "fixtures",
        ours: &[],
        never: &[],
    },
    Layer {
        name: "xtask",
        ours: &[],
        never: &["tokio", "wasmtime", "mlua"],
    },
];

/// Tests of any crate may use these beside what the crate itself may use.
const FOR_TESTS: &[&str] = &["fixtures"];

/// Checks the workspace, and returns what is wrong.
pub(crate) fn run() -> Result<Vec<String>> {
    let graph = Graph::read(&workspace::metadata()?)?;
    let sources = sources_below(&workspace::root())?;
    let mut problems = check_layers(&graph);
    problems.extend(check_headers(&sources)?);
    println!(
        "checked {} crates and {} source files",
        graph.members.len(),
        sources.len()
    );
    Ok(problems)
}

/// The dependencies of a workspace, by name.
#[derive(Default)]
struct Graph {
    members: BTreeSet<String>,
    /// What a crate itself needs.
    needs: BTreeMap<String, BTreeSet<String>>,
    /// What only the tests of a member need.
    tests_need: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read(metadata: &Metadata) -> Result<Graph> {
        let resolve = metadata
            .resolve
            .as_ref()
            .context("cargo metadata has no dependency graph")?;
        let names: BTreeMap<&PackageId, &str> = metadata
            .packages
            .iter()
            .map(|package| (&package.id, package.name.as_str()))
            .collect();
        let name = |id: &PackageId| names.get(id).copied().unwrap_or_default().to_owned();

        let mut graph = Graph {
            members: metadata.workspace_members.iter().map(name).collect(),
            ..Graph::default()
        };
        for node in &resolve.nodes {
            for dependency in &node.deps {
                let only_tests = dependency
                    .dep_kinds
                    .iter()
                    .all(|kind| kind.kind == DependencyKind::Development);
                let edges = if only_tests {
                    &mut graph.tests_need
                } else {
                    &mut graph.needs
                };
                edges
                    .entry(name(&node.id))
                    .or_default()
                    .insert(name(&dependency.pkg));
            }
        }
        Ok(graph)
    }

    /// Everything that is reached from a crate, each with the chain of crates that leads to it.
    fn reached_from(&self, start: &str) -> BTreeMap<String, Vec<String>> {
        let mut reached = BTreeMap::new();
        let mut waiting = vec![vec![start.to_owned()]];
        while let Some(chain) = waiting.pop() {
            let needs = chain.last().and_then(|last| self.needs.get(last));
            for next in needs.into_iter().flatten() {
                if !reached.contains_key(next) {
                    let mut longer = chain.clone();
                    longer.push(next.clone());
                    reached.insert(next.clone(), longer.clone());
                    waiting.push(longer);
                }
            }
        }
        reached
    }
}

fn check_layers(graph: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    for member in &graph.members {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == *member) else {
            problems.push(format!(
                "`{member}` has no place in the table of layers in `xtask/src/tidy.rs`"
            ));
            continue;
        };
        let ours = |edges: &BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> {
            edges
                .get(member)
                .map(|names| names & &graph.members)
                .unwrap_or_default()
        };
        for name in ours(&graph.needs) {
            if !layer.ours.contains(&name.as_str()) {
                problems.push(format!("`{member}` must not depend on `{name}`"));
            }
        }
        for name in ours(&graph.tests_need) {
            // A crate's tests may ask for more features of the crate itself.
            let itself = name == *member;
            if !itself && !layer.ours.contains(&name.as_str()) && !FOR_TESTS.contains(&name.as_str()) {
                problems.push(format!("tests of `{member}` must not depend on `{name}`"));
            }
        }
        let reached = graph.reached_from(member);
        for chain in layer.never.iter().filter_map(|name| reached.get(*name)) {
            let name = chain.last().map(String::as_str).unwrap_or_default();
            problems.push(format!(
                "`{member}` must not reach `{name}`: {}",
                chain.join(" > ")
            ));
        }
    }
    problems
}

/// A source file begins with the sentence that says what it is.
fn check_headers(sources: &[PathBuf]) -> Result<Vec<String>> {
    let root = workspace::root();
    let mut problems = Vec::new();
    for path in sources {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !has_header(&text) {
            let shown = path.strip_prefix(&root).unwrap_or(path).display();
            problems.push(format!("`{shown}` does not begin with `//!` and what it is"));
        }
    }
    Ok(problems)
}

fn has_header(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first
        .strip_prefix("//!")
        .is_some_and(|sentence| !sentence.trim().is_empty())
}

/// Every Rust file, except for what cargo and version control keep.
fn sources_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources.extend(sources_below(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        assert_eq!(run().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_graph_has_real_edges() {
        let graph = Graph::read(&workspace::metadata().unwrap()).unwrap();
        assert!(graph.needs["wippy-wasm"].contains("wasmtime"));
        assert!(graph.reached_from("wippy-cli").contains_key("wippy-security"));
    }

    #[test]
    fn allowed_edges_are_no_problem() {
        let mut graph = graph(&[("wippy-lua", "wippy-security"), ("wippy-security", "wippy-wit")]);
        graph
            .tests_need
            .entry("wippy-wit".to_owned())
            .or_default()
            .insert("fixtures".to_owned());
        assert_eq!(check_layers(&graph), Vec::<String>::new());
    }

    #[test]
    fn an_edge_over_a_layer_is_a_problem() {
        let graph = graph(&[("wippy-lua", "wippy-wasm")]);
        assert_eq!(
            check_layers(&graph),
            ["`wippy-lua` must not depend on `wippy-wasm`"]
        );
    }

    #[test]
    fn tests_stay_in_their_layer_too() {
        let mut graph = graph(&[]);
        graph
            .tests_need
            .entry("wippy-wit".to_owned())
            .or_default()
            .insert("wippy-cli".to_owned());
        assert_eq!(
            check_layers(&graph),
            ["tests of `wippy-wit` must not depend on `wippy-cli`"]
        );
    }

    #[test]
    fn an_engine_is_found_behind_other_crates() {
        let graph = graph(&[("wippy-registry", "innocent"), ("innocent", "tokio")]);
        assert_eq!(
            check_layers(&graph),
            ["`wippy-registry` must not reach `tokio`: wippy-registry > innocent > tokio"]
        );
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        let mut graph = graph(&[]);
        graph.members.insert("wippy-new".to_owned());
        assert_eq!(
            check_layers(&graph),
            ["`wippy-new` has no place in the table of layers in `xtask/src/tidy.rs`"]
        );
    }

    #[test]
    fn headers() {
        assert!(has_header("//! What it is.\n"));
        assert!(!has_header("//!\nmod a;\n"));
        assert!(!has_header("// A comment.\n"));
        assert!(!has_header(""));
    }

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let members = LAYERS.iter().map(|layer| layer.name.to_owned()).collect();
        let mut graph = Graph {
            members,
            ..Graph::default()
        };
        for (from, to) in edges {
            graph
                .needs
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    }
}
